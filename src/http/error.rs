//! Errors on the wire: the spec's JSON body, and the status that follows from the code.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::response::Response;
use serde::Serialize;

use super::headers;
use crate::oci::{Digest, Error, ErrorCode};

/// The one table of statuses.
const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::BlobUploadInvalid
        | ErrorCode::DigestInvalid
        | ErrorCode::ManifestBlobUnknown
        | ErrorCode::ManifestInvalid
        | ErrorCode::NameInvalid
        | ErrorCode::PaginationNumberInvalid
        | ErrorCode::SizeInvalid
        | ErrorCode::TagInvalid => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::Denied => StatusCode::FORBIDDEN,
        ErrorCode::BlobUnknown | ErrorCode::BlobUploadUnknown | ErrorCode::ManifestUnknown | ErrorCode::NameUnknown => {
            StatusCode::NOT_FOUND
        }
        ErrorCode::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[derive(Serialize)]
struct Body<'a> {
    errors: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Detail<'a>>,
}

#[derive(Serialize)]
struct Detail<'a> {
    digest: &'a Digest,
}

pub(super) fn respond(error: &Error) -> Response {
    let entry = |detail| Entry { code: error.code().as_str(), message: error.message(), detail };
    let missing = error.missing().iter().map(|digest| Some(Detail { digest }));
    let errors = if error.missing().is_empty() { vec![entry(None)] } else { missing.map(entry).collect() };
    let mut response = headers::serialized(&Body { errors });
    *response.status_mut() = status(error.code());
    if let Some(size) = error.size() {
        // RFC 9110, section 15.5.17: the size, for a client that guessed.
        let range = headers::value(&format!("bytes */{size}"));
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    if let Some(after) = error.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}
