//! Errors on the wire: the spec's JSON body, and the status that follows from the code.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::oci::{Error, ErrorCode};

/// The one table of statuses.
const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::DigestInvalid
        | ErrorCode::NameInvalid
        | ErrorCode::PaginationNumberInvalid
        | ErrorCode::TagInvalid => StatusCode::BAD_REQUEST,
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::BlobUnknown | ErrorCode::ManifestUnknown | ErrorCode::NameUnknown => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    errors: [Entry<'a>; 1],
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    message: &'a str,
}

pub(super) fn respond(error: &Error) -> Response {
    let body = Body {
        errors: [Entry {
            code: error.code().as_str(),
            message: error.message(),
        }],
    };
    // Two texts always serialize.
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let json = HeaderValue::from_static("application/json");
    let mut response = (status(error.code()), [(header::CONTENT_TYPE, json)], body).into_response();
    if let Some(size) = error.size() {
        // RFC 9110, section 15.5.17: how large it is, for a client that guessed.
        let range = super::headers::value(&format!("bytes */{size}"));
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    if let Some(after) = error.patience() {
        response.headers_mut().insert(
            header::RETRY_AFTER,
            HeaderValue::from(after.as_secs().max(1)),
        );
    }
    response
}
