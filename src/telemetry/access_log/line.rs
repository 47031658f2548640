//! What a line says.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Instant;

use uuid::Uuid;

use crate::oci::{ErrorCode, Outcome};

/// A request, as its line tells it.
pub(crate) struct Line<'a> {
    pub(crate) method: &'a str,
    /// As the client wrote it, without its query, which may be a signature. Text and JSON have it where there is no
    /// repository.
    pub(crate) path: &'a str,
    /// As in `HTTP/1.1`.
    pub(crate) protocol: &'static str,
    pub(crate) repository: Option<&'a str>,
    /// A tag, a digest, or the id of an upload: visible ASCII that needs no escapes.
    pub(crate) reference: Option<&'a dyn Display>,
    /// `None` if the client left before there was a response.
    pub(crate) status: Option<u16>,
    /// Of the response's body.
    pub(crate) bytes: u64,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) code: Option<ErrorCode>,
    /// Whether all of the response left.
    pub(crate) complete: bool,
    pub(crate) client: IpAddr,
    pub(crate) user: Option<&'a str>,
    /// As the client wrote it.
    pub(crate) user_agent: Option<&'a [u8]>,
    /// As in the header `X-Request-Id` of the response, and in the log.
    pub(crate) request_id: Uuid,
}
