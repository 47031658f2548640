//! The line that every request gets in the log, written when its last byte is gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use uuid::Uuid;

use super::Site;
use super::endpoint::Endpoint;
use crate::oci::{Error, RepositoryName};
use crate::telemetry::{Metrics, Outcome};

/// Echoed to the client, so that both sides can speak of the same request.
const REQUEST_ID: &str = "x-request-id";

/// What the log says of a request.
#[derive(Debug)]
pub(super) struct Line {
    on: bool,
    id: Uuid,
    method: Method,
    /// As the client wrote it; only of requests that are for no endpoint.
    path: Option<String>,
    repository: Option<RepositoryName>,
    reference: Option<String>,
    metrics: Arc<Metrics>,
    began: Instant,
    pub(super) outcome: Option<Outcome>,
    pub(super) error: Option<Error>,
}

impl Line {
    pub(super) fn new(
        site: &Site,
        request: &Parts,
        endpoint: Option<Endpoint>,
        began: Instant,
    ) -> Self {
        let path = endpoint.is_none().then(|| request.uri.path().to_owned());
        let (repository, reference) = match endpoint {
            Some(Endpoint::Support) | None => (None, None),
            Some(Endpoint::Blob { name, digest }) => (Some(name), Some(digest.to_string())),
            Some(Endpoint::Manifest { name, reference }) => {
                (Some(name), Some(reference.to_string()))
            }
            Some(Endpoint::Tags { name, .. }) => (Some(name), None),
        };
        Self {
            on: site.access_log,
            id: Uuid::new_v4(),
            method: request.method.clone(),
            path,
            repository,
            reference,
            metrics: Arc::clone(&site.metrics),
            began,
            outcome: None,
            error: None,
        }
    }

    /// Writes the line.
    pub(super) fn end(self, mut response: Response) -> Response {
        self.put_id(&mut response);
        let bytes = response.body().size_hint().exact().unwrap_or(0);
        self.write(response.status(), bytes, true);
        response
    }

    /// Writes the line when the body has been sent, and counts its bytes as a blob's.
    pub(super) fn end_of_blob(self, mut response: Response) -> Response {
        self.put_id(&mut response);
        let line = Some((self, response.status()));
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        response.map(|body| {
            Body::new(Watched {
                body,
                line,
                bytes: 0,
                length,
                ended: false,
            })
        })
    }

    fn put_id(&self, response: &mut Response) {
        let id = HeaderValue::from_str(&self.id.to_string());
        response
            .headers_mut()
            .insert(REQUEST_ID, id.unwrap_or(HeaderValue::from_static("")));
    }

    fn write(self, status: StatusCode, bytes: u64, whole: bool) {
        let cause = self
            .error
            .as_ref()
            .and_then(std::error::Error::source)
            .map(ToString::to_string);
        if !self.on && cause.is_none() {
            return;
        }
        let (id, method, status) = (self.id, self.method.as_str(), status.as_u16());
        let seconds = self.began.elapsed().as_secs_f64();
        let outcome = self.outcome.map(Outcome::as_str);
        let repository = self.repository.as_ref().map(RepositoryName::as_str);
        let reference = self.reference.as_deref();
        let code = self.error.as_ref().map(|error| error.code().as_str());
        // Texts of the client's that were not parsed are escaped, so that they cannot forge lines.
        let path = self.path.as_deref().map(tracing::field::debug);
        if cause.is_some() {
            tracing::warn!(%id, method, path, repository, reference, status, code, outcome, bytes, seconds, cause, "request");
        } else {
            tracing::info!(%id, method, path, repository, reference, status, code, outcome, bytes, whole, seconds, "request");
        }
    }
}

/// A body that tells its line how many bytes went out, and whether it came to its end.
struct Watched {
    body: Body,
    line: Option<(Line, StatusCode)>,
    bytes: u64,
    /// As announced; a server stops asking for more when it has so many.
    length: Option<u64>,
    ended: bool,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((line, status)) = self.line.take() {
            let whole = self.ended || self.length == Some(self.bytes);
            line.metrics.blob_bytes(self.bytes);
            line.write(status, self.bytes, whole);
        }
    }
}
