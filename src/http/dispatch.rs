//! From an endpoint to its resource.

use axum::body::Body;
use axum::http::request::Parts;

use super::answer::Answer;
use super::client::Client;
use super::endpoint::Endpoint;
use super::state::AppState;
use super::{blobs, catalog, headers, manifests, referrers, tags, token, uploads};
use crate::oci::Error;

/// Calls the resource. Calls that are not part of a pull are boxed, because they would only make the future of every
/// cold request larger.
pub(super) async fn dispatch(
    app: &AppState,
    parts: &Parts,
    body: Body,
    client: &Client,
    endpoint: &Endpoint,
) -> Result<Answer, Error> {
    match endpoint {
        Endpoint::Support => Ok(headers::json("{}").into()),
        Endpoint::Token => token::issue(app, &client.identity),
        Endpoint::PullBlob { name, digest } => blobs::pull(app, parts, client, name, digest).await,
        Endpoint::PullManifest { name, reference } => manifests::pull(app, parts, name, reference).await,
        Endpoint::BeginUpload { name, algorithm } => uploads::begin(app, name, *algorithm),
        Endpoint::PushBlob { name, digest } => {
            Box::pin(uploads::push_blob(app, parts, body, client, name, digest)).await
        }
        Endpoint::PushChunk(upload) => Box::pin(uploads::push_chunk(app, parts, body, client, upload)).await,
        Endpoint::CloseUpload { upload, digest } => {
            Box::pin(uploads::close(app, parts, body, client, upload, digest)).await
        }
        Endpoint::PushManifest { name, reference, tags } => {
            let named = (name, reference, &tags[..]);
            Box::pin(manifests::push(app, parts, body, client, named)).await
        }
        Endpoint::ListTags { name, page } => Box::pin(tags::list(app, name, page)).await,
        Endpoint::DeleteManifest { name, reference } => Box::pin(manifests::delete(app, name, reference)).await,
        Endpoint::DeleteBlob { name, digest } => Box::pin(blobs::delete(app, name, digest)).await,
        Endpoint::Mount { name, digest, from } => Box::pin(uploads::mount(app, name, digest, from.as_ref())).await,
        Endpoint::ListReferrers { name, subject, artifact_type, last } => {
            let (artifact_type, last) = (artifact_type.as_deref(), last.as_ref());
            Box::pin(referrers::list(app, name, subject, artifact_type, last)).await
        }
        Endpoint::UploadStatus(upload) => Box::pin(uploads::status(app, upload)).await,
        Endpoint::CancelUpload(upload) => Box::pin(uploads::cancel(app, upload)).await,
        Endpoint::Catalog { page } => Box::pin(catalog::list(app, client, page)).await,
    }
}
