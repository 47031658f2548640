//! The line that every request gets in the log, written when its last byte is gone or its client is.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Instant;

use axum::body::{Bytes, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::Response;
use tracing::Span;
use uuid::Uuid;

use super::budget::Reservation;
use super::endpoint::{Endpoint, Subject};
use super::server::{InspectedBody, Inspector, Polled};
use super::{Answer, Site, headers};
use crate::oci::{Error, Outcome, RepositoryName};
use crate::telemetry::{Metrics, causes};

/// Sent to the client, so that both sides can speak of the same request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the log says of a request; it says it when the value is dropped.
#[derive(Debug)]
pub(super) struct Line {
    on: bool,
    id: Uuid,
    span: Option<Span>,
    method: Method,
    /// As the client wrote it; only of requests that are for no endpoint, or refused before that was looked at.
    path: Option<String>,
    repository: Option<RepositoryName>,
    subject: Option<Subject>,
    client: IpAddr,
    user: Option<Arc<str>>,
    /// Not taken where most requests leave no line: the clock is read often enough.
    began: Option<Instant>,
    outcome: Option<Outcome>,
    error: Option<Error>,
    /// None when the client left before there was an answer.
    status: Option<StatusCode>,
    bytes: u64,
    whole: bool,
}

impl Line {
    pub(super) fn begin(site: &Site, request: &Parts, client: IpAddr) -> Self {
        Self {
            on: site.access_log,
            id: next_id(),
            span: None,
            method: request.method.clone(),
            path: None,
            repository: None,
            subject: None,
            client,
            user: None,
            began: site.access_log.then(Instant::now),
            outcome: None,
            error: None,
            status: None,
            bytes: 0,
            whole: false,
        }
    }

    /// The path of a request that is refused, which is told where nothing better is known.
    pub(super) fn at(&mut self, path: &str) {
        if self.repository.is_none() {
            // As much as tells one mistake from another.
            self.path = Some(path.chars().take(256).collect());
        }
    }

    /// What the request is for.
    pub(super) fn about(&mut self, endpoint: &Endpoint) {
        let (repository, subject) = endpoint.subject();
        (self.repository, self.subject) = (repository.cloned(), subject);
    }

    /// Who asks.
    pub(super) fn by(&mut self, user: Option<&Arc<str>>) {
        self.user = user.cloned();
    }

    /// What everything that is logged on behalf of the request is part of. It is made when it is needed: at every
    /// request, it took 3 % of a redirect's time.
    pub(super) fn span(&mut self) -> Span {
        let id = self.id;
        let span = || tracing::info_span!("request", %id);
        self.span.get_or_insert_with(span).clone()
    }

    /// The answer of the embedded S3 is on its way. The query of such a request is its signature, and is not logged.
    pub(super) fn end_of_bucket(mut self, request: &Method, response: Response) -> Response {
        self.status = Some(response.status());
        let length = length(&response).filter(|_| request != Method::HEAD);
        if length.unwrap_or(0) == 0 {
            self.whole = true;
        }
        response.map(|body| {
            let observer = Counted { line: self, metrics: None, length, _memory: None };
            InspectedBody::wrap(body, observer)
        })
    }

    /// The answer is on its way: the line is written when a blob's last byte is gone, and at once otherwise.
    pub(super) fn end(mut self, site: &Site, answer: Answer) -> Response {
        let Answer { mut response, outcome, is_blob, error, memory } = answer;
        let mut id = Uuid::encode_buffer();
        let id = headers::value(self.id.hyphenated().encode_lower(&mut id));
        response.headers_mut().insert(REQUEST_ID, id);
        (self.outcome, self.error, self.status) = (outcome, error, Some(response.status()));
        if !is_blob {
            self.bytes = response.body().size_hint().exact().unwrap_or(0);
            self.whole = true;
            return response;
        }
        let length = length(&response);
        response.map(|body| {
            let (line, metrics) = (self, Some(Arc::clone(&site.metrics)));
            let observer = Counted { line, metrics, length, _memory: memory };
            InspectedBody::wrap(body, observer)
        })
    }
}

/// As the header says it, in bytes.
fn length(response: &Response) -> Option<u64> {
    let length = response.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// A name that no other request has: random bytes of the process, and a number. To ask the system for random bytes at
/// every request took 3 % of a redirect's time.
fn next_id() -> Uuid {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u64_pair().0);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let bytes = u128::from(*PROCESS) << 64 | u128::from(number);
    Uuid::new_v8(bytes.to_be_bytes())
}

impl Drop for Line {
    fn drop(&mut self) {
        let cause = self.error.as_ref().and_then(std::error::Error::source).map(causes);
        if !self.on && cause.is_none() {
            return;
        }
        let span = self.span();
        let _entered = span.enter();
        let (method, status) = (self.method.as_str(), self.status.map(|status| status.as_u16()));
        let (bytes, whole) = (self.bytes, self.whole);
        let seconds = self.began.map(|began| began.elapsed().as_secs_f64());
        let outcome = self.outcome.map(Outcome::as_str);
        let repository = self.repository.as_ref().map(RepositoryName::as_str);
        let reference = self.subject.as_ref().map(tracing::field::display);
        let client = tracing::field::display(self.client);
        let user = self.user.as_deref();
        let code = self.error.as_ref().map(|error| error.code().as_str());
        // Texts of the client's that were not parsed are escaped, so that they cannot forge lines.
        let path = self.path.as_deref().map(tracing::field::debug);
        if cause.is_some() {
            tracing::warn!(
                method, path, repository, reference, client, user, status, code, outcome, bytes, whole, seconds, cause,
                "request"
            );
        } else {
            tracing::info!(
                method, path, repository, reference, client, user, status, code, outcome, bytes, whole, seconds,
                "request"
            );
        }
    }
}

/// Tells the line of a blob's body how many bytes went out, and whether it came to its end.
struct Counted {
    line: Line,
    /// Where the bytes are a blob's that passes through pounce.
    metrics: Option<Arc<Metrics>>,
    /// As announced; a server stops asking for more when it has so many.
    length: Option<u64>,
    _memory: Option<Reservation>,
}

impl Inspector for Counted {
    fn polled(&mut self, polled: &Polled) {
        let line = &mut self.line;
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                line.bytes += bytes;
                line.whole = self.length == Some(line.bytes);
                if let Some(metrics) = &self.metrics {
                    metrics.blob_bytes(bytes);
                }
            }
            Poll::Ready(None) => line.whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
    }
}
