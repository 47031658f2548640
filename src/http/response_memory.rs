//! The memory that responses take until their clients have them.
//!
//! A small response from memory takes none of it: most manifests are small, and so are all redirects.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{Method, Version, header};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::Answer;
use super::budget::{Budget, Reservation};
use super::server::{HTTP2_WINDOW, Shortage};
use crate::oci::Error;

/// Bytes of requests in flight and of streamed blobs, in all and for one client: a thousand clients behind one address
/// can follow a cold blob.
const REQUESTS: (usize, usize) = (128 << 20, 64 << 20);
/// Bytes of manifests and lists, likewise; of the largest manifests, eight for one client.
const BODIES: (usize, usize) = (64 << 20, 32 << 20);
/// Roughly the bytes that a request takes until its response begins, most of them while it waits for an upstream; and
/// that a blob takes which comes from a fill or a file: pieces of it, and the buffers of its connection.
const REQUEST: usize = 64 << 10;
/// The bytes that a blob takes which comes from another server: buffers of that connection grow to some hundred KiB
/// each.
const STREAM: usize = 512 << 10;
/// The largest body, in bytes, that is not counted.
const SMALL: u64 = 64 << 10;

/// The memory that a response needs beyond its request's.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// A body in memory, of this size.
    Body(usize),
    /// A blob that another server sends meanwhile.
    Stream,
}

impl Need {
    /// For a body that is in memory and not small.
    pub(super) fn of_body(request: &Parts, answer: &Answer) -> Option<Self> {
        if request.method != Method::GET || answer.is_blob {
            return None;
        }
        let size = answer.response.body().size_hint().exact().filter(|size| *size > SMALL)?;
        usize::try_from(size).ok().map(Self::Body)
    }
}

/// The budgets of all responses.
#[derive(Debug)]
pub(super) struct ResponseMemory {
    requests: Arc<Budget>,
    bodies: Arc<Budget>,
    shortage: Arc<Notify>,
}

impl Default for ResponseMemory {
    fn default() -> Self {
        let shortage = Arc::default();
        let budget = |(all, share)| Budget::new(all, share, Arc::clone(&shortage));
        Self { requests: budget(REQUESTS), bodies: budget(BODIES), shortage }
    }
}

impl ResponseMemory {
    pub(super) fn shortage(&self) -> Shortage {
        let budgets = [Arc::clone(&self.requests), Arc::clone(&self.bodies)];
        Shortage::new(Arc::clone(&self.shortage), move || budgets.iter().any(|budget| budget.is_short()))
    }

    /// Reserves the memory of a request.
    ///
    /// # Errors
    /// `UNAVAILABLE`: there is none.
    pub(super) async fn reserve_request(&self, client: IpAddr, request: &Parts) -> Result<Reservation, Error> {
        let body = if has_http2_body(request) { HTTP2_WINDOW as usize } else { 0 };
        self.requests.reserve(client, REQUEST + body + header_bytes(request)).await
    }

    /// Reserves the memory of a response.
    ///
    /// # Errors
    /// `UNAVAILABLE`: there is none.
    pub(super) async fn reserve(&self, client: IpAddr, need: Need) -> Result<Reservation, Error> {
        match need {
            Need::Body(size) => self.bodies.reserve(client, size).await,
            Need::Stream => self.requests.reserve(client, STREAM).await,
        }
    }

    /// The answer, if it is small or there is memory for it now.
    pub(super) fn hold_now(&self, request: &Parts, client: IpAddr, answer: Answer) -> Option<Answer> {
        match Need::of_body(request, &answer) {
            None => Some(answer),
            Some(need) => self.hold(client, answer, need, None),
        }
    }

    /// The answer with its memory, which was `reserved`, or else is reserved now if there is some.
    pub(super) fn hold(
        &self,
        client: IpAddr,
        mut answer: Answer,
        need: Need,
        reserved: Option<Reservation>,
    ) -> Option<Answer> {
        match need {
            Need::Stream => {
                answer.memory = Some(reserved.or_else(|| self.requests.try_reserve(client, STREAM))?);
            }
            Need::Body(_) => {
                let body = std::mem::take(answer.response.body_mut());
                // It is in memory, in one piece.
                let bytes = body.collect().now_or_never()?.ok()?.to_bytes();
                *answer.response.body_mut() = Body::from(self.bodies.hold(client, bytes, reserved)?);
            }
        }
        Some(answer)
    }
}

/// Whether an HTTP/2 request sends a body that is not discarded.
fn has_http2_body(request: &Parts) -> bool {
    let pushes = [Method::POST, Method::PUT, Method::PATCH].contains(&request.method);
    let empty = request.headers.get(header::CONTENT_LENGTH).is_some_and(|it| it == "0");
    request.version == Version::HTTP_2 && pushes && !empty
}

/// The bytes that a request's headers keep in memory.
fn header_bytes(request: &Parts) -> usize {
    request.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
