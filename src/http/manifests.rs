//! `/v2/<name>/manifests/<tag-or-digest>` (end-3, end-7, end-9)

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::{Answer, AppState, Context, headers, occurrence};
use crate::auth::Identity;
use crate::oci::{Error, ErrorCode, MAX_MANIFEST_BYTES, Reference, RepositoryName, Tag};
use crate::registry::{ManifestRequest, Served, Staleness};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
const TAG: HeaderName = HeaderName::from_static("oci-tag");

/// How long a client may take to send a manifest.
const UPLOAD_TIMEOUT: Duration = Duration::from_mins(1);

/// The answer, if it needs no I/O.
pub(super) fn from_memory(cx: &Context<'_>, name: &RepositoryName, reference: &Reference) -> Option<Answer> {
    let Context { app, request, .. } = *cx;
    let (pulled, only_images) = (request.method != Method::HEAD, accepts_only_images(request, reference));
    let served = app.registry.manifests.pull_from_memory(name, reference, pulled, only_images)?;
    Some(answer(cx, (name, reference), served, only_images))
}

pub(super) async fn pull(cx: &Context<'_>, name: &RepositoryName, reference: &Reference) -> Result<Answer, Error> {
    let Context { app, request, .. } = *cx;
    let accept = headers::accepted(&request.headers);
    let served = if request.method == Method::HEAD {
        app.registry.manifests.pull(name, reference, &accept).await?
    } else {
        app.registry.prefetch.pull(name, reference, &accept).await?
    };
    Ok(answer(cx, (name, reference), served, accepts_only_images(request, reference)))
}

fn answer(
    cx: &Context<'_>,
    (name, reference): (&RepositoryName, &Reference),
    served: Served,
    only_images: bool,
) -> Answer {
    let manifest = served.manifest;
    let digest = &manifest.digest();
    let [content_type, content_digest, etag] = [
        (header::CONTENT_TYPE, headers::value(manifest.media_type().as_str())),
        (headers::CONTENT_DIGEST, headers::digest(digest)),
        (header::ETAG, headers::etag(digest)),
    ];
    let (status, body) = if headers::if_none_match(&cx.request.headers, digest) {
        (StatusCode::NOT_MODIFIED, Body::empty())
    } else {
        (StatusCode::OK, Body::from(manifest.bytes().clone()))
    };
    let is_tag = matches!(reference, Reference::Tag(_));
    let varies = (is_tag && manifest.media_type().is_index()) || only_images;
    let mut response = if varies {
        let vary = (header::VARY, HeaderValue::from_static("Accept"));
        let fields = [content_type, content_digest, etag, vary];
        headers::response(status, fields, body)
    } else {
        let fields = [content_type, content_digest, etag];
        headers::response(status, fields, body)
    };
    if let Some(why) = served.stale {
        headers::warn(response.headers_mut(), &out_of_date(name, reference, why));
    }
    let occurrence =
        (status == StatusCode::OK).then(|| occurrence::manifest_pulled(cx.app, name, reference, &manifest));
    Answer { outcome: Some(served.outcome), occurrence: occurrence.flatten(), ..response.into() }
}

/// Whether the client gets an image where the tag is an index.
fn accepts_only_images(request: &Parts, reference: &Reference) -> bool {
    matches!(reference, Reference::Tag(_)) && headers::accepts_only_images(&request.headers)
}

/// The warning that clients show to people: which tag may be out of date, and why.
fn out_of_date(name: &RepositoryName, reference: &Reference, why: Staleness) -> String {
    let why = headers::reason(why);
    format!("{name}:{reference} may be out of date: the upstream registry {why}, so this is what was stored before")
}

pub(super) async fn push(
    cx: &Context<'_>,
    body: Body,
    identity: &Identity,
    (name, reference, tags): (&RepositoryName, &Reference, &[Tag]),
) -> Result<Answer, Error> {
    let app = cx.app;
    let media_type = cx.request.headers.get(header::CONTENT_TYPE).map(|value| {
        let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| Error::new(ErrorCode::ManifestInvalid, "the Content-Type is not a media type"))
    });
    let permit = app.registry.uploads.permit(&cx.pusher(identity)).await?;
    let manifest = ManifestRequest {
        name,
        reference,
        tags,
        media_type: media_type.transpose()?,
        bytes: permit.read_whole(read(body)).await??,
    };
    let published = app.registry.manifests.push(manifest).await?;
    // The permit bounds the memory of the bytes, which ends here.
    drop(permit);
    let digest = published.manifest.digest().to_string();
    let location = format!("{}/v2/{name}/manifests/{digest}", app.prefix);
    let fields = [(header::LOCATION, headers::value(&location)), (headers::CONTENT_DIGEST, headers::value(&digest))];
    let mut response = (StatusCode::CREATED, fields).into_response();
    let headers = response.headers_mut();
    if let Some(subject) = published.subject {
        headers.insert(SUBJECT, headers::digest(&subject));
    }
    // Several in a line, because some clients accept no more than a hundred lines.
    for some in tags.chunks(10) {
        let texts: Vec<&str> = some.iter().map(Tag::as_str).collect();
        headers.append(TAG, headers::value(&texts.join(", ")));
    }
    let occurrence = occurrence::manifest_pushed(app, (name, reference, tags), &published.manifest);
    Ok(Answer { occurrence, ..response.into() })
}

pub(super) async fn delete(app: &AppState, name: &RepositoryName, reference: &Reference) -> Result<Answer, Error> {
    let tags = app.registry.manifests.delete(name, reference).await?;
    let digest = match reference {
        Reference::Digest(digest) => Some(*digest),
        Reference::Tag(_) => None,
    };
    let occurrence = occurrence::deleted(app, name, digest, tags);
    Ok(Answer { occurrence, ..StatusCode::ACCEPTED.into_response().into() })
}

/// A manifest's bytes, up to the largest manifest.
async fn read(body: Body) -> Result<Bytes, Error> {
    let collected = Limited::new(body, MAX_MANIFEST_BYTES).collect();
    match tokio::time::timeout(UPLOAD_TIMEOUT, collected).await {
        Ok(Ok(bytes)) => Ok(bytes.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Error::new(ErrorCode::TooLarge, "a manifest has at most 4 MiB"))
        }
        Ok(Err(_)) | Err(_) => Err(Error::new(ErrorCode::ManifestInvalid, "the manifest did not come whole")),
    }
}
