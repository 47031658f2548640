//! Deleting tags and manifests (end-9).
//!
//! A delete removes the links that make content a repository's. The bytes stay, because other repositories may have
//! them. This replica forgets the content at once, also when another one deleted it already; others forget it within
//! the life of their caches.
//!
//! Where one replica deletes a manifest while another one pushes it under a tag, both read again after their writes:
//! whichever is last sees what the other one did. Then the tag and the manifest are there, or neither is, or the
//! manifest is there without the tag, as after a push of it alone; no tag names a manifest that is not there, and the
//! next delete finishes one that died half-way (`tests/models/deletes.rs` tries all orders). A push that dies between
//! its tag and its last check, and was not acknowledged, can leave a tag whose manifest was just deleted: it is a 404
//! until the push is tried again, or the tag is deleted. Pushes check only where `storage.delete.enabled` is on, so it
//! has to be the same on all replicas. Two replicas that push one tag at once write it one after the other, and the
//! last write counts.
//!
//! Tags are deleted with `If-Match`, which Tigris, AWS and the embedded bucket know, so a tag that is pushed anew
//! between a delete's last read and its delete survives, if it names another manifest: the same one has the same `ETag`.
//! So a push of the very manifest that is deleted can lose its tag, where it begins after the manifest's link is gone and
//! before the delete has looked at the tags once more; the manifest is there then. On a store that keeps no conditions, the delete restores it
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
use crate::oci::{Digest, Error, Reference, RepositoryName, Tag};
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

    /// The tags first: none of them may name a manifest that is not there.
    async fn delete_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<Vec<Tag>, Error> {
        let (store, tags, referrers) = (&self.store, &self.tags, &self.referrers);
        let key = Key::Revision(name, digest);
        let unknown = manifest_unknown(name, &Reference::Digest(*digest));
        if let Err(error) = presence::require(store, name, key, unknown).await {
            // Another delete may have come no further than to here.
            tags.delete_all_of(name, digest).await?;
            self.forget_deleted(name, digest).await;
            return Err(error);
        }
        let stored = stored_manifest::read(store, name, *digest).await?;
        let mut deleted = tags.delete_all_of(name, digest).await?;
        if let Some((subject, _)) = stored.and_then(|(manifest, _)| manifest.referrer()) {
            referrers.delete(name, &subject, digest).await?;
        }
        // Last: without the link, no client could ask for this again. Forgotten also if the answer is lost.
        self.forget(name, digest);
        store.delete(key).await?;
        self.forget(name, digest);
        // Another replica may have written a tag after the tags were listed, while it still saw the manifest.
        if !store.leader().exists(key).await? {
            deleted.extend(tags.delete_all_of(name, digest).await?);
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
