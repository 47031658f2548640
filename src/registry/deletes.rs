//! Deleting tags, manifests and blobs (end-9, end-10).
//!
//! What is deleted are the links that make content a repository's. The bytes stay: other repositories may have them.
//! This replica forgets at once, also what another one deleted already; others within the time that they remember
//! things.
//!
//! Where one replica deletes a manifest while another one pushes it under a tag, both look again when they have
//! written: whoever is last sees what the other one did. Then the tag and the manifest are there, or neither is, or the
//! manifest is there without the tag, as after a push of it alone; no tag means what is not there, and a delete that
//! dies half-way is finished by the next one (`tests/models/deletes.rs` looks at all orders). A push that dies between
//! its tag and its last look, and was not acknowledged, can leave a tag whose manifest was just deleted: it is a 404
//! until the push is tried again, or the tag is deleted. Those who push look only where `storage.delete.enabled` is on:
//! it has to be the same on all replicas. Two replicas that push one tag at once write it one after the other, and the
//! last one counts. A tag that another manifest is pushed to in the moment between a delete's last look at it and its
//! deletion stays: it is deleted on the condition that it is unchanged (`If-Match`, which Tigris, AWS and the embedded
//! bucket know; on a store that keeps no conditions, the delete restores it: `unconditional`). Where the bucket has
//! other regions, all of this is the leader's (`store/leader`).

use super::Registry;
use super::cache::Matter;
use super::failure::of_store;
use super::manifests::manifest_unknown;
use super::members::blob_unknown;
use super::parallel::a_few;
use super::tags::MAX_STORED;
use crate::oci::{Digest, Error, ErrorCode, Reference, RepositoryName, Tag};
use crate::store::{Key, StoreError};

/// How many tags are compared at once.
const PARALLEL: usize = 32;

/// How often a tag is looked at that others push between the look and its deletion.
const ATTEMPTS: usize = 5;

impl Registry {
    /// Deletes a tag, or a manifest with all tags that mean it.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: the bucket does not have it in this repository.
    /// - `NAME_UNKNOWN`: nor anything else.
    /// - `UNSUPPORTED`: `storage.delete.enabled` is off, or the registry is read-only.
    /// - `UNAVAILABLE`.
    pub async fn delete_manifest(&self, name: &RepositoryName, reference: &Reference) -> Result<(), Error> {
        self.deletable()?;
        let (registry, name, reference) = (self.clone(), name.clone(), reference.clone());
        let delete = async move {
            match &reference {
                Reference::Tag(tag) => registry.delete_tag(&name, tag).await,
                Reference::Digest(digest) => {
                    let matter = Matter::Manifest(name.clone(), reference.clone());
                    let delete = Box::pin(registry.delete_revision(&name, digest));
                    registry.inner.cache.alone(matter, delete).await
                }
            }
        };
        self.inner.background.to_its_end(delete).await
    }

    /// Takes a blob from a repository. A blob that a manifest of the repository still names can be pulled through
    /// again, where there is an upstream that has it.
    ///
    /// # Errors
    /// As [`delete_manifest`](Self::delete_manifest), with `BLOB_UNKNOWN`.
    pub async fn delete_blob(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        self.deletable()?;
        let (registry, name, digest) = (self.clone(), name.clone(), *digest);
        let delete = async move {
            let (key, inner) = (Key::Layer(&name, &digest), &registry.inner);
            let delete = async {
                registry.require(&name, key, || blob_unknown(&name, &digest)).await?;
                inner.store.delete(key).await.map_err(of_store)
            };
            let delete = async {
                let deleted = delete.await;
                // Also what another replica deleted already.
                inner.cache.forget_member(&name, &digest);
                deleted
            };
            let matter = Matter::Membership(name.clone(), digest);
            inner.cache.alone(matter, delete).await
        };
        self.inner.background.to_its_end(delete).await
    }

    async fn delete_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<(), Error> {
        let reference = Reference::Tag(tag.clone());
        let delete = async {
            let unknown = || manifest_unknown(name, &reference);
            let required = self.require(name, Key::Tag(name, tag), unknown).await;
            match &required {
                Ok(()) => self.drop_tag(name, tag).await,
                // Another delete may have come no further than to here.
                Err(_) => self.drop_history(name, tag).await,
            }
            .map_err(of_store)?;
            required
        };
        let matter = Matter::Manifest(name.clone(), reference.clone());
        self.inner.cache.alone(matter, delete).await
    }

    /// The tags first: none of them may mean a manifest that is not there.
    async fn delete_revision(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        let (store, cache) = (&self.inner.store, &self.inner.cache);
        let reference = Reference::Digest(*digest);
        let key = Key::Revision(name, digest);
        let required = self.require(name, key, || manifest_unknown(name, &reference));
        if let Err(error) = required.await {
            // Another delete may have come no further than to here.
            self.drop_tags_of(name, digest).await.map_err(of_store)?;
            self.forget_deleted(name, digest).await;
            return Err(error);
        }
        let referrer = self.stored_manifest(name, *digest).await?.and_then(|manifest| manifest.referrer());
        let delete = async {
            self.drop_tags_of(name, digest).await?;
            if let Some((subject, _)) = &referrer {
                store.delete(Key::Referrer(name, subject, digest)).await?;
                self.forget_referrers(name, subject).await;
            }
            // Last: without it, nobody could ask for this again. Forgotten also if the answer is lost.
            cache.forget_manifest(name, digest);
            store.delete(key).await?;
            cache.forget_manifest(name, digest);
            // Another replica may have written a tag after they were listed, while it still saw the manifest.
            if !store.is_there_now(key).await? {
                self.drop_tags_of(name, digest).await?;
            }
            Ok(())
        };
        delete.await.map_err(of_store)
    }

    /// Forgets a manifest that another replica deleted. A tag that is remembered to mean it is looked up when it is
    /// pulled (`manifests`).
    async fn forget_deleted(&self, name: &RepositoryName, digest: &Digest) {
        let cache = &self.inner.cache;
        let referrer = cache.manifest(name, *digest).and_then(|it| it.referrer());
        cache.forget_manifest(name, digest);
        self.forget_tag_list(name).await;
        if let Some((subject, _)) = referrer {
            self.forget_referrers(name, &subject).await;
        }
    }

    async fn drop_tags_of(&self, name: &RepositoryName, digest: &Digest) -> Result<(), StoreError> {
        let tags = self.inner.store.children(Key::Tags(name), MAX_STORED);
        let tags = tags.await?;
        let tags: Vec<Tag> = tags.iter().filter_map(|text| text.parse().ok()).collect();
        for some in tags.chunks(1000) {
            let compare = some.iter().map(|tag| self.drop_tag_of(name, tag, digest));
            a_few(PARALLEL, compare.collect()).await?;
        }
        Ok(())
    }

    /// Deletes a tag if it means this digest; in its turn, and on condition: no push comes in between, neither to this
    /// replica nor to another one.
    async fn drop_tag_of(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        let (store, cache, key) = (&self.inner.store, &self.inner.cache, Key::Tag(name, tag));
        let drop = async {
            for _ in 0..ATTEMPTS {
                let Some(link) = store.get_now(key).await? else {
                    // It was listed for its history: another delete may have come no further than to here.
                    return self.drop_history(name, tag).await;
                };
                if link.digest() != Some(*digest) {
                    cache.forget_tag_of(name, tag, digest);
                    return Ok(());
                }
                let is_kept = store.keeps_conditions().await;
                if is_kept {
                    self.unmark_pushed(name, tag).await?;
                } else if !Box::pin(self.may_delete(name, tag, digest)).await? {
                    continue;
                }
                // Also if the answer is lost.
                cache.forget_tag(name, tag);
                if store.delete_unchanged(key, &link).await? {
                    if !is_kept && Box::pin(self.restore_pushed(name, tag)).await? {
                        return Ok(());
                    }
                    return self.drop_history(name, tag).await;
                }
            }
            Err(StoreError::Unavailable {
                operation: "DeleteObject",
                cause: format!("{name}:{tag} changes all the time, or its ETag is never the same"),
            })
        };
        let matter = Matter::Manifest(name.clone(), Reference::Tag(tag.clone()));
        self.inner.cache.alone(matter, drop).await
    }

    /// What it means before what it meant: who pushes it meanwhile, writes in this order, too, and misses the link when
    /// he looks again.
    async fn drop_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        self.inner.cache.forget_tag(name, tag);
        self.unmark_pushed(name, tag).await?;
        self.inner.store.delete(Key::Tag(name, tag)).await?;
        if !self.inner.store.keeps_conditions().await && Box::pin(self.restore_pushed(name, tag)).await? {
            return Ok(());
        }
        self.drop_history(name, tag).await
    }

    /// Of a tag that is gone.
    async fn drop_history(&self, name: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        self.inner.cache.forget_tag(name, tag);
        let history = Key::TagHistories(name, tag);
        self.inner.store.delete_directory(history).await?;
        self.forget_tag_list(name).await;
        Ok(())
    }

    /// What is to be deleted must be there.
    async fn require(&self, name: &RepositoryName, key: Key<'_>, unknown: impl Fn() -> Error) -> Result<(), Error> {
        let is_there = self.inner.store.is_there_now(key);
        if is_there.await.map_err(of_store)? {
            return Ok(());
        }
        if self.exists(name).await? {
            return Err(unknown());
        }
        let message = format!("there is no repository {name}");
        Err(Error::new(ErrorCode::NameUnknown, message))
    }

    /// Whether the bucket has anything of a repository.
    pub(super) async fn exists(&self, name: &RepositoryName) -> Result<bool, Error> {
        let found = self.inner.store.objects(Key::Repository(name), None, 1);
        found.await.map(|(found, _)| !found.is_empty()).map_err(of_store)
    }
}
