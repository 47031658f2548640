//! Writing what the upstream says of a tag into the bucket, in the background.
//!
//! The manifest is written before the tag, and the tag only if its link is still the one that was compared with the
//! upstream. The bucket checks that by a condition; where it keeps none, [`push_markers`](super::push_markers) do.

use std::sync::Arc;

use super::lookup::{LinkVersion, TagUpdate};
use super::push_markers::PushMarkers;
use crate::oci::{Reference, RepositoryName, Tag};
use crate::registry::cache::Cache;
use crate::registry::condemned::{Condemned, NotKept};
use crate::registry::flights::{FlightKey, Flights};
use crate::registry::provenance::{Provenance, write_link};
use crate::registry::revisions::Revisions;
use crate::registry::runtime::Background;
use crate::store::{Condition, Key, Store, StoreError};

/// Writes the tags of upstreams.
#[derive(Debug)]
pub(super) struct Writeback {
    pub(super) store: Store,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) provenance: Arc<Provenance>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) markers: Arc<PushMarkers>,
    pub(super) condemned: Arc<Condemned>,
    pub(super) background: Arc<Background>,
}

impl Writeback {
    /// Writes an update when the background has a permit for it.
    pub(super) async fn write(self: &Arc<Self>, name: &RepositoryName, tag: &Tag, update: TagUpdate) {
        let (writeback, name, tag) = (Arc::clone(self), name.clone(), tag.clone());
        let bytes = update.manifest.as_ref().map_or(0, |manifest| manifest.bytes().len());
        let write = async move {
            let key = FlightKey::Manifest(name.clone(), Reference::Tag(tag.clone()));
            let digest = update.digest;
            let write = Box::pin(writeback.write_now(&name, &tag, update));
            if let Err(error) = writeback.flights.exclusive(key, write).await {
                tracing::warn!(repository = %name, %tag, %digest, %error, "a tag was served but not stored");
            }
        };
        self.background.run_holding(bytes, write).await;
    }

    async fn write_now(&self, name: &RepositoryName, tag: &Tag, update: TagUpdate) -> Result<(), StoreError> {
        let TagUpdate { digest, manifest, link } = update;
        let (store, cache, began) = (&self.store, &self.cache, self.condemned.begin());
        // An ETag does not tell: a push of the same digest leaves the same content.
        if cache.tags.get(name, tag).is_some_and(|state| state.is_pushed()) {
            return Ok(());
        }
        let condition = match &link {
            LinkVersion::Absent => Condition::IfAbsent,
            LinkVersion::Is(etag) => Condition::IfUnchanged(etag),
            LinkVersion::Unknown => return Ok(()),
        };
        let moved = manifest.is_some();
        // A tag that is gone was perhaps deleted at another replica, and its manifest with it.
        let is_stored = link != LinkVersion::Absent && cache.manifests.is_stored(name, digest);
        if !is_stored {
            // An earlier attempt to store the manifest may have failed.
            match manifest.or_else(|| cache.manifests.get(name, digest)) {
                Some(manifest) => self.revisions.write(name, &manifest).await?,
                None if store.head(Key::Revision(name, &digest)).await?.is_some() => {
                    cache.manifests.keep_stored(name, digest);
                }
                None => return Ok(()),
            }
        }
        if moved {
            write_link(store, Key::TagHistory(name, tag, &digest), &digest).await?;
        }
        let keeps_conditions = store.keeps_conditions().await;
        let may_write = if keeps_conditions {
            link == LinkVersion::Absent || !self.was_pushed(name, tag).await?
        } else {
            Box::pin(self.markers.allow_writeback(name, tag, &link)).await?
        };
        if !may_write {
            // A push came in between, or another replica wrote the tag.
            cache.tags.forget(name, tag);
            return Ok(());
        }
        let written = self.provenance.write_tag(store, (name, tag), &digest, condition).await?;
        let is_pushed = !keeps_conditions && Box::pin(self.markers.restore(name, tag)).await?;
        if !written || is_pushed {
            tracing::debug!(repository = %name, %tag, "another writer changed the tag meanwhile");
            cache.tags.forget(name, tag);
        }
        // The manifest may have been there before.
        let keys = [
            Key::TagHistory(name, tag, &digest),
            Key::Tag(name, tag),
            Key::Revision(name, &digest),
            Key::Blob(&digest),
        ];
        let kept = self.condemned.keep(began, &keys[usize::from(!moved)..]).await;
        if kept.is_err() {
            cache.tags.forget(name, tag);
            cache.manifests.forget(name, &digest);
        }
        kept.map_err(NotKept::in_background)
    }

    /// Whether a tag that was the upstream's was pushed meanwhile, perhaps with the same digest at another replica,
    /// which no `ETag` tells. A push of the same digest that comes between this check and the write is taken for the
    /// upstream's from then on, with the same content, because S3 has no condition on metadata.
    async fn was_pushed(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let link = self.store.leader().get(Key::Tag(name, tag)).await?;
        Ok(link.is_some_and(|link| self.provenance.is_pushed(name, tag, &link)))
    }
}
