//! The common parts of all responses.

use axum::body::{Body, HttpBody};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::{Answer, AppState, Context, LogEntry, occurrence, public_url};

/// On every response under `/v2/`, for clients from before the OCI. (A name that is text is allocated at each use.)
const API_VERSION: (HeaderName, HeaderValue) =
    (HeaderName::from_static("docker-distribution-api-version"), HeaderValue::from_static("registry/2.0"));

/// Completes a response under `/v2/`, and hands it to the access log.
pub(super) fn finish(cx: &Context<'_>, entry: LogEntry, mut answer: Answer) -> Response {
    if let Some(occurrence) = answer.occurrence.take() {
        occurrence::publish(cx, &entry, &occurrence);
    }
    let response = &mut answer.response;
    response.headers_mut().insert(API_VERSION.0, API_VERSION.1);
    public_url::make_location_absolute(cx, response.headers_mut());
    if cx.request.method == Method::HEAD {
        remove_body(response);
    }
    entry.finish(&cx.app.metrics, answer)
}

/// The response with `http.headers`.
pub(super) fn with_configured_headers(app: &AppState, mut response: Response) -> Response {
    for (name, value) in &app.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

/// Makes a response to GET one to HEAD, which has the same `Content-Length` where a GET has one (RFC 9110, section
/// 8.6). A server of HTTP/2 would send a body that is there, and break the stream by it.
pub(super) fn remove_body(response: &mut Response) {
    let has_length = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let length = response.body().size_hint().exact();
    // The length of a streamed body stands in its header already.
    if let Some(length) = length.filter(|_| has_length) {
        let entry = response.headers_mut().entry(header::CONTENT_LENGTH);
        entry.or_insert(HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}
