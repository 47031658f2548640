//! Reading a manifest from the bucket.

use super::cache::Origin;
use super::provenance::revision_origin;
use crate::oci::{Digest, Manifest, RepositoryName};
use crate::store::{Key, Store, StoreError};

/// The bytes of a manifest, whether or not a repository has it.
pub(super) async fn read_bytes(store: &Store, digest: Digest) -> Option<Manifest> {
    let object = store.get(Key::Blob(&digest)).await.ok()??;
    Manifest::new(object.bytes, object.media_type, Some(digest)).ok()
}

/// A manifest in the bucket, if the repository has it there, and where it came from. The link and the content are asked
/// for at once. Without a link the content does not count, because it may be a layer.
pub(super) async fn read(
    store: &Store,
    name: &RepositoryName,
    digest: Digest,
) -> Result<Option<(Manifest, Origin)>, StoreError> {
    let (link, blob) = tokio::join!(store.get(Key::Revision(name, &digest)), store.get(Key::Blob(&digest)));
    let Some(link) = link? else {
        return Ok(None);
    };
    let Some(object) = blob? else {
        return Ok(None);
    };
    match Manifest::new(object.bytes, object.media_type, Some(digest)) {
        Ok(manifest) => Ok(Some((manifest, revision_origin(&link)))),
        Err(error) => {
            tracing::error!(repository = %name, %digest, %error, "the bucket holds other bytes under this digest");
            Ok(None)
        }
    }
}
