//! `/v2/<name>/blobs/<digest>` (end-2, end-10)

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use url::Url;

use super::{Answer, Client, Site, headers, reached};
use crate::oci::{Digest, Error, RangeRequest, RepositoryName};
use crate::registry::{BlobAccess, BlobInfo, BlobPart, BlobRequest, BlobStream};

/// The answer, if it is known.
pub(super) fn known(
    site: &Site,
    request: &Parts,
    client: &Client,
    name: &RepositoryName,
    digest: &Digest,
) -> Option<Answer> {
    if request.method == Method::HEAD {
        let info = site.registry.blobs.info_from_memory(name, digest)?;
        return Some(described(request, digest, info));
    }
    let base = base(site, request, client);
    let asked = asked(site, request, client, &base, name, digest);
    Some(answer(request, digest, site.registry.blobs.open_from_memory(&asked)?))
}

pub(super) async fn pull(
    site: &Site,
    request: &Parts,
    client: &Client,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Answer, Error> {
    // A client that has the blob already needs no stream from the bucket to be told so.
    let streams = site.registry.blobs.streams_all() || !may_redirect(site, client);
    let is_asked_for = !headers::has_it_already(&request.headers, digest);
    if request.method == Method::HEAD || (streams && !is_asked_for) {
        let info = site.registry.blobs.info(name, digest).await?;
        return Ok(described(request, digest, info));
    }
    let base = base(site, request, client);
    let asked = asked(site, request, client, &base, name, digest);
    Ok(answer(request, digest, site.registry.blobs.open(asked).await?))
}

/// The URL that the client uses, where others lead it back here.
fn base<'a>(site: &'a Site, request: &Parts, client: &Client) -> Cow<'a, Url> {
    let depends = site.registry.blobs.urls_depend_on_caller();
    let base = depends.then(|| client.reached.base(site, request));
    base.flatten().map_or(Cow::Borrowed(&site.base), Cow::Owned)
}

fn asked<'a>(
    site: &Site,
    request: &Parts,
    client: &Client,
    base: &'a Url,
    name: &'a RepositoryName,
    digest: &'a Digest,
) -> BlobRequest<'a> {
    let range = request.headers.get(header::RANGE);
    // RFC 9110, section 13.2.2: the condition counts before the range.
    let range = range.filter(|_| !headers::has_it_already(&request.headers, digest));
    let range = range.and_then(|value| value.to_str().ok());
    BlobRequest {
        name,
        digest,
        range: range.map_or(RangeRequest::Whole, RangeRequest::parse),
        base,
        redirect: may_redirect(site, client),
    }
}

fn may_redirect(site: &Site, client: &Client) -> bool {
    !reached::lies_in(&site.unredirected, client.reached.client)
}

fn answer(request: &Parts, digest: &Digest, access: BlobAccess) -> Answer {
    match access {
        BlobAccess::Redirect(url, outcome) => Answer { outcome: Some(outcome), ..redirect(digest, url).into() },
        // On its way into the bucket.
        BlobAccess::Stream(stream) if headers::has_it_already(&request.headers, digest) => {
            Answer { outcome: Some(stream.outcome), ..not_modified(digest).into() }
        }
        BlobAccess::Stream(stream) => {
            Answer { outcome: Some(stream.outcome), is_blob: true, ..streamed(digest, stream).into() }
        }
    }
}

fn described(request: &Parts, digest: &Digest, info: BlobInfo) -> Answer {
    if headers::has_it_already(&request.headers, digest) {
        return not_modified(digest).into();
    }
    whole(digest, Some(info.size), Body::empty()).into()
}

pub(super) async fn delete(site: &Site, name: &RepositoryName, digest: &Digest) -> Result<Answer, Error> {
    site.registry.blobs.delete(name, digest).await?;
    Ok(StatusCode::ACCEPTED.into_response().into())
}

/// The URL expires, so nobody may keep this response for longer than the URL's own life.
fn redirect(digest: &Digest, url: String) -> Response {
    let fields = [
        (header::LOCATION, headers::owned(url)),
        (headers::CONTENT_DIGEST, headers::digest(digest)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    headers::response(StatusCode::TEMPORARY_REDIRECT, fields, Body::empty())
}

fn streamed(digest: &Digest, stream: BlobStream) -> Response {
    let body = Body::from_stream(stream.bytes);
    let Some(BlobPart { slice, of }) = stream.part else {
        return whole(digest, stream.size, body);
    };
    let mut response = whole(digest, Some(slice.len()), body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let range = format!("bytes {}-{}/{of}", slice.start, slice.end - 1);
    response.headers_mut().insert(header::CONTENT_RANGE, headers::value(&range));
    response
}

/// What a client keeps under this digest is right for ever.
fn not_modified(digest: &Digest) -> Response {
    let fields = [(headers::CONTENT_DIGEST, headers::digest(digest)), (header::ETAG, headers::etag(digest))];
    headers::response(StatusCode::NOT_MODIFIED, fields, Body::empty())
}

fn whole(digest: &Digest, length: Option<u64>, body: Body) -> Response {
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (headers::CONTENT_DIGEST, headers::digest(digest)),
        (header::ETAG, headers::etag(digest)),
        (header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
    ];
    let mut response = headers::response(StatusCode::OK, fields, body);
    if let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}
