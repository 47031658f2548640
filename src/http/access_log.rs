//! The access log: one line for each request, written when the last byte of its response has left or its client has.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Instant;

use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderName, Method, StatusCode, header};
use axum::response::Response;
use tracing::Span;
use uuid::Uuid;

use super::budget::Reservation;
use super::endpoint::{Endpoint, Subject};
use super::server::{InspectedBody, Inspector, Polled};
use super::{Answer, Context, headers};
use crate::oci::{Error, Outcome, RepositoryName};
use crate::telemetry::{Metrics, causes};

/// Sent to the client, so that it and the log can name the same request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// How many characters of a path are logged: enough to tell one mistake from another.
const MAX_PATH: usize = 256;

/// A request's line, which is written when this is dropped.
#[derive(Debug)]
pub(super) struct LogEntry {
    enabled: bool,
    id: Uuid,
    span: Option<Span>,
    method: Method,
    /// As the client wrote it; only of requests that are for no endpoint, or are refused before it is known.
    path: Option<String>,
    repository: Option<RepositoryName>,
    subject: Option<Subject>,
    client: IpAddr,
    user: Option<Arc<str>>,
    /// `None` without an access log, because to read the clock takes time.
    began: Option<Instant>,
    outcome: Option<Outcome>,
    error: Option<Error>,
    /// `None` if the client left before there was a response.
    status: Option<StatusCode>,
    bytes: u64,
    whole: bool,
}

impl LogEntry {
    pub(super) fn begin(cx: &Context<'_>) -> Self {
        let enabled = !cx.app.config.log.accesslog.disabled;
        Self {
            enabled,
            id: next_id(),
            span: None,
            method: cx.request.method.clone(),
            path: None,
            repository: None,
            subject: None,
            client: cx.client.ip,
            user: None,
            began: enabled.then(Instant::now),
            outcome: None,
            error: None,
            status: None,
            bytes: 0,
            whole: false,
        }
    }

    /// Logs the path, unless the repository is known.
    pub(super) fn set_path(&mut self, path: &str) {
        if self.repository.is_none() {
            self.path = Some(path.chars().take(MAX_PATH).collect());
        }
    }

    pub(super) fn set_endpoint(&mut self, endpoint: &Endpoint) {
        let (repository, subject) = endpoint.subject();
        (self.repository, self.subject) = (repository.cloned(), subject);
    }

    pub(super) fn set_user(&mut self, user: Option<&Arc<str>>) {
        self.user = user.cloned();
    }

    /// The span of everything that is logged for the request. It is made on demand, because one for every request took
    /// 3 % of a redirect's time.
    pub(super) fn span(&mut self) -> Span {
        let id = self.id;
        self.span.get_or_insert_with(|| tracing::info_span!("request", %id)).clone()
    }

    /// The embedded S3 server has answered. The request's query is its signature, and is not logged.
    pub(super) fn finish_embedded_s3(mut self, request: &Method, response: Response) -> Response {
        self.status = Some(response.status());
        let length = content_length(&response).filter(|_| request != Method::HEAD);
        if length.unwrap_or(0) == 0 {
            self.whole = true;
        }
        let counter = ByteCounter { entry: self, metrics: None, length, _memory: None };
        response.map(|body| InspectedBody::wrap(body, counter))
    }

    /// The registry has answered. A blob's line is written when its last byte has left, any other line at once.
    pub(super) fn finish(mut self, metrics: &Arc<Metrics>, answer: Answer) -> Response {
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
        let length = content_length(&response);
        let metrics = Some(Arc::clone(metrics));
        let counter = ByteCounter { entry: self, metrics, length, _memory: memory };
        response.map(|body| InspectedBody::wrap(body, counter))
    }
}

/// The `Content-Length`, in bytes.
fn content_length(response: &Response) -> Option<u64> {
    response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A unique id: random bytes of the process, and a number. To ask the system for random bytes at every request took 3 %
/// of a redirect's time.
fn next_id() -> Uuid {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u64_pair().0);
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let bytes = u128::from(*PROCESS) << 64 | u128::from(number);
    Uuid::new_v8(bytes.to_be_bytes())
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        let cause = self.error.as_ref().and_then(std::error::Error::source).map(causes);
        if !self.enabled && cause.is_none() {
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
        // Escaped, because the client's text was not parsed and must not forge lines.
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

/// Counts the bytes of a body that leave, and tells whether it came to its end.
struct ByteCounter {
    entry: LogEntry,
    /// Of a blob that passes through pounce.
    metrics: Option<Arc<Metrics>>,
    /// As announced: a server stops polling the body when it has so many bytes.
    length: Option<u64>,
    _memory: Option<Reservation>,
}

impl Inspector for ByteCounter {
    fn polled(&mut self, polled: &Polled) {
        let entry = &mut self.entry;
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                entry.bytes += bytes;
                entry.whole = self.length == Some(entry.bytes);
                if let Some(metrics) = &self.metrics {
                    metrics.blob_bytes(bytes);
                }
            }
            Poll::Ready(None) => entry.whole = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
    }
}
