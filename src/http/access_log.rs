//! The access log's entry of a request, by which it is counted, too. Its line is written when the last byte of the response has left, or the client.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderName, Method, StatusCode, Version, header};
use axum::response::Response;
use tracing::Span;
use uuid::Uuid;

use super::budget::Reservation;
use super::endpoint::{Endpoint, Subject};
use super::request_span::{self, Ended};
use super::server::{InspectedBody, Inspector, Polled};
use super::{Answer, Context, headers};
use crate::oci::{Error, Outcome, RepositoryName};
use crate::telemetry::Span as TraceSpan;
use crate::telemetry::{AccessLog, AnsweredRequest, Line, Metrics, RequestKind, Scope, causes, cut_text};

/// Sent to the client, so that it and the log can name the same request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request's entry, whose line is written when this is dropped. It borrows from the request until there is a body
/// that outlives it.
#[derive(Debug)]
pub(super) struct LogEntry<'a> {
    /// Where the line goes; `None` if requests are not logged.
    log: Option<Cow<'a, AccessLog>>,
    began: Instant,
    /// When the whole response was here; `None`: the line is written when its last byte has left.
    ended: Option<Instant>,
    kind: RequestKind,
    id: Uuid,
    span: Option<Span>,
    /// The request in its trace.
    trace: TraceSpan,
    method: Cow<'a, Method>,
    path: Cow<'a, str>,
    version: Version,
    user_agent: Option<Cow<'a, [u8]>>,
    repository: Option<RepositoryName>,
    subject: Option<Subject>,
    client: IpAddr,
    user: Option<Arc<str>>,
    outcome: Option<Outcome>,
    error: Option<Error>,
    /// `None` if the client left before there was a response.
    status: Option<StatusCode>,
    bytes: u64,
    complete: bool,
}

impl<'a> LogEntry<'a> {
    pub(super) fn begin(cx: &Context<'a>) -> Self {
        let request = cx.request;
        Self {
            log: cx.app.access_log.as_ref().map(Cow::Borrowed),
            began: Instant::now(),
            ended: None,
            kind: RequestKind::Other,
            id: next_id(),
            span: None,
            trace: request_span::begin(cx),
            method: Cow::Borrowed(&request.method),
            path: Cow::Borrowed(request.uri.path()),
            version: request.version,
            user_agent: request.headers.get(header::USER_AGENT).map(|value| Cow::Borrowed(value.as_bytes())),
            repository: None,
            subject: None,
            client: cx.client.ip,
            user: None,
            outcome: None,
            error: None,
            status: None,
            bytes: 0,
            complete: false,
        }
    }

    /// The same, with a copy of what a line has of the request.
    pub(super) fn into_owned(mut self) -> LogEntry<'static> {
        LogEntry {
            // Without a log, this writes no line when it is dropped.
            log: self.log.take().map(|log| Cow::Owned(log.into_owned())),
            began: self.began,
            ended: self.ended,
            kind: self.kind,
            id: self.id,
            span: self.span.take(),
            trace: std::mem::take(&mut self.trace),
            method: Cow::Owned(self.method.clone().into_owned()),
            path: Cow::Owned(String::from_utf8_lossy(cut_text(self.path.as_bytes())).into_owned()),
            version: self.version,
            user_agent: self.user_agent.take().map(|value| Cow::Owned(cut_text(&value).to_vec())),
            repository: self.repository.take(),
            subject: self.subject.take(),
            client: self.client,
            user: self.user.take(),
            outcome: self.outcome,
            error: self.error.take(),
            status: self.status,
            bytes: self.bytes,
            complete: self.complete,
        }
    }

    /// The kind, where the line does not say more of the endpoint: what a request that is refused was for.
    pub(super) fn set_kind(&mut self, kind: RequestKind) {
        self.kind = kind;
    }

    pub(super) fn set_endpoint(&mut self, endpoint: &Endpoint) {
        let (repository, subject) = endpoint.subject();
        (self.repository, self.subject, self.kind) = (repository.cloned(), subject, endpoint.kind());
    }

    /// What the client gets as `X-Request-Id`.
    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    pub(super) fn set_user(&mut self, user: Option<&Arc<str>>) {
        self.user = user.cloned();
    }

    /// What everything is for that is done for the request.
    pub(super) fn scope(&mut self) -> Scope {
        Scope::new(self.span(), self.trace.clone())
    }

    /// The request in its trace.
    pub(super) fn trace(&self) -> &TraceSpan {
        &self.trace
    }

    /// The span of everything that is logged for the request. It is made on demand, because one for every request took
    /// 3 % of a redirect's time.
    pub(super) fn span(&mut self) -> Span {
        let id = self.id;
        self.span.get_or_insert_with(|| tracing::info_span!("request", %id)).clone()
    }

    /// The embedded S3 server has answered.
    pub(super) fn finish_embedded_s3(mut self, request: &Method, response: Response) -> Response {
        self.status = Some(response.status());
        let length = content_length(&response).filter(|_| request != Method::HEAD);
        if length.unwrap_or(0) == 0 {
            self.complete = true;
        }
        let counter = ByteCounter { entry: self.into_owned(), metrics: None, is_cold: false, length, _memory: None };
        response.map(|body| InspectedBody::wrap(body, counter))
    }

    /// The registry has answered. A blob's line is written when its last byte has left, any other line at once.
    pub(super) fn finish(mut self, metrics: &Arc<Metrics>, answer: Answer) -> Response {
        let Answer { mut response, outcome, is_blob, error, memory, occurrence: _ } = answer;
        let mut id = Uuid::encode_buffer();
        let id = headers::value(self.id.hyphenated().encode_lower(&mut id));
        response.headers_mut().insert(REQUEST_ID, id);
        (self.outcome, self.error) = (outcome, error);
        let took = self.answered(metrics, response.status());
        if !is_blob {
            self.bytes = response.body().size_hint().exact().unwrap_or(0);
            (self.complete, self.ended) = (true, Some(self.began + took));
            if let (RequestKind::PullManifest, Some(outcome)) = (self.kind, outcome) {
                metrics.manifest_bytes(self.bytes, outcome == Outcome::Fill);
            }
            return response;
        }
        let length = content_length(&response);
        let metrics = Some(Arc::clone(metrics));
        let is_cold = matches!(outcome, Some(Outcome::Fill | Outcome::Follow));
        let counter = ByteCounter { entry: self.into_owned(), metrics, is_cold, length, _memory: memory };
        response.map(|body| InspectedBody::wrap(body, counter))
    }

    /// There is a response; returns how long it took.
    fn answered(&mut self, metrics: &Metrics, status: StatusCode) -> Duration {
        let took = self.began.elapsed();
        self.status = Some(status);
        let (kind, method) = (self.kind, self.method.as_str());
        metrics.request(AnsweredRequest { kind, method, status: status.as_u16(), took });
        took
    }

    /// Logs why a request failed, once.
    fn warn(&mut self, error: &Error, cause: &dyn std::error::Error) {
        let span = self.span();
        let _entered = span.enter();
        let (method, status) = (self.method.as_str(), self.status.map(|status| status.as_u16()));
        let repository = self.repository.as_ref().map(RepositoryName::as_str);
        let reference = self.subject.as_ref().map(tracing::field::display);
        // Escaped, because the client's text was not parsed and must not forge lines.
        let path = String::from_utf8_lossy(cut_text(self.path.as_bytes()));
        let path = repository.is_none().then(|| tracing::field::debug(path));
        let (user, code) = (self.user.as_deref(), error.code().as_str());
        let (client, cause) = (tracing::field::display(self.client), causes(cause));
        tracing::warn!(method, path, repository, reference, client, user, status, code, cause, "request failed");
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

impl Drop for LogEntry<'_> {
    fn drop(&mut self) {
        let error = self.error.take();
        if let Some((error, cause)) = error.as_ref().and_then(|error| Some((error, std::error::Error::source(error)?)))
        {
            self.warn(error, cause);
        }
        let status = self.status.map(|status| status.as_u16());
        let repository = self.repository.as_ref().map(RepositoryName::as_str);
        let (method, outcome, complete) = (self.method.as_str(), self.outcome, self.complete);
        let ended = Ended { method, kind: self.kind, status, repository, outcome, bytes: self.bytes, complete };
        request_span::end(&self.trace, &ended);
        let Some(log) = &self.log else {
            return;
        };
        let protocol = match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        };
        log.write(&Line {
            method,
            path: &self.path,
            protocol,
            repository,
            reference: self.subject.as_ref().map(|subject| subject as _),
            status,
            bytes: self.bytes,
            began: self.began,
            ended: self.ended.unwrap_or_else(Instant::now),
            outcome,
            code: error.as_ref().map(Error::code),
            complete,
            client: self.client,
            user: self.user.as_deref(),
            user_agent: self.user_agent.as_deref(),
            request_id: self.id,
        });
    }
}

/// Counts the bytes of a body that leave, and tells whether it came to its end.
struct ByteCounter {
    entry: LogEntry<'static>,
    /// Of a blob that passes through pounce.
    metrics: Option<Arc<Metrics>>,
    /// The blob is not stored yet, and its first byte has not come.
    is_cold: bool,
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
                entry.complete = self.length == Some(entry.bytes);
                if let Some(metrics) = &self.metrics {
                    metrics.blob_bytes(bytes);
                    if bytes > 0 && std::mem::take(&mut self.is_cold) {
                        metrics.first_byte(entry.began.elapsed());
                    }
                }
            }
            Poll::Ready(None) => entry.complete = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
    }
}
