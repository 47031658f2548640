//! What an endpoint asks of the registry.

use axum::body::Body;
use axum::http::request::Parts;

use super::endpoint::Endpoint;
use super::{Answer, Client, Site, blobs, catalog, headers, manifests, referrers, tags, token, uploads};
use crate::oci::Error;

/// One call a variant. What is not part of a pull is boxed: it would only make the future of every cold request larger.
pub(super) async fn serve(
    site: &Site,
    parts: &Parts,
    body: Body,
    client: &Client,
    endpoint: &Endpoint,
) -> Result<Answer, Error> {
    match endpoint {
        Endpoint::Support => Ok(headers::json("{}").into()),
        Endpoint::Token => token::issue(site, &client.who),
        Endpoint::PullBlob { name, digest } => blobs::pull(site, parts, client, name, digest).await,
        Endpoint::PullManifest { name, reference } => manifests::pull(site, parts, name, reference).await,
        Endpoint::BeginUpload { name, algorithm } => uploads::begin(site, name, *algorithm),
        Endpoint::PushBlob { name, digest } => {
            Box::pin(uploads::push_blob(site, parts, body, client, name, digest)).await
        }
        Endpoint::PushChunk(upload) => Box::pin(uploads::push_chunk(site, parts, body, client, upload)).await,
        Endpoint::CloseUpload { upload, digest } => {
            Box::pin(uploads::close(site, parts, body, client, upload, digest)).await
        }
        Endpoint::PushManifest { name, reference, tags } => {
            let named = (name, reference, &tags[..]);
            Box::pin(manifests::push(site, parts, body, client, named)).await
        }
        Endpoint::ListTags { name, page } => Box::pin(tags::list(site, name, page)).await,
        Endpoint::DeleteManifest { name, reference } => Box::pin(manifests::delete(site, name, reference)).await,
        Endpoint::DeleteBlob { name, digest } => Box::pin(blobs::delete(site, name, digest)).await,
        Endpoint::Mount { name, digest, from } => Box::pin(uploads::mount(site, name, digest, from.as_ref())).await,
        Endpoint::ListReferrers { name, subject, artifact_type, last } => {
            let (artifact_type, last) = (artifact_type.as_deref(), last.as_ref());
            Box::pin(referrers::list(site, name, subject, artifact_type, last)).await
        }
        Endpoint::UploadStatus(upload) => Box::pin(uploads::status(site, upload)).await,
        Endpoint::CancelUpload(upload) => Box::pin(uploads::cancel(site, upload)).await,
        Endpoint::Catalog { page } => Box::pin(catalog::list(site, client, page)).await,
    }
}
