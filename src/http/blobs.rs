//! `/v2/<name>/blobs/<digest>` (end-2, end-10)

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use url::Url;

use super::{Answer, Site, headers};
use crate::oci::{Digest, Error, MediaType, RangeRequest, RepositoryName};
use crate::registry::{BlobAccess, BlobPart, BlobRequest, BlobStream};

pub(super) async fn pull(
    site: &Site,
    request: &Parts,
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
    let base = base(site, request);
    let asked = BlobRequest {
        name,
        digest,
        range,
        base: base.as_ref().unwrap_or(&site.base),
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

/// How this client reached pounce, if it says so and it matters.
fn base(site: &Site, request: &Parts) -> Option<Url> {
    if site.fixed_base || !site.registry.urls_depend_on_caller() {
        return None;
    }
    let host = request
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    // HTTP/2 has it in the URL.
    let host = host.or_else(|| {
        request
            .uri
            .authority()
            .map(axum::http::uri::Authority::as_str)
    })?;
    // A name of the DNS and a port; what is longer would only fill the cache of URLs.
    let url = Url::parse(&format!("http://{host}/"))
        .ok()
        .filter(|_| host.len() <= 260)?;
    let plain = url.username().is_empty()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}
