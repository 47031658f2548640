//! `/v2/<name>/blobs/<digest>` (end-2, end-10)

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::{Answer, Client, Site, headers, reached};
use crate::oci::{Digest, Error, MediaType, RangeRequest, RepositoryName};
use crate::registry::{BlobAccess, BlobPart, BlobRequest, BlobStream};

pub(super) async fn pull(
    site: &Site,
    request: &Parts,
    client: &Client,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Answer, Error> {
    if request.method == Method::HEAD {
        let info = site.registry.blob_info(name, digest).await?;
        return Ok(whole(digest, Some(info.size), Body::empty()).into());
    }
    let range = request
        .headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    let range = range.map_or(RangeRequest::Whole, RangeRequest::parse);
    let base = site.registry.urls_depend_on_caller();
    let base = base.then(|| client.reached.base(site, request)).flatten();
    let asked = BlobRequest {
        name,
        digest,
        range,
        base: base.as_ref().unwrap_or(&site.base),
        redirect: !reached::lies_in(&site.unredirected, client.reached.client),
    };
    Ok(match site.registry.blob(asked).await? {
        BlobAccess::Redirect(url, outcome) => Answer {
            outcome: Some(outcome),
            ..redirect(digest, &url).into()
        },
        BlobAccess::Stream(stream) => {
            let outcome = Some(stream.outcome);
            Answer {
                outcome,
                is_blob: true,
                ..streamed(digest, stream).into()
            }
        }
    })
}

pub(super) async fn delete(
    site: &Site,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Answer, Error> {
    site.registry.delete_blob(name, digest).await?;
    Ok(StatusCode::ACCEPTED.into_response().into())
}

/// The URL expires, so nobody may keep this response for longer than the URL's own life.
fn redirect(digest: &Digest, url: &str) -> Response {
    let fields = [
        (header::LOCATION, headers::value(url)),
        (headers::CONTENT_DIGEST, headers::digest(digest)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::TEMPORARY_REDIRECT, fields).into_response()
}

fn streamed(digest: &Digest, stream: BlobStream) -> Response {
    let body = Body::from_stream(stream.bytes);
    let Some(BlobPart { slice, of }) = stream.part else {
        return whole(digest, stream.size, body);
    };
    let mut response = whole(digest, Some(slice.len()), body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {}-{}/{of}", slice.start, slice.end - 1);
    response
        .headers_mut()
        .insert(header::CONTENT_RANGE, headers::value(&range));
    response
}

fn whole(digest: &Digest, length: Option<u64>, body: Body) -> Response {
    let text = digest.to_string();
    let fields = [
        (
            header::CONTENT_TYPE,
            headers::value(MediaType::OCTET_STREAM.as_str()),
        ),
        (headers::CONTENT_DIGEST, headers::value(&text)),
        (header::ETAG, headers::value(&format!("\"{text}\""))),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    let mut response = (fields, body).into_response();
    if let Some(length) = length {
        response
            .headers_mut()
            .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
