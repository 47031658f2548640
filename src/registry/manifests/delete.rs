//! Deleting tags and manifests (end-9).
//!
//! A delete removes the links that make content a repository's. The bytes stay, because other repositories may have
//! them. This replica forgets the content at once, also when another one deleted it already; others forget it within
//! the life of their caches.
//!
//! The manifest's link goes first. From then on the manifest is deleted, and what is left is to take away what goes with
//! it: the links of tags that name it, and its entry among the referrers of its subject. Until that is done, a pull of
//! such a tag is a 404. Each of these objects is only deleted if the manifest is still not there
//! ([`removal`](crate::registry::removal)), and a push looks for the manifest's link after it wrote its tags. So where
//! one replica deletes a manifest while another one pushes it under a tag, whichever is last sees what the other one
//! did: then the tag and the manifest are there, or neither is. No tag names a manifest that is not there, and the next
//! delete finishes one that died half-way, although it is answered with 404 (`tests/models/deletes.rs` tries all orders).
//! A push that dies between its tag and its last check, and was not acknowledged, can leave a tag whose manifest was
//! just deleted: it is a 404 until the push is tried again, or the tag is deleted. Pushes check only where
//! `storage.delete.enabled` is on, so it has to be the same on all replicas. Two replicas that push one tag at once
//! write it one after the other, and the last write counts.
//!
//! A replica may be paused, and go on when its client has long given up, deleted the same at another replica and pushed
//! it again. The first step of a delete, which no condition protects, is therefore one that the bucket refuses after
//! [`DELETE_LIFE`](crate::store::DELETE_LIFE); the steps after it can come at any time. The deletes of a single tag and
//! of a blob are such a step alone. A delete that finds the manifest there again, because a client pushed it by its digest
//! or under another tag, leaves the tags that it did not come to.
//!
//! On a store that keeps no conditions, there are no marks: a push of the very manifest that is deleted, which begins
//! after the delete has looked for the manifest's link, is restored by what it wrote beside its tag
//! ([`push_markers`](crate::registry::tags)).
//!
//! A push looks for a delete of the manifest while it writes the entry of the tag's history, so a delete of another
//! replica may remove link and history before that entry comes. It would list a tag that cannot be pulled. So the push
//! looks for the tag's link once more when its last attempt has ended, beside its answer, and takes the entry back if
//! the link is gone. A replica that dies just then leaves the entry to the next push or delete of the tag.
//!
//! Where the bucket has other regions, all of this happens at the leader.

use std::sync::Arc;

use super::Manifests;
use crate::oci::{Digest, Error, Manifest, Reference, RepositoryName, Tag};
use crate::registry::flights::FlightKey;
use crate::registry::presence::{self, manifest_unknown};
use crate::registry::stored_manifest;
use crate::store::Key;

impl Manifests {
    /// Deletes a tag, or a manifest with all tags that name it, and returns these tags.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: the bucket does not have it in this repository.
    /// - `NAME_UNKNOWN`: nor anything else of the repository.
    /// - `UNSUPPORTED`: `storage.delete.enabled` is off, or the registry is read-only.
    /// - `UNAVAILABLE`.
    pub async fn delete(self: &Arc<Self>, name: &RepositoryName, reference: &Reference) -> Result<Vec<Tag>, Error> {
        self.changes.allow_delete()?;
        let (manifests, name, reference) = (Arc::clone(self), name.clone(), reference.clone());
        let delete = async move {
            match &reference {
                Reference::Tag(tag) => manifests.tags.delete(&name, tag).await.map(|()| vec![tag.clone()]),
                Reference::Digest(digest) => {
                    let delete = Box::pin(manifests.delete_revision(&name, digest));
                    let key = FlightKey::Manifest(name.clone(), reference.clone());
                    manifests.flights.exclusive(key, delete).await
                }
            }
        };
        self.background.complete(delete).await
    }

    async fn delete_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let (store, key) = (&self.store, Key::Revision(name, digest));
        let begins = store.bucket_time();
        let unknown = manifest_unknown(name, &Reference::Digest(*digest));
        if let Err(error) = presence::require(store, name, key, unknown).await {
            // Another delete may have come no further than to here.
            let manifest = stored_manifest::read_bytes(store, *digest).await;
            self.delete_what_goes_with(name, digest, manifest.as_ref()).await?;
            self.forget_deleted(name, digest).await;
            return Err(error);
        }
        let stored = stored_manifest::read(store, name, *digest).await?;
        // Forgotten also if the answer is lost.
        self.forget(name, digest);
        store.delete_soon(key, begins).await?;
        self.forget(name, digest);
        self.delete_what_goes_with(name, digest, stored.map(|(manifest, _)| manifest).as_ref()).await
    }

    /// The tags, which are returned, and the entry among the referrers of a manifest whose link is deleted.
    async fn delete_what_goes_with(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        manifest: Option<&Manifest>,
    ) -> Result<Vec<Tag>, Error> {
        let deleted = self.tags.delete_all_of(name, digest).await?;
        if let Some((subject, _)) = manifest.and_then(Manifest::referrer) {
            self.referrers.delete(name, &subject, digest).await?;
        }
        Ok(deleted)
    }

    pub(super) fn forget(&self, name: &RepositoryName, digest: &Digest) {
        self.cache.manifests.forget(name, digest);
        self.cache.lists.forget_catalog();
    }

    /// Forgets a manifest that another replica deleted. A tag that is remembered to name it is looked up anew when a
    /// client pulls it.
    async fn forget_deleted(&self, name: &RepositoryName, digest: &Digest) {
        let referrer = self.cache.manifests.get(name, *digest).and_then(|manifest| manifest.referrer());
        self.forget(name, digest);
        self.tags.forget_list(name).await;
        if let Some((subject, _)) = referrer {
            self.referrers.forget(name, &subject).await;
        }
    }
}
