//! Chunks that the clients of a follower wait for: it writes them down in the bucket, and the owner fetches them next.
//!
//! They are hints. They are not signed, there are few of them, and all that they can change is the order of chunks.

use std::collections::BTreeMap;
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
/// How often a list that stays the same is written anew.
const REWRITE: Duration = Duration::from_secs(10);
/// A list that was written so long ago is of a process that is gone.
const OLD: Duration = Duration::from_secs(30);
/// How long a write may take: the lease is looked at no sooner.
const TIMEOUT: Duration = Duration::from_secs(2);
/// After it in the directory of a fill, there is nothing but these objects.
const BEFORE: &str = "wants";

/// The list that this process has in the bucket.
#[derive(Debug)]
pub(super) struct Wants {
    process: Uuid,
    written: Vec<u64>,
    /// When it was last tried to be written.
    since: Option<Instant>,
    /// The bucket may have a list.
    is_there: bool,
}

impl Wants {
    pub(super) fn new() -> Self {
        Self { process: Uuid::new_v4(), written: Vec::new(), since: None, is_there: false }
    }

    /// Writes down which chunks clients have waited for, if that changed, and no more often than once a second. The
    /// owner fetches the first one that is missing in any case. Where it `is_stalled`, an empty list tells it that this
    /// process follows.
    pub(super) async fn write(&mut self, object: &LeaseObject, filled: &FilledBlob, is_stalled: bool) {
        let Some(since) = Instant::now().checked_sub(PATIENCE) else {
            return;
        };
        let layout = filled.layout();
        let is_stored = |number: &u64| filled.chunks().is_some_and(|chunks| chunks.is_stored(*number));
        let count = filled.size().map_or(0, |size| layout.count(size));
        let first = (0..count).find(|number| !is_stored(number));
        let waiting = filled.readers.positions(since).into_iter().map(|position| layout.number(position));
        let mut wanted: Vec<_> = waiting.filter(|number| !is_stored(number) && Some(*number) != first).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(MOST);
        let is_needed = is_stalled || !wanted.is_empty();
        let is_written = wanted == self.written && self.is_there == is_needed;
        let pause = if is_written { REWRITE } else { PATIENCE };
        if (is_written && !is_needed) || self.since.is_some_and(|since| since.elapsed() < pause) {
            return;
        }
        self.since = Some(Instant::now());
        let key = Key::FillWant(object.digest(), object.upstream(), &self.process);
        let store = object.store();
        let write = async {
            if !is_needed {
                return store.delete(key).await;
            }
            let bytes = Bytes::from(serde_json::to_vec(&wanted).unwrap_or_default());
            let none = Metadata::new();
            store.put(key, bytes, &MediaType::OCTET_STREAM, &none, Condition::Always).await.map(drop)
        };
        // Also if the answer is lost.
        self.is_there |= is_needed;
        match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(())) => {
                self.is_there = is_needed;
                self.written = wanted;
            }
            Ok(Err(error)) => {
                tracing::debug!(digest = %object.digest(), %error, "a follower's wishes were not written");
            }
            Err(_) => tracing::debug!(digest = %object.digest(), "a follower's wishes were not written in time"),
        }
    }

    /// Deletes the list.
    pub(super) async fn end(&mut self, object: &LeaseObject) {
        if std::mem::take(&mut self.is_there) {
            // The sweep finds it otherwise.
            let delete = object.store().delete(Key::FillWant(object.digest(), object.upstream(), &self.process));
            let _ = tokio::time::timeout(TIMEOUT, delete).await;
        }
    }
}

/// The lists of followers, as the owner last read them.
#[derive(Debug, Default)]
pub(super) struct Wishes(BTreeMap<Uuid, (Option<String>, Vec<u64>)>);

impl Wishes {
    /// Whether a follower has a list.
    pub(super) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// The positions of the chunks that the clients of followers wait for. Only lists that changed are read.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(super) async fn read(&mut self, object: &LeaseObject, filled: &FilledBlob) -> Result<Vec<u64>, StoreError> {
        let (digest, upstream, store) = (object.digest(), object.upstream(), object.store().leader());
        let (listed, _) = store.objects(Key::Fill(digest, upstream), Some(BEFORE), 1000).await?;
        let mut read = BTreeMap::new();
        for listed in listed.into_iter().filter(|listed| listed.size <= MAX_BYTES) {
            let Some(FillObject::Want(process)) = FillObject::parse(&listed.path) else {
                continue;
            };
            if read.len() >= MOST || store.age(listed.modified) >= OLD {
                continue;
            }
            let known = self.0.remove(&process).filter(|(etag, _)| etag.is_some() && *etag == listed.etag);
            let numbers = match known {
                Some((_, numbers)) => numbers,
                None => match store.get_up_to(Key::FillWant(digest, upstream, &process), MAX_BYTES).await? {
                    Some(list) => serde_json::from_slice(&list.bytes).unwrap_or_default(),
                    None => continue,
                },
            };
            read.insert(process, (listed.etag, numbers));
        }
        self.0 = read;
        let layout = filled.layout();
        let numbers = self.0.values().flat_map(|(_, numbers)| numbers.iter().take(MOST));
        let slices = numbers.map(|number| layout.slice(*number));
        Ok(slices.filter(|slice| slice.start < slice.end).map(|slice| slice.start).collect())
    }
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
