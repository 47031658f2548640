//! Deleting tags, one or all of a manifest.

use std::time::SystemTime;

use super::Tags;
use super::list::MAX_STORED;
use crate::oci::{Digest, Error, Reference, RepositoryName, Tag};
use crate::registry::flights::FlightKey;
use crate::registry::presence::{self, manifest_unknown};
use crate::registry::removal::{Removal, Removed};
use crate::registry::runtime::try_join_bounded;
use crate::store::{Key, Object, StoreError};

/// How many tags are compared at once.
const PARALLEL: usize = 32;
/// How often a delete reads a tag anew that is pushed between its read and its delete.
const ATTEMPTS: usize = 5;

impl Tags {
    /// Deletes a tag.
    ///
    /// # Errors
    /// `MANIFEST_UNKNOWN`, `NAME_UNKNOWN`: the bucket does not have it. `UNAVAILABLE`.
    pub(in crate::registry) async fn delete(&self, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        let reference = Reference::Tag(tag.clone());
        let begins = self.store.bucket_time();
        let delete = async {
            let unknown = manifest_unknown(name, &reference);
            let required = presence::require(&self.store, name, Key::Tag(name, tag), unknown).await;
            match &required {
                Ok(()) => self.remove(name, tag, begins).await?,
                // Another delete may have come no further than to here.
                Err(_) => self.remove_history(name, tag).await?,
            }
            required
        };
        self.flights.exclusive(FlightKey::Manifest(name.clone(), reference.clone()), delete).await
    }

    /// Deletes all tags that name a manifest whose link is deleted, and returns them. Those whose manifest is pushed again
    /// meanwhile stay.
    pub(in crate::registry) async fn delete_all_of(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Vec<Tag>, StoreError> {
        let tags = self.store.children(Key::Tags(name), MAX_STORED).await?;
        let tags: Vec<Tag> = tags.iter().filter_map(|text| text.parse().ok()).collect();
        let mut deleted = Vec::new();
        for some in tags.chunks(1000) {
            let compare = some.iter().map(|tag| self.delete_if_of(name, tag, digest));
            let were_of = try_join_bounded(PARALLEL, compare.collect()).await?;
            deleted.extend(some.iter().zip(were_of).filter(|(_, was_of)| *was_of).map(|(tag, _)| tag.clone()));
        }
        Ok(deleted)
    }

    /// Deletes a tag if it names this digest, and tells whether it did: under its lock, and on condition, so that it takes
    /// no push to this replica, nor to another one ([`removal`](crate::registry::removal)).
    async fn delete_if_of(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<bool, StoreError> {
        let (store, cache, key) = (&self.store, &self.cache, Key::Tag(name, tag));
        let delete = async {
            for _ in 0..ATTEMPTS {
                let Some(link) = store.leader().get(key).await? else {
                    // It was listed for its history: another delete may have come no further than to here.
                    return self.remove_history(name, tag).await.map(|()| false);
                };
                if link.digest() != Some(*digest) {
                    cache.tags.forget_digest(name, tag, digest);
                    return Ok(false);
                }
                // Also if the answer is lost.
                cache.tags.forget(name, tag);
                let removed = if store.keeps_conditions().await {
                    self.markers.unmark(name, tag).await?;
                    Box::pin(Removal::of_tag(name, tag, digest, &link).run(store)).await?
                } else {
                    Box::pin(self.remove_unconditionally(name, tag, digest, &link)).await?
                };
                match removed {
                    Removed::Gone => return self.remove_history(name, tag).await.map(|()| true),
                    Removed::Kept => return Ok(false),
                    Removed::Changed => {}
                }
            }
            Err(StoreError::Unavailable {
                operation: "DeleteObject",
                cause: format!("{name}:{tag} changes all the time, or its ETag is never the same"),
            })
        };
        let key = FlightKey::Manifest(name.clone(), Reference::Tag(tag.clone()));
        self.flights.exclusive(key, delete).await
    }

    /// Where the bucket keeps no conditions.
    async fn remove_unconditionally(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
        link: &Object,
    ) -> Result<Removed, StoreError> {
        let store = &self.store;
        if store.leader().exists(Key::Revision(name, digest)).await? {
            return Ok(Removed::Kept);
        }
        let may_delete = self.markers.allow_delete(name, tag, digest).await?;
        if !may_delete || !store.delete_unchanged(Key::Tag(name, tag), link.etag.as_deref()).await? {
            return Ok(Removed::Changed);
        }
        Ok(if self.markers.restore(name, tag).await? { Removed::Kept } else { Removed::Gone })
    }

    /// The link before the history: a push at the same time writes in this order, too, and looks for the link once it
    /// has written both ([`tidy_histories`](Self::tidy_histories)).
    async fn remove(&self, name: &RepositoryName, tag: &Tag, begins: SystemTime) -> Result<(), StoreError> {
        self.cache.tags.forget(name, tag);
        self.markers.unmark(name, tag).await?;
        self.store.delete_soon(Key::Tag(name, tag), begins).await?;
        if !self.store.keeps_conditions().await && Box::pin(self.markers.restore(name, tag)).await? {
            return Ok(());
        }
        self.remove_history(name, tag).await
    }

    /// Of a tag that is gone.
    pub(super) async fn remove_history(&self, name: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        self.cache.tags.forget(name, tag);
        self.store.delete_directory(Key::TagHistories(name, tag)).await?;
        self.forget_list(name).await;
        Ok(())
    }
}
