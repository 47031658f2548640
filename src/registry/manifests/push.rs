//! Pushing manifests (end-7).
//!
//! The content that a manifest names must be in its repository. The bucket gets the bytes, the manifest's link, the
//! tags' links and the tags' histories, in this order: no tag names a manifest that is not there, and no tag is listed
//! that cannot be pulled. These are four round trips one after the other. Three things come before the manifest's link
//! and can each take one or two more: the mark of a repository that memory does not know as pushed to, the links of
//! blobs that memory does not know as linked, and the bytes of a large manifest. All else goes beside the four:
//!
//! - the bytes beside the checks of what the manifest names, up to [`BESIDE`]. Bytes without a link are no
//!   repository's. If a check fails, they stay, like a pushed blob that no manifest names, until distribution's garbage
//!   collector takes them. To delete them would not be safe: another push of the same manifest, perhaps to another
//!   replica, may have found them there, and be about to link them;
//! - the entry among the referrers beside the tags' links, after the manifest's: what is listed can be pulled;
//! - the look for a delete of the manifest beside the tags' histories, after their links ([`delete`](super::delete)).
//!
//! A tag or an entry that cannot be written does not stop the others in the middle. The push fails once all have ended.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;

use super::Manifests;
use super::kept::Needed;
use crate::oci::{Digest, Error, ErrorCode, Manifest, ManifestError, MediaType, Reference, RepositoryName, Tag};
use crate::registry::flights::FlightKey;
use crate::registry::runtime::buffered;
use crate::store::Key;

/// How many tags are written at once.
const PARALLEL: usize = 32;

/// Manifests of more bytes are written after the checks, so that pushes that fail leave little in the bucket. Those of
/// images are smaller.
const BESIDE: usize = 64 << 10;

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
#[derive(Clone, Debug)]
pub struct Published {
    /// The manifest.
    pub manifest: Manifest,
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
    /// - `DENIED`: a tag is immutable, and names another manifest.
    /// - `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn push(self: &Arc<Self>, request: ManifestRequest<'_>) -> Result<Published, Error> {
        self.changes.allow_push()?;
        let name = request.name;
        let (expected, tag) = match request.reference {
            Reference::Digest(digest) => (Some(*digest), None),
            Reference::Tag(tag) => (None, Some(tag)),
        };
        let began = self.condemned.begin();
        let manifest =
            Manifest::pushed(&request.bytes, request.media_type, expected).map_err(|error| invalid(&error))?;
        for tag in tag.into_iter().chain(request.tags) {
            self.tags.allow_push(name, tag, &manifest.digest()).await?;
        }
        let bytes = Box::pin(async { Ok(self.revisions.write_bytes(&manifest).await?) });
        let checks = Box::pin(self.require_links(name, &manifest));
        let found = if request.bytes.len() <= BESIDE {
            tokio::try_join!(checks, bytes)?.0
        } else {
            let found = checks.await?;
            bytes.await?;
            found
        };

        let subject = manifest.referrer().map(|(subject, _)| subject);
        let published = Published { manifest: manifest.clone(), subject };
        let (manifests, name) = (Arc::clone(self), name.clone());
        let tags: Vec<Tag> = tag.into_iter().chain(request.tags).cloned().collect();
        let write = async move { manifests.publish(&name, &manifest, tags, Needed { found, began }).await };
        self.background.complete(write).await?;
        Ok(published)
    }

    /// Links a manifest whose bytes are written, and its tags.
    async fn publish(
        self: &Arc<Self>,
        name: &RepositoryName,
        manifest: &Manifest,
        tags: Vec<Tag>,
        needed: Needed,
    ) -> Result<(), Error> {
        let digest = manifest.digest();
        let reference = Reference::Digest(digest);
        let mut writes_tags = false;
        let write = async {
            self.holdings.mark(name).await?;
            for _ in 0..ATTEMPTS {
                self.revisions.link_pushed(name, manifest).await?;
                writes_tags = !tags.is_empty();
                let enter = self.revisions.enter(name, manifest);
                let push = buffered(PARALLEL, &tags, |tag| self.push_tag(name, tag, &digest));
                let (pushed, entered) = tokio::join!(push.collect::<Vec<_>>(), enter);
                let are_there: Vec<bool> = pushed.into_iter().collect::<Result<_, Error>>()?;
                entered?;
                if are_there.into_iter().all(|is_there| is_there)
                    && Box::pin(self.keep_pushed(name, manifest, &tags, &needed)).await?
                {
                    return Ok(());
                }
            }
            let message = "another client deletes what is being pushed, push it again";
            Err(Error::new(ErrorCode::Unavailable, message))
        };
        // With the tags, so that no delete of the manifest comes before its tags. A delete takes the two locks in the
        // same order.
        let key = FlightKey::Manifest(name.clone(), reference.clone());
        let written = self.flights.exclusive(key, Box::pin(write)).await;
        // Also if a tag could not be written: the manifest may be there.
        self.cache.absent.forget(name, &reference);
        self.cache.lists.forget_catalog_without(name);
        if written.is_ok() {
            self.revisions.remember_pushed(name, manifest);
        }
        // Once the last attempt has ended, because its entries must stay.
        if writes_tags && self.changes.allow_delete().is_ok() {
            self.tags.tidy_histories(name, tags).await;
        }
        written
    }

    /// Makes a tag name a manifest; `false` if that was deleted meanwhile, perhaps by another replica.
    async fn push_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<bool, Error> {
        let may_delete = self.changes.allow_delete().is_ok();
        let look = async { Ok(!may_delete || self.store.leader().exists(Key::Revision(name, digest)).await?) };
        Box::pin(self.tags.push(name, tag, *digest, look)).await
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
