//! The headers of all views, and what a browser gets where there is none.

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{document, login_path};
use super::view::View;
use crate::auth::BrowserLogin;
use crate::http::response::remove_body;
use crate::http::{Answer, Context, LogEntry, Rejection, headers, occurrence};
use crate::oci::ErrorCode;

/// Nothing but pounce's own files is loaded, and nothing is run or styled from inside a document.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A document as a response. What it shows depends on the user, and changes, so no cache keeps it.
pub(super) fn html(status: StatusCode, document: Markup) -> Response {
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::VARY, HeaderValue::from_static("Accept, Cookie")),
    ];
    headers::response(status, fields, Body::from(document.into_string()))
}

/// Sends the browser to another view.
pub(super) fn see_other(path: &str) -> Response {
    let fields =
        [(header::LOCATION, headers::value(path)), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (StatusCode::SEE_OTHER, fields).into_response()
}

/// A request that is not served: a document that says why, or the login.
pub(super) fn rejected(view: &View<'_>, rejection: Rejection) -> Answer {
    let asks_login = rejection.code() == Some(ErrorCode::Unauthorized) && view.login() == BrowserLogin::Password;
    let mut answer = rejection.into_answer();
    let status = answer.response.status();
    if asks_login && view.cx.request.method.is_safe() {
        answer.response = see_other(&login_path(view));
        return answer;
    }
    let message = answer.error.as_ref().map_or("this is not possible here", |error| error.message());
    let title = match status {
        StatusCode::NOT_FOUND => "There is nothing here",
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "You may not see or do this",
        StatusCode::SERVICE_UNAVAILABLE => "Try again later",
        _ => "This did not work",
    };
    let content = html! {
        section.panel aria-labelledby="title" {
            h1 #title { (title) }
            p { bdi { (message) } "." }
            p.muted { a href=(view.href("/")) { "All repositories" } }
        }
    };
    let retry = answer.response.headers_mut().remove(header::RETRY_AFTER);
    let allow = answer.response.headers_mut().remove(header::ALLOW);
    answer.response = html(status, document(view, title, &content));
    let kept = [(header::RETRY_AFTER, retry), (header::ALLOW, allow)];
    answer.response.headers_mut().extend(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
    answer
}

/// Completes a response of the page, and hands it to the access log.
pub(super) fn finish(cx: &Context<'_>, entry: LogEntry<'_>, mut answer: Answer) -> Response {
    if let Some(occurrence) = answer.occurrence.take() {
        occurrence::publish(cx, &entry, &occurrence);
    }
    protect(answer.response.headers_mut());
    if cx.request.method == Method::HEAD {
        remove_body(&mut answer.response);
    }
    entry.finish(&cx.app.metrics, answer)
}

fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
}
