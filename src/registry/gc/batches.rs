//! Batches of condemned keys: which are due, new ones, and retired ones.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use super::facts::Candidate;
use super::lease::{Collector, CollectorError};
use super::requests::RequestKind;
use crate::oci::MediaType;
use crate::registry::condemned::{Batch, BatchKeys, GcState, KeyHash, MAX_BATCH_KEYS, MAX_BATCHES, read};
use crate::store::{Condition, Key, Metadata, StoreError};

/// The most keys of all active batches: each replica that takes writes keeps 8 bytes of each.
const MAX_ACTIVE_KEYS: usize = 2_000_000;

/// The most names of old batches that one round looks at.
const MAX_STRAYS: usize = 1000;

/// A batch about which a survey may decide that began after [`Collector::due`].
#[derive(Debug)]
pub(in crate::registry) struct DueBatch(pub(super) Uuid);

/// What was condemned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct Published {
    pub(in crate::registry) batches: usize,
    pub(in crate::registry) keys: u64,
    pub(in crate::registry) bytes: u64,
    /// Candidates that are in an active batch.
    pub(in crate::registry) already: u64,
    /// Candidates for which there is no room before other batches are retired.
    pub(in crate::registry) waiting: u64,
}

impl Collector {
    /// Which batches are due. Called before the survey begins, because that must see everything that was written by a
    /// process that did not know the batch.
    ///
    /// # Errors
    /// The lease is lost, or the bucket fails.
    pub(in crate::registry) async fn due(&self) -> Result<Vec<DueBatch>, CollectorError> {
        let now = whole_seconds(self.lease.renew().await?);
        let delay = self.lease.options.delay.as_secs();
        let is_due = |batch: &&Batch| {
            batch.spent.is_none() && batch.published.is_some_and(|published| published.saturating_add(delay) <= now)
        };
        let state = self.lease.state().await;
        Ok(state.batches.iter().filter(is_due).map(|batch| DueBatch(batch.id)).collect())
    }

    /// Condemns the candidates that no active batch has.
    ///
    /// # Errors
    /// The lease is lost, the bucket fails, or the candidates cannot be read: none is condemned.
    pub(in crate::registry) async fn publish<I>(&self, candidates: I) -> Result<Published, CollectorError>
    where
        I: Iterator<Item = io::Result<Candidate>>,
    {
        let state = self.lease.state().await;
        let mut active = Vec::with_capacity(state.batches.len());
        for batch in &state.batches {
            active.push(self.keys_of(&batch.id).await?);
        }
        let mut room = MAX_ACTIVE_KEYS.saturating_sub(active.iter().map(BatchKeys::len).sum());
        let mut batches_left = MAX_BATCHES.saturating_sub(state.batches.len());
        let (mut published, mut hashes, mut new) = (Published::default(), Vec::new(), Vec::new());
        for candidate in candidates {
            let candidate = candidate?;
            let hash = KeyHash::of(&candidate.path);
            if active.iter().any(|keys| keys.contains(hash)) {
                published.already += 1;
            } else if room == 0 || batches_left == 0 {
                published.waiting += 1;
            } else {
                hashes.push(hash);
                room -= 1;
                published.keys += 1;
                published.bytes += candidate.size;
                if hashes.len() == MAX_BATCH_KEYS {
                    new.push(self.write_batch(std::mem::take(&mut hashes)).await?);
                    batches_left -= 1;
                }
            }
        }
        if !hashes.is_empty() {
            new.push(self.write_batch(hashes).await?);
        }
        published.batches = new.len();
        if !new.is_empty() {
            self.lease.write(|state| state.batches.extend(&new)).await?;
            // Says when that was.
            self.lease.renew().await?;
        }
        Ok(published)
    }

    /// The keys of an active batch. If they were lost, it has none from now on: what it condemned is condemned anew.
    pub(super) async fn keys_of(&self, id: &Uuid) -> Result<BatchKeys, StoreError> {
        self.lease.pace.wait(RequestKind::Get).await;
        match read(&self.lease.store, id).await {
            Ok(Some(keys)) => Ok(keys),
            Ok(None) | Err(StoreError::Corrupt { .. }) => {
                self.put_keys(id, &BatchKeys::default()).await?;
                Ok(BatchKeys::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the keys of a batch that no state names yet.
    async fn write_batch(&self, hashes: Vec<KeyHash>) -> Result<Batch, StoreError> {
        let (id, keys) = (Uuid::new_v4(), BatchKeys::new(hashes));
        self.put_keys(&id, &keys).await?;
        Ok(Batch { id, published: None, spent: None, keys: keys.len() as u64 })
    }

    /// Writes the keys of a batch.
    async fn put_keys(&self, id: &Uuid, keys: &BatchKeys) -> Result<(), StoreError> {
        self.lease.pace.wait(RequestKind::Put).await;
        let (bytes, metadata) = (keys.encode(), Metadata::new());
        let (key, media_type) = (Key::GcCondemned(id), MediaType::OCTET_STREAM);
        self.lease.store.put(key, bytes, &media_type, &metadata, Condition::Always).await.map(drop)
    }

    /// Retires the batches whose keys were deleted long enough ago, and removes what is left of batches that no state
    /// names. What the bucket does not let it remove is left to the next call.
    ///
    /// # Errors
    /// The lease is lost, or the bucket fails.
    pub(in crate::registry) async fn retire(&self) -> Result<(), CollectorError> {
        let lease = &self.lease;
        let (now, retire) = (whole_seconds(self.now().await), lease.options.timing.retire);
        let is_over = |batch: &Batch| batch.retires(retire).is_some_and(|retires| retires <= now);
        if lease.state().await.batches.iter().any(is_over) {
            // First: writers must not look for a batch that is half removed.
            lease.write(|state| state.batches.retain(|batch| !is_over(batch))).await?;
        }
        let state = lease.state().await;
        if let Err(error) = self.remove_strays(&state).await {
            // Writers do not know them any more.
            tracing::warn!(%error, "old batches of garbage collection (docker/registry/v2/_gc/batches/) were not removed");
        }
        Ok(())
    }

    async fn remove_strays(&self, state: &GcState) -> Result<(), StoreError> {
        let (lease, retire) = (&self.lease, self.lease.options.timing.retire);
        lease.pace.wait(RequestKind::List).await;
        let names = lease.store.children(Key::GcBatches, MAX_STRAYS).await?;
        let ids = names.iter().filter_map(|name| name.parse::<Uuid>().ok());
        for id in ids.filter(|id| state.batches.iter().all(|batch| batch.id != *id)) {
            lease.pace.wait(RequestKind::Get).await;
            // Another collector may be about to name it; and writers know a retired batch for some minutes.
            let found = lease.store.leader().head(Key::GcCondemned(&id)).await?;
            if found.is_none_or(|found| found.age >= retire) {
                lease.pace.wait(RequestKind::List).await;
                lease.store.delete_directory(Key::GcBatch(&id)).await?;
            }
        }
        Ok(())
    }
}

/// In whole seconds since 1970, not later.
fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
