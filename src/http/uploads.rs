//! `/v2/<name>/blobs/uploads/` and what it leads to (end-4 to end-6, end-11, end-13, end-14)

use std::io;

use axum::body::{Body, HttpBody};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};

use super::endpoint::Upload;
use super::{Answer, Client, Site, error, headers};
use crate::oci::{Algorithm, ChunkRange, Digest, Error, ErrorCode, RepositoryName};
use crate::registry::{ChunkRequest, Mounted, Progress, Pushed, UploadRequest};

/// distribution's, which old clients read.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

pub(super) fn begin(site: &Site, name: &RepositoryName, algorithm: Algorithm) -> Result<Answer, Error> {
    let progress = site.registry.uploads.begin(name, algorithm)?;
    Ok(going_on(StatusCode::ACCEPTED, site, name, &progress).into())
}

pub(super) async fn mount(
    site: &Site,
    name: &RepositoryName,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Result<Answer, Error> {
    Ok(match site.registry.uploads.mount(name, digest, from).await? {
        Mounted::Stored => stored(site, name, digest).into(),
        Mounted::Begun(progress) => going_on(StatusCode::ACCEPTED, site, name, &progress).into(),
    })
}

pub(super) async fn push_blob(
    site: &Site,
    request: &Parts,
    body: Body,
    client: &Client,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Answer, Error> {
    let chunk = chunk(&request.headers, body, client)?;
    site.registry.uploads.push(name, digest, chunk).await?;
    Ok(stored(site, name, digest).into())
}

pub(super) async fn push_chunk(
    site: &Site,
    request: &Parts,
    body: Body,
    client: &Client,
    upload: &Upload,
) -> Result<Answer, Error> {
    let chunk = chunk(&request.headers, body, client)?;
    let pushed = site.registry.uploads.append(upload.into(), chunk).await?;
    Ok(answer(pushed, site, &upload.name, None))
}

pub(super) async fn close(
    site: &Site,
    request: &Parts,
    body: Body,
    client: &Client,
    upload: &Upload,
    digest: &Digest,
) -> Result<Answer, Error> {
    let chunk = chunk(&request.headers, body, client)?;
    let closing = site.registry.uploads.finish(upload.into(), digest, chunk);
    Ok(answer(closing.await?, site, &upload.name, Some(digest)))
}

pub(super) async fn status(site: &Site, upload: &Upload) -> Result<Answer, Error> {
    let progress = site.registry.uploads.status(upload.into()).await?;
    Ok(going_on(StatusCode::NO_CONTENT, site, &upload.name, &progress).into())
}

pub(super) async fn cancel(site: &Site, upload: &Upload) -> Result<Answer, Error> {
    site.registry.uploads.abort(upload.into()).await?;
    Ok(StatusCode::NO_CONTENT.into_response().into())
}

impl<'a> From<&'a Upload> for UploadRequest<'a> {
    fn from(upload: &'a Upload) -> Self {
        Self { name: &upload.name, id: upload.id, state: &upload.state }
    }
}

/// A body, and what its headers say of it.
fn chunk(headers: &HeaderMap, body: Body, client: &Client) -> Result<ChunkRequest, Error> {
    let text = |name| {
        let value: Option<&HeaderValue> = headers.get(name);
        value.map(|value| value.to_str().unwrap_or_default())
    };
    let range = text(header::CONTENT_RANGE).map(|text| {
        let message = "a Content-Range is written start-end, in bytes, both inclusive";
        ChunkRange::parse(text).ok_or(Error::new(ErrorCode::BlobUploadInvalid, message))
    });
    let range = range.transpose()?;
    let len = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    // Without the header there may be no body, which is known, too.
    let len = len.or_else(|| body.size_hint().exact());
    if let (Some(range), Some(len)) = (range, len)
        && range.len != len
    {
        let message = "Content-Range and Content-Length differ";
        return Err(Error::new(ErrorCode::SizeInvalid, message));
    }
    let body = body.into_data_stream().map_err(io::Error::other).boxed();
    Ok(ChunkRequest { range, len, body, pusher: client.pusher() })
}

fn answer(pushed: Pushed, site: &Site, name: &RepositoryName, digest: Option<&Digest>) -> Answer {
    match (pushed, digest) {
        (Pushed::OutOfOrder(progress), _) => {
            let message = "the chunk does not begin where the upload ends, which the Range tells";
            let error = Error::new(ErrorCode::RangeInvalid, message);
            let mut response = error::respond(&error);
            let fields = going_on(StatusCode::ACCEPTED, site, name, &progress);
            let (mut fields, _) = fields.into_parts();
            fields.headers.remove(header::CONTENT_LENGTH);
            response.headers_mut().extend(fields.headers);
            response.into()
        }
        (Pushed::Stored, Some(digest)) => stored(site, name, digest).into(),
        (Pushed::Accepted(progress), _) => going_on(StatusCode::ACCEPTED, site, name, &progress).into(),
        (Pushed::Stored, None) => StatusCode::CREATED.into_response().into(),
    }
}

/// The URL is relative: a client knows better than pounce how it reached pounce.
fn going_on(status: StatusCode, site: &Site, name: &RepositoryName, progress: &Progress) -> Response {
    let Progress { id, state, offset } = progress;
    let location = format!("{}/v2/{name}/blobs/uploads/{id}?_state={state}", site.prefix);
    // An empty upload has no last byte; 0-0 is what distribution says and clients expect.
    let range = format!("0-{}", offset.saturating_sub(1));
    let fields = [
        (header::LOCATION, headers::value(&location)),
        (header::RANGE, headers::value(&range)),
        (UPLOAD_ID, headers::value(&id.to_string())),
    ];
    (status, fields).into_response()
}

fn stored(site: &Site, name: &RepositoryName, digest: &Digest) -> Response {
    let location = format!("{}/v2/{name}/blobs/{digest}", site.prefix);
    let fields = [(header::LOCATION, headers::value(&location)), (headers::CONTENT_DIGEST, headers::digest(digest))];
    (StatusCode::CREATED, fields).into_response()
}
