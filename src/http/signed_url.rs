//! Blobs at signed URLs: `GET /v2/<name>/blobs/<digest>?_expires=<seconds>&_signature=<MAC>`, without a login.

use super::url_signer::UrlSignature;
use super::{Answer, Context, blobs, ollama};
use crate::oci::{Digest, Error, ErrorCode, RepositoryName};

/// # Errors
/// `DENIED`, whatever is wrong with the URL, so that the error tells nothing.
pub(super) fn verify(
    cx: &Context<'_>,
    name: &RepositoryName,
    digest: &Digest,
    signature: &UrlSignature,
) -> Result<(), Error> {
    if cx.app.url_signer.verify(name, digest, signature) {
        return Ok(());
    }
    let message = "this URL has expired, or is not one that this registry made: request the blob again without a query";
    Err(Error::new(ErrorCode::Denied, message))
}

/// The blob or a range of it, as at its own URL. A client that follows no redirect here gets the bytes from pounce, and
/// so does every client of the embedded S3 server, which is pounce too.
pub(super) async fn pull(cx: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Result<Answer, Error> {
    let may_redirect = blobs::may_redirect(cx) && cx.app.registry.embedded().is_none() && !ollama::is_transfer(cx);
    blobs::serve(cx, name, digest, may_redirect).await
}
