//! `OPTIONS`, and `GET /`: requests of browsers and probes, without credentials.
//!
//! A browser sends `OPTIONS` before a request to another origin, and expects a 2xx (the Fetch standard, "CORS-preflight
//! fetch"). `http.headers`, which every response has, allow the request. The responses here follow from the form of the
//! path alone, so that a client without login cannot tell from them which repositories exist.

use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::endpoint::READS;
use super::rejection::{Rejection, method_not_allowed};

/// The response to an `OPTIONS` under `/v2/`. No endpoint has this method, so every such request was rejected.
pub(super) fn endpoint(rejection: &Rejection) -> Response {
    options(match rejection {
        Rejection::Method(allowed) => allowed,
        // No endpoint. The browser goes on, to the 404 of the request itself.
        Rejection::Error(_) | Rejection::Unauthorized(_) => READS,
    })
}

/// The same for the embedded S3 server's paths, to which redirects lead browsers.
pub(super) fn embedded_s3() -> Response {
    options("GET, HEAD, PUT, POST, DELETE, OPTIONS")
}

/// `/`: charts for distribution's image use it as a liveness probe. It gets one line.
pub(super) fn root(method: &Method) -> Response {
    match *method {
        Method::OPTIONS => options(READS),
        Method::GET | Method::HEAD => {
            let fresh = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
            (StatusCode::OK, fresh, "pounce, a container registry: its API is below /v2/\n").into_response()
        }
        _ => method_not_allowed(READS),
    }
}

/// 200 and not 204, as distribution answers, because some clients accept nothing else.
fn options(allowed: &'static str) -> Response {
    let allow = [(header::ALLOW, HeaderValue::from_static(allowed))];
    (StatusCode::OK, allow).into_response()
}
