//! The headers of all views, and what a browser gets where there is none.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::document;
use super::view::View;
use crate::http::response::remove_body;
use crate::http::{Answer, Context, LogEntry, Rejection};

/// Nothing but pounce's own files is loaded, and nothing is run or styled from inside a document.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A document as a response.
pub(super) fn html(status: StatusCode, document: Markup) -> Response {
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    crate::http::headers::response(status, fields, Body::from(document.into_string()))
}

/// A request that is not served.
pub(super) fn rejected(view: &View<'_>, rejection: Rejection) -> Answer {
    let mut answer = rejection.into_answer();
    let status = answer.response.status();
    let message = answer.error.as_ref().map_or("this is not possible here", |error| error.message());
    let title = status.canonical_reason().unwrap_or("Error");
    let content = html! { h1 { (title) } p { (message) } };
    let mut headers = std::mem::take(answer.response.headers_mut());
    answer.response = html(status, document(view, title, &content));
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
    answer.response.headers_mut().extend(headers);
    answer
}

/// Completes a response of the page, and hands it to the access log.
pub(super) fn finish(cx: &Context<'_>, entry: LogEntry<'_>, mut answer: Answer) -> Response {
    protect(answer.response.headers_mut());
    if cx.request.method == axum::http::Method::HEAD {
        remove_body(&mut answer.response);
    }
    entry.finish(&cx.app.metrics, answer)
}

fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
}
