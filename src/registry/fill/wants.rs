//! Chunks that the clients of a follower wait for: it writes them down in the bucket, and the owner fetches them next.
//!
//! They are hints. They are not signed, there are few of them, and all that they can change is the order of chunks.

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::filled_blob::FilledBlob;
use super::lease_object::LeaseObject;
use crate::oci::MediaType;
use crate::store::{Condition, FillObject, Key, Metadata, StoreError};

/// The most chunks that one follower asks for, and the most followers that an owner listens to.
const MOST: usize = 16;
/// The longest list in bytes.
const MAX_BYTES: u64 = 1 << 10;
/// A client that waits for so long is written down.
const PATIENCE: Duration = Duration::from_secs(1);
/// After it in the directory of a fill, there is nothing but these objects.
const BEFORE: &str = "wants";

/// The list that this process has in the bucket.
#[derive(Debug)]
pub(super) struct Wants {
    process: Uuid,
    written: Vec<u64>,
    since: Option<Instant>,
}

impl Wants {
    pub(super) fn new() -> Self {
        Self { process: Uuid::new_v4(), written: Vec::new(), since: None }
    }

    /// Writes down which chunks clients have waited for, if that changed, and no more often than once a second.
    pub(super) async fn write(&mut self, object: &LeaseObject, filled: &FilledBlob) {
        let Some(since) = Instant::now().checked_sub(PATIENCE) else {
            return;
        };
        let layout = filled.layout();
        let is_stored = |number: &u64| filled.chunks().is_some_and(|chunks| chunks.is_stored(*number));
        let waiting = filled.readers.positions(since).into_iter().map(|position| layout.number(position));
        let mut wanted: Vec<_> = waiting.filter(|number| !is_stored(number)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(MOST);
        if wanted == self.written || self.since.is_some_and(|since| since.elapsed() < PATIENCE) {
            return;
        }
        self.since = Some(Instant::now());
        let key = Key::FillWant(object.digest(), object.upstream(), &self.process);
        let store = object.store();
        let done = if wanted.is_empty() {
            store.delete(key).await
        } else {
            let bytes = Bytes::from(serde_json::to_vec(&wanted).unwrap_or_default());
            let none = Metadata::new();
            store.put(key, bytes, &MediaType::OCTET_STREAM, &none, Condition::Always).await.map(drop)
        };
        match done {
            Ok(()) => self.written = wanted,
            Err(error) => tracing::debug!(digest = %object.digest(), %error, "a follower's wishes were not written"),
        }
    }

    /// Deletes the list.
    pub(super) async fn end(&mut self, object: &LeaseObject) {
        if !std::mem::take(&mut self.written).is_empty() {
            // The sweep finds it otherwise.
            let _ = object.store().delete(Key::FillWant(object.digest(), object.upstream(), &self.process)).await;
        }
    }
}

/// The positions of the chunks that the clients of followers wait for.
///
/// # Errors
/// The bucket did not answer.
pub(super) async fn read(object: &LeaseObject, filled: &FilledBlob) -> Result<Vec<u64>, StoreError> {
    let (digest, upstream, store) = (object.digest(), object.upstream(), object.store().leader());
    let (listed, _) = store.objects(Key::Fill(digest, upstream), Some(BEFORE), 1000).await?;
    let processes = listed.iter().filter_map(|listed| match FillObject::parse(&listed.path) {
        Some(FillObject::Want(process)) if listed.size <= MAX_BYTES => Some(process),
        _ => None,
    });
    let layout = filled.layout();
    let mut positions = Vec::new();
    for process in processes.take(MOST) {
        let Some(list) = store.get_up_to(Key::FillWant(digest, upstream, &process), MAX_BYTES).await? else {
            continue;
        };
        let numbers: Vec<u64> = serde_json::from_slice(&list.bytes).unwrap_or_default();
        let slices = numbers.into_iter().take(MOST).map(|number| layout.slice(number));
        positions.extend(slices.filter(|slice| slice.start < slice.end).map(|slice| slice.start));
    }
    Ok(positions)
}

/// Deletes the lists of all followers.
///
/// # Errors
/// The bucket did not do it.
pub(super) async fn delete_all(object: &LeaseObject) -> Result<(), StoreError> {
    let (digest, upstream, store) = (object.digest(), object.upstream(), object.store());
    let (listed, _) = store.leader().objects(Key::Fill(digest, upstream), Some(BEFORE), 1000).await?;
    let objects: Vec<_> = listed.iter().filter_map(|listed| FillObject::parse(&listed.path)).collect();
    let keys = objects.iter().filter_map(|object| match object {
        FillObject::Want(process) => Some(Key::FillWant(digest, upstream, process)),
        _ => None,
    });
    store.delete_all(&keys.collect::<Vec<_>>()).await
}
