//! Pushing manifests (end-7).
//!
//! The content that a manifest names must be in its repository. The bucket gets the bytes, the manifest's link, the
//! tags' links and the tags' histories, in this order: no tag names a manifest that is not there, and no tag is listed
//! that cannot be pulled. These are four round trips one after the other; all else goes beside them:
//!
//! - the bytes beside the checks of what the manifest names. Bytes without a link are no repository's. If a check
//!   fails, they stay, like a pushed blob that no manifest names, until distribution's garbage collector takes them;
//! - the entry among the referrers beside the tags' links, after the manifest's: what is listed can be pulled;
//! - the look for a delete of the manifest beside the tags' histories, after their links ([`delete`](super::delete)).

use std::sync::Arc;

use bytes::Bytes;

use super::Manifests;
use crate::oci::{Digest, Error, ErrorCode, Manifest, ManifestError, MediaType, Reference, RepositoryName, Tag};
use crate::registry::flights::FlightKey;
use crate::registry::runtime::try_join_bounded;
use crate::store::Key;

/// How many tags are written at once.
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
        let bytes = async { Ok(self.revisions.write_bytes(&manifest).await?) };
        let (checks, bytes) = (Box::pin(self.require_links(name, &manifest)), Box::pin(bytes));
        tokio::try_join!(checks, bytes)?;

        let subject = manifest.referrer().map(|(subject, _)| subject);
        let published = Published { digest: manifest.digest(), subject };
        let (manifests, name) = (Arc::clone(self), name.clone());
        let tags: Vec<Tag> = tag.into_iter().chain(request.tags).cloned().collect();
        let write = async move { manifests.publish(&name, &manifest, &tags).await };
        self.background.complete(write).await?;
        Ok(published)
    }

    /// Links a manifest whose bytes are written, and its tags.
    async fn publish(&self, name: &RepositoryName, manifest: &Manifest, tags: &[Tag]) -> Result<(), Error> {
        let digest = manifest.digest();
        let reference = Reference::Digest(digest);
        let write = async {
            self.holdings.mark(name).await?;
            for _ in 0..ATTEMPTS {
                self.revisions.link_pushed(name, manifest).await?;
                let enter = async { Ok(self.revisions.enter(name, manifest).await?) };
                let push = tags.iter().map(|tag| self.push_tag(name, tag, &digest)).collect();
                let (are_there, ()) = tokio::try_join!(try_join_bounded(PARALLEL, push), enter)?;
                if are_there.into_iter().all(|is_there| is_there) {
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

    /// Makes a tag name a manifest; `false` if that was deleted meanwhile, perhaps by another replica.
    async fn push_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<bool, Error> {
        let may_delete = self.changes.allow_delete().is_ok();
        let look = async { Ok(!may_delete || self.store.leader().exists(Key::Revision(name, digest)).await?) };
        let is_there = Box::pin(self.tags.push(name, tag, *digest, look)).await?;
        if may_delete {
            self.tags.tidy_history(name, tag).await;
        }
        Ok(is_there)
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
