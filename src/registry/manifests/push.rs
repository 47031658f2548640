//! Pushing manifests (end-7).
//!
//! The content that a manifest names must be in its repository. The bucket gets the bytes, the links, the referrer
//! entry and the tags, in this order, so that the last write makes the manifest visible.

use std::sync::Arc;

use bytes::Bytes;

use super::Manifests;
use crate::oci::{Digest, Error, ErrorCode, Manifest, ManifestError, MediaType, Reference, RepositoryName, Tag};
use crate::registry::flights::FlightKey;
use crate::registry::runtime::try_join_bounded;
use crate::store::Key;

/// How many keys are checked at once.
const PARALLEL: usize = 32;

/// How often a manifest is written that is deleted at the same time.
const ATTEMPTS: usize = 3;

/// A manifest that a client pushes.
#[derive(Clone, Debug)]
pub struct ManifestRequest<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The tag or digest that it is pushed to.
    pub reference: &'a Reference,
    /// More tags that it gets.
    pub tags: &'a [Tag],
    /// The `Content-Type`.
    pub media_type: Option<MediaType>,
    /// The manifest.
    pub bytes: Bytes,
}

/// A manifest that is the repository's now.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Its digest.
    pub digest: Digest,
    /// What it refers to by its `subject`.
    pub subject: Option<Digest>,
}

impl Manifests {
    /// Takes a manifest. All content that it names is in the repository afterwards, and every tag names it.
    ///
    /// # Errors
    /// - `MANIFEST_INVALID`: it is not a manifest of its media type.
    /// - `DIGEST_INVALID`: it does not have the digest that it is pushed to.
    /// - `SIZE_INVALID`: it has more than 4 MiB.
    /// - `MANIFEST_BLOB_UNKNOWN`: it names content that the repository does not have; the first 16 are listed.
    /// - `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn push(self: &Arc<Self>, request: ManifestRequest<'_>) -> Result<Published, Error> {
        self.changes.allow_push()?;
        let name = request.name;
        let (expected, tag) = match request.reference {
            Reference::Digest(digest) => (Some(*digest), None),
            Reference::Tag(tag) => (None, Some(tag)),
        };
        let manifest =
            Manifest::pushed(&request.bytes, request.media_type, expected).map_err(|error| invalid(&error))?;
        self.require_links(name, &manifest).await?;

        let subject = manifest.referrer().map(|(subject, _)| subject);
        let published = Published { digest: manifest.digest(), subject };
        let (manifests, name) = (Arc::clone(self), name.clone());
        let tags: Vec<Tag> = tag.into_iter().chain(request.tags).cloned().collect();
        let write = async move { manifests.publish(&name, &manifest, &tags).await };
        self.background.complete(write).await?;
        Ok(published)
    }

    /// Writes a manifest and its tags.
    async fn publish(&self, name: &RepositoryName, manifest: &Manifest, tags: &[Tag]) -> Result<(), Error> {
        let digest = manifest.digest();
        let reference = Reference::Digest(digest);
        let write = async {
            self.holdings.mark(name).await?;
            for _ in 0..ATTEMPTS {
                self.revisions.write_pushed(name, manifest).await?;
                for tag in tags {
                    self.tags.push(name, tag, digest).await?;
                }
                if self.is_whole(name, &digest, tags).await? {
                    return Ok(());
                }
            }
            let message = "another client deletes what is being pushed, push it again";
            Err(Error::new(ErrorCode::Unavailable, message))
        };
        // With the tags, so that no delete of the manifest comes before its tags. A delete takes the two locks in the
        // same order.
        self.flights.exclusive(FlightKey::Manifest(name.clone(), reference.clone()), Box::pin(write)).await?;
        self.cache.absent.forget(name, &reference);
        self.cache.lists.forget_catalog_without(name);
        self.revisions.remember_pushed(name, manifest);
        Ok(())
    }

    /// Whether all that was written is still there: another replica may be deleting it.
    async fn is_whole(&self, name: &RepositoryName, digest: &Digest, tags: &[Tag]) -> Result<bool, Error> {
        if tags.is_empty() || self.changes.allow_delete().is_err() {
            return Ok(true);
        }
        let keys = tags.iter().map(|tag| Key::Tag(name, tag)).chain([Key::Revision(name, digest)]);
        let check = keys.map(|key| self.store.leader().exists(key)).collect();
        let there = try_join_bounded(PARALLEL, check).await?;
        Ok(there.into_iter().all(|is_there| is_there))
    }
}

/// The error for bytes that are no manifest.
fn invalid(error: &ManifestError) -> Error {
    let code = match error {
        ManifestError::TooLarge(_) => ErrorCode::TooLarge,
        ManifestError::Digest { .. } => ErrorCode::DigestInvalid,
        _ => ErrorCode::ManifestInvalid,
    };
    Error::new(code, error.to_string())
}
