//! `/v2/<name>/manifests/<tag-or-digest>` (end-3)

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::response::IntoResponse;

use super::{Answer, Site, headers};
use crate::oci::{Error, Reference, RepositoryName};
use crate::telemetry::Outcome;

/// RFC 7234, section 5.5.1: what follows could not be compared with its origin.
const STALE: HeaderValue = HeaderValue::from_static("110 - \"Response is Stale\"");

pub(super) async fn pull(
    site: &Site,
    request: &Parts,
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Answer, Error> {
    let accept = headers::accepted(&request.headers);
    let served = site.registry.manifest(name, reference, &accept).await?;
    let manifest = served.manifest;
    let digest = manifest.digest().to_string();
    let fields = [
        (
            header::CONTENT_TYPE,
            headers::value(manifest.media_type().as_str()),
        ),
        (headers::CONTENT_DIGEST, headers::value(&digest)),
        (header::ETAG, headers::value(&format!("\"{digest}\""))),
    ];
    let mut response = if headers::has_it_already(&request.headers, &digest) {
        (StatusCode::NOT_MODIFIED, fields).into_response()
    } else {
        let length = [(
            header::CONTENT_LENGTH,
            HeaderValue::from(manifest.bytes().len()),
        )];
        (fields, length, Body::from(manifest.bytes().clone())).into_response()
    };
    if served.outcome == Outcome::Stale {
        response.headers_mut().insert(header::WARNING, STALE);
    }
    Ok(Answer {
        outcome: Some(served.outcome),
        ..response.into()
    })
}
