//! `OPTIONS`, and `GET /`: what browsers and probes ask without credentials.
//!
//! A browser sends `OPTIONS` before a request to another origin, and wants a 2xx (the Fetch standard, "CORS-preflight
//! fetch"). What the request may be stands in `http.headers`, which every response has. The answers here follow from
//! the form of the path alone, so that they tell a client that is not logged in nothing of what there is.

use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::endpoint::{READS, Refused};
use super::method_not_allowed;

/// The answer to an `OPTIONS` under `/v2/`. No endpoint takes it, so that it always comes here as a refusal.
pub(super) fn respond(refused: &Refused) -> Response {
    options(match refused {
        Refused::Method(allowed) => allowed,
        // No endpoint. The browser is let through, to the 404 of the request itself.
        Refused::Error(_) | Refused::Unauthorized(_) => READS,
    })
}

/// The same for the embedded S3's paths, which a browser follows a redirect to.
pub(super) fn of_bucket() -> Response {
    options("GET, HEAD, PUT, POST, DELETE, OPTIONS")
}

/// `/`, by which charts for distribution's image probe whether the registry lives.
pub(super) fn root(method: &Method) -> Response {
    match *method {
        Method::OPTIONS => options(READS),
        Method::GET | Method::HEAD => {
            let fresh = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
            (StatusCode::OK, fresh).into_response()
        }
        _ => method_not_allowed(READS).response,
    }
}

/// 200 and not 204, as distribution answers: some clients take nothing else.
fn options(allowed: &'static str) -> Response {
    let allow = [(header::ALLOW, HeaderValue::from_static(allowed))];
    (StatusCode::OK, allow).into_response()
}
