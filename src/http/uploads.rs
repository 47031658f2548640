//! `/v2/<name>/blobs/uploads/` (end-4 to end-6, end-11, end-13, end-14)

use std::io;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt};

use super::endpoint::Upload;
use super::{Answer, AppState, Context, error, headers, occurrence};
use crate::auth::Identity;
use crate::oci::{Algorithm, ChunkRange, Digest, Error, ErrorCode, RepositoryName};
use crate::registry::{ChunkRequest, Mounted, Progress, Pushed, UploadRequest};

/// distribution's header, which old clients read.
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

pub(super) fn begin(app: &AppState, name: &RepositoryName, algorithm: Algorithm) -> Result<Answer, Error> {
    let progress = app.registry.uploads.begin(name, algorithm)?;
    Ok(progress_response(StatusCode::ACCEPTED, app, name, &progress).into())
}

pub(super) async fn mount(
    app: &AppState,
    name: &RepositoryName,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Result<Answer, Error> {
    Ok(match app.registry.uploads.mount(name, digest, from).await? {
        Mounted::Stored => {
            let occurrence = occurrence::blob_mounted(app, name, digest, from);
            Answer { occurrence, ..created(app, name, digest).into() }
        }
        Mounted::Begun(progress) => progress_response(StatusCode::ACCEPTED, app, name, &progress).into(),
    })
}

pub(super) async fn push_blob(
    cx: &Context<'_>,
    body: Body,
    identity: &Identity,
    name: &RepositoryName,
    digest: &Digest,
) -> Result<Answer, Error> {
    let chunk = chunk(cx, body, identity)?;
    cx.app.registry.uploads.push(name, digest, chunk).await?;
    Ok(pushed_blob(cx.app, name, digest))
}

pub(super) async fn push_chunk(
    cx: &Context<'_>,
    body: Body,
    identity: &Identity,
    upload: &Upload,
) -> Result<Answer, Error> {
    let chunk = chunk(cx, body, identity)?;
    let pushed = cx.app.registry.uploads.append(upload.into(), chunk).await?;
    Ok(answer(pushed, cx.app, &upload.name, None))
}

pub(super) async fn close(
    cx: &Context<'_>,
    body: Body,
    identity: &Identity,
    upload: &Upload,
    digest: &Digest,
) -> Result<Answer, Error> {
    let chunk = chunk(cx, body, identity)?;
    let pushed = cx.app.registry.uploads.finish(upload.into(), digest, chunk).await?;
    Ok(answer(pushed, cx.app, &upload.name, Some(digest)))
}

pub(super) async fn status(app: &AppState, upload: &Upload) -> Result<Answer, Error> {
    let progress = app.registry.uploads.status(upload.into()).await?;
    Ok(progress_response(StatusCode::NO_CONTENT, app, &upload.name, &progress).into())
}

pub(super) async fn cancel(app: &AppState, upload: &Upload) -> Result<Answer, Error> {
    app.registry.uploads.abort(upload.into()).await?;
    Ok(StatusCode::NO_CONTENT.into_response().into())
}

impl<'a> From<&'a Upload> for UploadRequest<'a> {
    fn from(upload: &'a Upload) -> Self {
        Self { name: &upload.name, id: upload.id, state: &upload.state }
    }
}

/// The body, with its range and length according to the headers.
fn chunk(cx: &Context<'_>, body: Body, identity: &Identity) -> Result<ChunkRequest, Error> {
    let text = |name| {
        let value: Option<&HeaderValue> = cx.request.headers.get(name);
        value.map(|value| value.to_str().unwrap_or_default())
    };
    let range = text(header::CONTENT_RANGE).map(|text| {
        let message = "a Content-Range is written start-end, in bytes, both inclusive";
        ChunkRange::parse(text).ok_or(Error::new(ErrorCode::BlobUploadInvalid, message))
    });
    let range = range.transpose()?;
    let len = text(header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    // Without the header there may be no body, whose length is 0.
    let len = len.or_else(|| body.size_hint().exact());
    if let (Some(range), Some(len)) = (range, len)
        && range.len != len
    {
        let message = "Content-Range and Content-Length differ";
        return Err(Error::new(ErrorCode::SizeInvalid, message));
    }
    let metrics = Arc::clone(&cx.app.metrics);
    let body = body.into_data_stream().inspect_ok(move |piece| metrics.pushed_bytes(piece.len() as u64));
    let body = body.map_err(io::Error::other).boxed();
    Ok(ChunkRequest { range, len, body, pusher: cx.pusher(identity) })
}

fn answer(pushed: Pushed, app: &AppState, name: &RepositoryName, digest: Option<&Digest>) -> Answer {
    match (pushed, digest) {
        (Pushed::OutOfOrder(progress), _) => {
            let message = "the chunk does not begin where the upload ends, which the Range tells";
            let error = Error::new(ErrorCode::RangeInvalid, message);
            let mut response = error::respond(&error);
            let fields = progress_response(StatusCode::ACCEPTED, app, name, &progress);
            let (mut fields, _) = fields.into_parts();
            fields.headers.remove(header::CONTENT_LENGTH);
            response.headers_mut().extend(fields.headers);
            response.into()
        }
        (Pushed::Stored, Some(digest)) => pushed_blob(app, name, digest),
        (Pushed::Accepted(progress), _) => progress_response(StatusCode::ACCEPTED, app, name, &progress).into(),
        (Pushed::Stored, None) => StatusCode::CREATED.into_response().into(),
    }
}

/// The response of an upload that goes on.
fn progress_response(status: StatusCode, app: &AppState, name: &RepositoryName, progress: &Progress) -> Response {
    let Progress { id, state, offset } = progress;
    let location = format!("{}/v2/{name}/blobs/uploads/{id}?_state={state}", app.prefix);
    // An empty upload has no last byte; 0-0 is distribution's value, which clients expect.
    let range = format!("0-{}", offset.saturating_sub(1));
    let fields = [
        (header::LOCATION, headers::value(&location)),
        (header::RANGE, headers::value(&range)),
        (UPLOAD_ID, headers::value(&id.to_string())),
    ];
    (status, fields).into_response()
}

fn pushed_blob(app: &AppState, name: &RepositoryName, digest: &Digest) -> Answer {
    let occurrence = occurrence::blob_pushed(app, name, digest);
    Answer { occurrence, ..created(app, name, digest).into() }
}

fn created(app: &AppState, name: &RepositoryName, digest: &Digest) -> Response {
    let location = format!("{}/v2/{name}/blobs/{digest}", app.prefix);
    let fields = [(header::LOCATION, headers::value(&location)), (headers::CONTENT_DIGEST, headers::digest(digest))];
    (StatusCode::CREATED, fields).into_response()
}
