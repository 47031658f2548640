//! A response, and the facts about it for the access log and the metrics.

use axum::response::Response;

use super::budget::Reservation;
use crate::events::Occurrence;
use crate::oci::{Error, Outcome};

/// A resource's response.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) outcome: Option<Outcome>,
    /// The body is a blob that passes through pounce.
    pub(super) is_blob: bool,
    pub(super) error: Option<Error>,
    /// The memory of a blob's body, until its last byte has left.
    pub(super) memory: Option<Reservation>,
    /// What the request did, if an endpoint of events wants to know it.
    pub(super) occurrence: Option<Box<Occurrence>>,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { response, outcome: None, is_blob: false, error: None, memory: None, occurrence: None }
    }
}
