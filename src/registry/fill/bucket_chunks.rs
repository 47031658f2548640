//! The chunks of one blob in the bucket, as long as it is being filled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use uuid::Uuid;

use super::chunks::{Layout, Stored};
use super::lease::Head;
use crate::oci::{Digest, Hasher, Slice};
use crate::store::{Key, ObjectStream, PartSource, Store, StoreError, UpstreamId};

/// How many bytes of a chunk are handed to its request at once: they are not copied.
const PIECE: usize = 256 << 10;
/// How long a chunk is looked for that the bucket said it has.
pub(super) const MISSING_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause between two looks.
pub(super) const PAUSE: Duration = Duration::from_millis(250);

/// Which chunks the bucket has, and reading and writing them. All reads ask the leader: another region may not have
/// heard of a chunk that was stored a moment ago.
#[derive(Debug)]
pub(super) struct BucketChunks {
    store: Store,
    digest: Digest,
    upstream: UpstreamId,
    layout: Layout,
    stored: Mutex<BTreeMap<u64, Stored>>,
    /// Beginnings of chunks that are not stored yet, each with its generation.
    heads: Mutex<Vec<(Head, Uuid)>>,
    /// The hasher's states behind chunks, from the last one up to which all chunks are stored: as many as there are
    /// chunks in memory, and one.
    hashers: Mutex<BTreeMap<u64, Hasher>>,
    /// How many chunks this process put that the bucket did not deny: it may have them.
    put: AtomicUsize,
}

impl BucketChunks {
    /// Of a blob of which the bucket has no chunk yet.
    pub(super) fn new(store: &Store, digest: Digest, upstream: UpstreamId, layout: Layout) -> Self {
        let (stored, heads, hashers) = (Mutex::default(), Mutex::default(), Mutex::default());
        let put = AtomicUsize::new(0);
        Self { store: store.clone(), digest, upstream, layout, stored, heads, hashers, put }
    }

    pub(super) const fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn get(&self, number: u64) -> Option<Stored> {
        self.stored().get(&number).cloned()
    }

    pub(super) fn is_stored(&self, number: u64) -> bool {
        self.stored().contains_key(&number)
    }

    /// The bucket has a chunk.
    pub(super) fn insert(&self, number: u64, stored: Stored) {
        self.stored().insert(number, stored);
    }

    /// The bucket has these chunks and heads and no others, and they are hashed as far as that will be said anew.
    pub(super) fn replace(&self, chunks: BTreeMap<u64, Stored>, heads: Vec<(Head, Uuid)>) {
        *self.stored() = chunks;
        *self.heads_mut() = heads;
        self.hashers().clear();
    }

    /// The heads of chunks that are not stored.
    pub(super) fn heads(&self) -> Vec<(Head, Uuid)> {
        let is_needed = |(head, _): &&(Head, Uuid)| !self.is_stored(self.layout.number(head.start));
        self.heads_mut().iter().filter(is_needed).cloned().collect()
    }

    /// Streams bytes of the head that a position is in, and where they end; `None` if there is none.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(super) async fn stream_head(&self, position: u64) -> Result<Option<(ObjectStream, Uuid, u64)>, StoreError> {
        let mut heads = self.heads().into_iter();
        let Some((head, generation)) = heads.find(|(head, _)| head.start <= position && position < head.end) else {
            return Ok(None);
        };
        let part = Slice { start: position - head.start, end: head.end - head.start };
        let key = Key::FillHead(&self.digest, self.upstream, &generation, head.end);
        let stream = self.store.leader().stream_unchanged(key, Some(part), &head.etag).await?;
        Ok(stream.map(|stream| (stream, generation, head.end)))
    }

    /// Stores these bytes of a chunk as a head, which takes the place of those that lie in it. No other one with the
    /// same end was stored before under this generation.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub(super) async fn put_head(&self, generation: Uuid, part: Slice, source: PartSource) -> Result<(), StoreError> {
        let Slice { start, end } = part;
        let key = Key::FillHead(&self.digest, self.upstream, &generation, end);
        // One whose answer was lost is not worth reading it back.
        if let Some(etag) = self.store.put_chunk(key, end - start, source).await? {
            let mut heads = self.heads();
            heads.retain(|(head, _)| head.start < start || head.end > end);
            heads.push((Head { start, end, etag }, generation));
            *self.heads_mut() = heads;
        }
        Ok(())
    }

    /// The first `chunks` chunks were hashed, and this is the hasher's state there.
    pub(super) fn hashed(&self, chunks: u64, hasher: &Hasher) {
        let before = self.progress().map_or(0, |(chunks, _)| chunks);
        let mut hashers = self.hashers();
        hashers.insert(chunks, hasher.clone());
        hashers.retain(|chunks, _| *chunks >= before);
    }

    /// Up to which chunk all are hashed and stored, as their number, and the hasher's state there; `None`: not even the
    /// first one.
    pub(super) fn progress(&self) -> Option<(u64, Hasher)> {
        let stored = self.stored();
        let without_gap = (0..).zip(stored.keys()).take_while(|(expected, number)| expected == *number).count() as u64;
        drop(stored);
        let hashers = self.hashers();
        let (chunks, hasher) = hashers.range(..=without_gap).next_back()?;
        Some((*chunks, hasher.clone()))
    }

    /// All chunks that the bucket has, by their numbers.
    pub(super) fn all(&self) -> Vec<(u64, Stored)> {
        self.stored().iter().map(|(number, stored)| (*number, stored.clone())).collect()
    }

    /// Where a chunk is.
    pub(super) fn key<'a>(&'a self, number: u64, generation: &'a Uuid) -> Key<'a> {
        Key::FillChunk(&self.digest, self.upstream, generation, self.layout.slice(number).start)
    }

    /// The directory of a generation.
    pub(super) fn directory<'a>(&'a self, generation: &'a Uuid) -> Key<'a> {
        Key::FillChunks(&self.digest, self.upstream, generation)
    }

    /// Streams bytes of one chunk; `None` if it is not there, or another object is.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(super) async fn stream(&self, slice: Slice, stored: &Stored) -> Result<Option<ObjectStream>, StoreError> {
        let number = self.layout.number(slice.start);
        let chunk = self.layout.slice(number);
        let part = Slice { start: slice.start - chunk.start, end: slice.end - chunk.start };
        let part = (slice != chunk).then_some(part);
        let (leader, key) = (self.store.leader(), self.key(number, &stored.generation));
        let stream = match &stored.etag {
            Some(etag) => leader.stream_unchanged(key, part, etag).await?,
            None => leader.stream(key, part).await?,
        };
        // One of another length is no chunk of this blob.
        Ok(stream.filter(|stream| slice.end == u64::MAX || stream.size == slice.end - slice.start))
    }

    /// [`stream`](Self::stream), of a chunk that the bucket should have: it is looked for for a while, also where the
    /// bucket does not answer.
    ///
    /// # Errors
    /// The bucket did not answer in all that time.
    pub(super) async fn look_for(&self, slice: Slice) -> Result<Option<ObjectStream>, StoreError> {
        let began = Instant::now();
        while let Some(stored) = self.get(self.layout.number(slice.start)) {
            match self.stream(slice, &stored).await {
                Ok(None) | Err(StoreError::Unavailable { .. }) if began.elapsed() < MISSING_TIMEOUT => {
                    tokio::time::sleep(PAUSE).await;
                }
                found => return found,
            }
        }
        Ok(None)
    }

    /// Stores a chunk, which was never stored before under this generation.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub(super) async fn put(&self, number: u64, generation: Uuid, source: &ChunkBytes) -> Result<(), StoreError> {
        let key = self.key(number, &generation);
        let began = Instant::now();
        self.put.fetch_add(1, Ordering::Relaxed);
        loop {
            let put = self.store.put_chunk(key, source.len(), source.source()).await;
            if let Err(StoreError::Denied { .. }) = put {
                self.put.fetch_sub(1, Ordering::Relaxed);
            }
            let etag = match put? {
                Some(etag) => Some(etag),
                // The answer of an attempt was lost, or another program writes there.
                None => self.compare(key, source).await?,
            };
            if etag.is_some() {
                self.insert(number, Stored { generation, etag });
                return Ok(());
            }
            // The bucket refused it because of an attempt that is still under way there, or came to nothing.
            if began.elapsed() > MISSING_TIMEOUT {
                let cause = format!("it refuses to write {key}, which is not there");
                return Err(StoreError::Unavailable { operation: "PutObject", cause });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The `ETag` of the object under a key, which must have these bytes; `None`: there is no object.
    async fn compare(&self, key: Key<'_>, source: &ChunkBytes) -> Result<Option<String>, StoreError> {
        let other = || StoreError::Corrupt { key: key.to_string(), cause: "another program wrote there".to_owned() };
        let Some(ObjectStream { mut bytes, etag, .. }) = self.store.leader().stream(key, None).await? else {
            return Ok(None);
        };
        let mut expected = source.source()();
        let (mut ours, mut theirs) = (Bytes::new(), Bytes::new());
        loop {
            for (piece, pieces) in [(&mut ours, &mut expected), (&mut theirs, &mut bytes)] {
                if piece.is_empty() {
                    let next = pieces.next().await.transpose();
                    *piece = next.map_err(|error| unreadable(&error))?.unwrap_or_default();
                }
            }
            let len = ours.len().min(theirs.len());
            if ours.split_to(len) != theirs.split_to(len) || (len == 0 && ours.len() != theirs.len()) {
                return Err(other());
            }
            if len == 0 {
                return etag.ok_or_else(other).map(Some);
            }
        }
    }

    /// Deletes all that this process stored under a generation, also chunks of which it did not hear that the bucket has
    /// them.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub(super) async fn delete(&self, generation: &Uuid) -> Result<(), StoreError> {
        if self.put.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        Box::pin(self.store.delete_directory(self.directory(generation))).await.map(drop)
    }

    fn heads_mut(&self) -> MutexGuard<'_, Vec<(Head, Uuid)>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hashers(&self) -> MutexGuard<'_, BTreeMap<u64, Hasher>> {
        self.hashers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stored(&self) -> MutexGuard<'_, BTreeMap<u64, Stored>> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unreadable(error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { operation: "GetObject", cause: error.to_string() }
}

/// The bytes of a chunk on their way to the bucket.
#[derive(Clone)]
pub(super) enum ChunkBytes {
    /// In memory.
    Memory(Bytes),
    /// Elsewhere: how many, and how to get them.
    Source(u64, PartSource),
}

impl ChunkBytes {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Source(len, _) => *len,
        }
    }

    pub(super) fn source(&self) -> PartSource {
        match self {
            Self::Memory(bytes) => {
                let bytes = bytes.clone();
                Arc::new(move || {
                    let bytes = bytes.clone();
                    let starts = (0..bytes.len()).step_by(PIECE);
                    stream::iter(starts.map(move |start| Ok(bytes.slice(start..bytes.len().min(start + PIECE)))))
                        .boxed()
                })
            }
            Self::Source(_, source) => Arc::clone(source),
        }
    }
}
