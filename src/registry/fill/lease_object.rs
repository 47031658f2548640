//! The lease of one blob and upstream in the bucket: reading it, and writing it if it is unchanged.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::lease::Lease;
use super::lease_codec::LeaseCodec;
use crate::oci::Digest;
use crate::store::{Condition, Key, Polled, Store, StoreError, Swapped, UpstreamId, Version};

/// The object of a lease.
#[derive(Clone, Debug)]
pub(super) struct LeaseObject {
    store: Store,
    codec: Arc<LeaseCodec>,
    digest: Digest,
    upstream: UpstreamId,
}

/// A lease as the bucket has it.
#[derive(Clone, Debug)]
pub(super) struct LeaseVersion {
    /// `None`: the object is no lease, or one under another secret.
    pub(super) lease: Option<Lease>,
    /// As the bucket spells it.
    pub(super) etag: String,
    /// When it was written, by the bucket's clock.
    modified: Option<SystemTime>,
}

/// The outcome of [`LeaseObject::read`].
#[derive(Clone, Debug)]
pub(super) enum LeaseRead {
    Absent,
    /// It still has the `ETag` that the caller knows. The bucket's clock, when it answered.
    Unchanged(Option<SystemTime>),
    /// Another one, and the bucket's clock.
    Changed(Box<LeaseVersion>, Option<SystemTime>),
}

impl LeaseVersion {
    /// How old it is by the bucket's clock, which says `date` now; `None` if that is not known, or it is from the
    /// future.
    pub(super) fn age(&self, date: Option<SystemTime>) -> Option<Duration> {
        date?.duration_since(self.modified?).ok()
    }
}

impl LeaseObject {
    pub(super) fn new(store: &Store, codec: &Arc<LeaseCodec>, digest: Digest, upstream: UpstreamId) -> Self {
        Self { store: store.clone(), codec: Arc::clone(codec), digest, upstream }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) const fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(super) const fn upstream(&self) -> UpstreamId {
        self.upstream
    }

    const fn key(&self) -> Key<'_> {
        Key::FillLease(&self.digest, self.upstream)
    }

    /// Reads it at the bucket's leader, unless it still has the `ETag` that is `known`.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(super) async fn read(&self, known: Option<&str>) -> Result<LeaseRead, StoreError> {
        let changed = |version: Version, lease| {
            let Version { etag, modified, date } = version;
            LeaseRead::Changed(Box::new(LeaseVersion { lease, etag, modified }), date)
        };
        Ok(match self.store.poll(self.key(), known).await? {
            Polled::Absent => LeaseRead::Absent,
            Polled::Unchanged { date } => LeaseRead::Unchanged(date),
            Polled::TooLarge(version) => changed(version, None),
            Polled::Read(version, bytes) => {
                let lease = self.codec.decode(&bytes, &self.key().to_string(), self.digest.algorithm());
                changed(version, lease)
            }
        })
    }

    /// Writes it if there is none, or if it still has this `ETag`.
    ///
    /// # Errors
    /// The bucket did not answer; the lease may be written.
    pub(super) async fn swap(&self, lease: &Lease, etag: Option<&str>) -> Result<Swapped, StoreError> {
        let bytes = self.codec.encode(lease, &self.key().to_string());
        let condition = etag.map_or(Condition::IfAbsent, Condition::IfUnchanged);
        self.store.swap(self.key(), Bytes::from(bytes), condition).await
    }

    /// Deletes it if it still has this `ETag`; returns what is there otherwise. A store that knows no conditions of deletes
    /// is asked for the `ETag` before.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub(super) async fn delete(&self, etag: &str) -> Result<LeaseRead, StoreError> {
        let is_unchanged =
            self.store.keeps_conditions().await || matches!(self.read(Some(etag)).await?, LeaseRead::Unchanged(_));
        if is_unchanged && self.store.delete_unchanged(self.key(), Some(etag)).await? {
            return Ok(LeaseRead::Absent);
        }
        self.read(None).await
    }
}
