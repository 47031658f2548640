//! Answers, and the memory that they take until their clients have them.
//!
//! What is answered from memory and small takes none of it: most manifests are, and all redirects.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::http::{Method, Version, header};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::sync::Notify;

use super::budget::{Budget, Reservation, exhausted};
use super::endpoint::Endpoint;
use super::server::{HTTP2_WINDOW, InspectedBody, Inspector, Polled, Shortage};
use super::{Answer, Client, Site, dispatch};
use crate::oci::{Error, Outcome};

/// Bytes of requests that are under way and of blobs that are streamed, in all and for one client: a thousand clients
/// behind one address can follow a cold blob.
const REQUESTS: (usize, usize) = (128 << 20, 64 << 20);
/// Bytes of manifests and lists, the same; of the largest manifests, eight for one client.
const BODIES: (usize, usize) = (64 << 20, 32 << 20);
/// Roughly what a request takes until its answer begins, most of it where it waits for an upstream; and what a blob
/// takes that comes from the spool or a file: pieces of it, and the buffers of its connection.
const REQUEST: usize = 64 << 10;
/// What a blob takes that comes from another server: buffers of that connection grow to some hundred KiB each.
const STREAM: usize = 512 << 10;
/// Bodies of so many bytes are not counted.
const SMALL: u64 = 64 << 10;

/// The memory of answers.
#[derive(Debug)]
pub struct Answers {
    requests: Arc<Budget>,
    bodies: Arc<Budget>,
    short: Arc<Notify>,
}

impl Default for Answers {
    fn default() -> Self {
        let short = Arc::default();
        let budget = |(all, share)| Budget::new(all, share, Arc::clone(&short));
        Self { requests: budget(REQUESTS), bodies: budget(BODIES), short }
    }
}

impl Answers {
    pub(super) fn shortage(&self) -> Shortage {
        let budgets = [Arc::clone(&self.requests), Arc::clone(&self.bodies)];
        Shortage::new(Arc::clone(&self.short), move || budgets.iter().any(|budget| budget.is_short()))
    }

    /// Reserves the memory of a request.
    ///
    /// # Errors
    /// `UNAVAILABLE`: there is none.
    pub(super) async fn reserve(&self, client: IpAddr, request: &Parts) -> Result<Reservation, Error> {
        let body = if has_body(request) { HTTP2_WINDOW } else { 0 };
        let bytes = REQUEST + body as usize + header_bytes(request);
        self.requests.reserve(client, bytes).await
    }

    /// An answer from memory, if it is small or there is memory for it now.
    pub(super) fn hold_now(&self, request: &Parts, client: &Client, answer: Answer) -> Option<Answer> {
        match counted(request, &answer) {
            None => Some(answer),
            Some(_) => self.hold(client.reached.client, answer, None),
        }
    }

    /// The answer with its body's memory, if there is some.
    fn hold(&self, client: IpAddr, mut answer: Answer, reserved: Option<Reservation>) -> Option<Answer> {
        let body = std::mem::take(answer.response.body_mut());
        // It is in memory, in one piece.
        let bytes = body.collect().now_or_never()?.ok()?.to_bytes();
        let held = self.bodies.hold(client, bytes, reserved)?;
        *answer.response.body_mut() = Body::from(held);
        Some(answer)
    }
}

/// What an endpoint answers, within the memory of answers.
pub(super) async fn serve(
    site: &Site,
    parts: &Parts,
    body: Body,
    client: &Client,
    endpoint: &Endpoint,
) -> Result<Answer, Error> {
    let (answers, address) = (&site.answers, client.reached.client);
    let memory = answers.reserve(address, parts).await?;
    // Boxed: those that wait for memory do not have it yet.
    let dispatched = Box::pin(dispatch::serve(site, parts, body, client, endpoint));
    let mut answer = dispatched.await?;
    if let Some(size) = counted(parts, &answer) {
        if let Some(answer) = answers.hold(address, answer, None) {
            return Ok(answer);
        }
        // It holds nothing while it waits, and is made again.
        drop(memory);
        let reserved = answers.bodies.reserve(address, size).await?;
        let again = Box::pin(dispatch::serve(site, parts, Body::empty(), client, endpoint));
        let again = again.await?;
        if counted(parts, &again).is_none() {
            return Ok(again);
        }
        let held = answers.hold(address, again, Some(reserved));
        return held.ok_or_else(exhausted);
    }
    if is_from_elsewhere(site, &answer) {
        let Some(more) = answers.requests.try_reserve(address, STREAM) else {
            drop((answer, memory));
            let reserved = answers.requests.reserve(address, STREAM).await?;
            let again = Box::pin(dispatch::serve(site, parts, Body::empty(), client, endpoint));
            let mut again = again.await?;
            again.memory = Some(reserved);
            return Ok(again);
        };
        answer.memory = Some(more);
    } else {
        answer.memory = Some(memory);
    }
    Ok(answer)
}

/// Whether the body is a blob that another server sends meanwhile.
fn is_from_elsewhere(site: &Site, answer: &Answer) -> bool {
    match answer.outcome {
        Some(Outcome::Stream) => answer.is_blob && site.registry.embedded().is_none(),
        Some(Outcome::Bypass) => answer.is_blob,
        _ => false,
    }
}

/// The size of a body that is in memory, and not small.
fn counted(request: &Parts, answer: &Answer) -> Option<usize> {
    if request.method != Method::GET || answer.is_blob {
        return None;
    }
    let size = answer.response.body().size_hint().exact()?;
    usize::try_from(size).ok().filter(|_| size > SMALL)
}

/// Whether a request of HTTP/2 sends a body that is not thrown away.
fn has_body(parts: &Parts) -> bool {
    let pushes = [Method::POST, Method::PUT, Method::PATCH].contains(&parts.method);
    let empty = parts.headers.get(header::CONTENT_LENGTH).is_some_and(|it| it == "0");
    parts.version == Version::HTTP_2 && pushes && !empty
}

/// How many bytes a request's header keeps in memory.
fn header_bytes(parts: &Parts) -> usize {
    let lines = parts.headers.iter();
    lines.map(|(name, value)| name.as_str().len() + value.len()).sum()
}

impl Reservation {
    /// The body with its memory, which ends with it.
    pub(super) fn keep_with(self, body: Body) -> Body {
        InspectedBody::wrap(body, self)
    }
}

impl Inspector for Reservation {
    fn polled(&mut self, _: &Polled) {}
}
