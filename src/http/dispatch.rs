//! From an endpoint to its resource.

use axum::body::Body;

use super::{
    Answer, Context, Endpoint, blobs, catalog, headers, manifests, referrers, signed_url, tags, token, uploads,
    upstream_list,
};
use crate::auth::Identity;
use crate::oci::Error;

/// Calls the resource. Calls that are not part of a pull are boxed, because they would only make the future of every
/// cold request larger.
pub(super) async fn dispatch(
    cx: &Context<'_>,
    body: Body,
    identity: &Identity,
    endpoint: &Endpoint,
) -> Result<Answer, Error> {
    let app = cx.app;
    match endpoint {
        Endpoint::Support => Ok(headers::json("{}").into()),
        Endpoint::Token => token::issue(app, identity),
        Endpoint::PullBlob { name, digest } => blobs::pull(cx, name, digest).await,
        Endpoint::PullSignedBlob { name, digest, .. } => signed_url::pull(cx, name, digest).await,
        Endpoint::PullManifest { name, reference } => manifests::pull(cx, name, reference).await,
        Endpoint::BeginUpload { name, algorithm } => uploads::begin(app, name, *algorithm),
        Endpoint::PushBlob { name, digest } => Box::pin(uploads::push_blob(cx, body, identity, name, digest)).await,
        Endpoint::PushChunk(upload) => Box::pin(uploads::push_chunk(cx, body, identity, upload)).await,
        Endpoint::CloseUpload { upload, digest } => Box::pin(uploads::close(cx, body, identity, upload, digest)).await,
        Endpoint::PushManifest { name, reference, tags } => {
            let named = (name, reference, &tags[..]);
            Box::pin(manifests::push(cx, body, identity, named)).await
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
        Endpoint::Upstreams => Ok(upstream_list::list(app, identity)),
        Endpoint::Catalog { page } => Box::pin(catalog::list(app, identity, page)).await,
    }
}
