//! `/v2/<name>/blobs/<digest>` (end-2, end-10)

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::byte_ranges::PartedBlob;
use super::client_address::is_in;
use super::{Answer, AppState, Context, headers, occurrence, ollama, public_url};
use crate::oci::{Digest, Error, RangeRequest, RepositoryName, Slice};
use crate::registry::{BlobAccess, BlobInfo, BlobPart, BlobRequest, BlobStream};

/// The answer, if it needs no I/O.
pub(super) fn from_memory(cx: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Option<Answer> {
    let Context { app, request, .. } = *cx;
    if request.method == Method::HEAD {
        let info = app.registry.blobs.info_from_memory(name, digest)?;
        return Some(info_answer(cx, name, digest, info));
    }
    if ollama::asks_for_url(cx, name) {
        app.registry.blobs.info_from_memory(name, digest)?;
        return Some(ollama::url(cx, name, digest).into());
    }
    let base = likely_base(cx);
    let wanted = blob_request(cx, &base, name, digest, follows_redirects(cx));
    Some(access_answer(cx, name, digest, app.registry.blobs.open_from_memory(&wanted)?))
}

pub(super) async fn pull(cx: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Result<Answer, Error> {
    let app = cx.app;
    if ollama::asks_for_url(cx, name) {
        app.registry.blobs.info(name, digest).await?;
        return Ok(ollama::url(cx, name, digest).into());
    }
    let answer = serve(cx, name, digest, follows_redirects(cx)).await?;
    if answer.is_blob
        && ollama::is_transfer(cx)
        && let Some(response) = ollama::redirect_to_default_port(cx, name, digest)
    {
        return Ok(response.into());
    }
    Ok(answer)
}

/// The blob or a range of it, or a redirect if the client may be redirected.
pub(super) async fn serve(
    cx: &Context<'_>,
    name: &RepositoryName,
    digest: &Digest,
    may_redirect: bool,
) -> Result<Answer, Error> {
    let Context { app, request, .. } = *cx;
    // A 304 needs no stream from the bucket.
    let streams = app.registry.blobs.streams_all() || !may_redirect;
    let has_blob = headers::if_none_match(&request.headers, digest);
    if request.method == Method::HEAD || (streams && has_blob) {
        let info = app.registry.blobs.info(name, digest).await?;
        return Ok(info_answer(cx, name, digest, info));
    }
    let base = base(cx);
    let wanted = blob_request(cx, &base, name, digest, may_redirect);
    let range = wanted.range.clone();
    let access = app.registry.blobs.open(wanted).await?;
    let slices = match &access {
        BlobAccess::Stream(BlobStream { part: Some(part), .. }) => range.slices(part.of).unwrap_or_default(),
        _ => Vec::new(),
    };
    Ok(match access {
        BlobAccess::Stream(stream) if slices.len() > 1 => several(cx, &base, name, digest, stream, slices),
        access => access_answer(cx, name, digest, access),
    })
}

/// The URL of this registry for this client, where redirects lead back here.
fn base<'a>(cx: &Context<'a>) -> Cow<'a, str> {
    let depends = cx.app.registry.blobs.urls_depend_on_caller();
    let base = depends.then(|| public_url::base(cx)).flatten();
    base.map_or(Cow::Borrowed(cx.app.base.as_str()), |url| String::from(url).into())
}

/// The same, without parsing it, which took 5 % of a redirect's time. URLs for clients are kept by the parsed one's
/// text: where this is another text, none is found, and the request is answered by [`pull`].
fn likely_base<'a>(cx: &Context<'a>) -> Cow<'a, str> {
    let depends = cx.app.registry.blobs.urls_depend_on_caller();
    let base = depends.then(|| public_url::base_text(cx)).flatten();
    base.unwrap_or(Cow::Borrowed(cx.app.base.as_str()))
}

fn blob_request<'a>(
    cx: &Context<'_>,
    base: &'a str,
    name: &'a RepositoryName,
    digest: &'a Digest,
    redirect: bool,
) -> BlobRequest<'a> {
    let headers = &cx.request.headers;
    let range = headers.get(header::RANGE);
    // RFC 9110, section 13.2.2: the conditions have precedence over the range.
    let range = range.filter(|_| !headers::if_none_match(headers, digest) && headers::if_range(headers, digest));
    let range = range.and_then(|value| value.to_str().ok());
    BlobRequest { name, digest, range: range.map_or(RangeRequest::Whole, RangeRequest::parse), base, redirect }
}

/// Whether the client can be redirected to where blobs are. One that expects bytes wherever its first GET ended is not
/// redirected to the embedded S3 server, because that is here.
fn follows_redirects(cx: &Context<'_>) -> bool {
    may_redirect(cx) && !(cx.app.registry.embedded().is_some() && ollama::is_transfer(cx))
}

/// Whether the client's address is one that can be redirected.
pub(super) fn may_redirect(cx: &Context<'_>) -> bool {
    !is_in(&cx.app.config.storage.redirect.exclude, cx.client.ip)
}

fn access_answer(cx: &Context<'_>, name: &RepositoryName, digest: &Digest, access: BlobAccess) -> Answer {
    match access {
        BlobAccess::Redirect(url, outcome) => {
            let occurrence = occurrence::blob_pulled(cx.app, name, digest, None);
            Answer { outcome: Some(outcome), occurrence, ..redirect(digest, url).into() }
        }
        // The fill goes on without this client.
        BlobAccess::Stream(stream) if headers::if_none_match(&cx.request.headers, digest) => {
            Answer { outcome: Some(stream.outcome), ..not_modified(digest).into() }
        }
        BlobAccess::Stream(stream) => {
            let size = stream.part.map_or(stream.size, |part| Some(part.of));
            let occurrence = occurrence::blob_pulled(cx.app, name, digest, size);
            Answer { outcome: Some(stream.outcome), is_blob: true, occurrence, ..streamed(digest, stream).into() }
        }
    }
}

/// Several parts of a blob, of which `first` has the first.
fn several(
    cx: &Context<'_>,
    base: &str,
    name: &RepositoryName,
    digest: &Digest,
    first: BlobStream,
    slices: Vec<Slice>,
) -> Answer {
    let (blobs, size) = (Arc::clone(&cx.app.registry.blobs), first.part.map_or(0, |part| part.of));
    let blob = PartedBlob { blobs, name: name.clone(), digest: *digest, base: base.to_owned(), size };
    let mut response = whole(digest, None, Body::empty());
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let response = blob.respond(response, first.bytes, slices);
    let occurrence = occurrence::blob_pulled(cx.app, name, digest, Some(size));
    Answer { outcome: Some(first.outcome), is_blob: true, occurrence, ..response.into() }
}

fn info_answer(cx: &Context<'_>, name: &RepositoryName, digest: &Digest, info: BlobInfo) -> Answer {
    if headers::if_none_match(&cx.request.headers, digest) {
        return not_modified(digest).into();
    }
    let occurrence = occurrence::blob_pulled(cx.app, name, digest, Some(info.size));
    Answer { occurrence, ..whole(digest, Some(info.size), Body::empty()).into() }
}

pub(super) async fn delete(app: &AppState, name: &RepositoryName, digest: &Digest) -> Result<Answer, Error> {
    app.registry.blobs.delete(name, digest).await?;
    let occurrence = occurrence::deleted(app, name, Some(*digest), Vec::new());
    Ok(Answer { occurrence, ..StatusCode::ACCEPTED.into_response().into() })
}

/// The URL expires, so no cache may keep this response.
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
