//! A blob that is being filled: which of it is where. [`watermark`] is how far it is, [`supply`] the memory for more of
//! it; its bytes are read in [`content`].

mod content;
mod supply;
mod watermark;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::blob_file::BlobFile;
use super::bucket_chunks::BucketChunks;
use super::bucket_readers::BucketReaders;
use super::chunks::Layout;
use super::intervals::Intervals;
use super::meter::Meter;
use super::readers::Readers;
use super::window::Window;
use crate::oci::{Digest, Hasher};
use crate::store::Store;

pub(super) use watermark::{BlobState, Watermark};
pub(in crate::registry) use watermark::{HELD_BACK, Reading};

/// A blob that is, or was, being filled.
#[derive(Debug)]
pub(in crate::registry) struct FilledBlob {
    store: Store,
    digest: Digest,
    size: Option<u64>,
    layout: Layout,
    place: Place,
    /// Where the blob is larger than its place, or other processes follow.
    chunks: Option<BucketChunks>,
    watermark: watch::Receiver<Watermark>,
    /// The bytes that are in the place or in the bucket's chunks.
    there: Mutex<Intervals>,
    pub(super) readers: Arc<Readers>,
    pub(super) meter: Meter,
    /// Connections may find something to fetch, or memory for it.
    changed: Notify,
    /// Why no memory will become free.
    broken: Mutex<Option<String>>,
    /// A request needs it. Before, it takes only memory that no other fill waits for.
    is_wanted: AtomicBool,
    /// Bytes that this process got from the upstream.
    received: AtomicU64,
    /// Where clients of other processes wait: some hundred positions at most.
    wishes: Mutex<Vec<u64>>,
    /// Held by the download, and by its threads, as long as they run.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
}

/// Where the bytes are written as they come.
#[derive(Debug)]
pub(super) enum Place {
    File(BlobFile),
    Memory(Box<Window>),
}

/// What [`FilledBlob::add`] makes of the bytes that were added.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// So many bytes are there from the beginning without a gap.
    pub(super) written: u64,
    /// All of the chunk that they are in is there now.
    pub(super) whole: Option<u64>,
}

impl FilledBlob {
    pub(super) fn new(
        (store, digest): (&Store, Digest),
        size: Option<u64>,
        layout: Layout,
        place: Place,
        chunks: Option<BucketChunks>,
    ) -> (Arc<Self>, watch::Sender<Watermark>) {
        let (watermark, watching) = watch::channel(Watermark { written: 0, state: BlobState::Coming });
        let blob = Self {
            store: store.clone(),
            digest,
            size,
            layout,
            place,
            chunks,
            watermark: watching,
            there: Mutex::default(),
            readers: Arc::default(),
            meter: Meter::default(),
            changed: Notify::new(),
            broken: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            received: AtomicU64::new(0),
            wishes: Mutex::default(),
            writing: Arc::default(),
        };
        (Arc::new(blob), watermark)
    }

    /// The size that the upstream announced, in bytes.
    pub(in crate::registry) const fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) const fn digest(&self) -> Digest {
        self.digest
    }

    pub(super) const fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    pub(super) const fn chunks(&self) -> Option<&BucketChunks> {
        self.chunks.as_ref()
    }

    pub(super) const fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Writes bytes of one chunk that a generation received.
    pub(super) async fn write(&self, generation: Uuid, position: u64, pieces: Vec<Bytes>) -> io::Result<()> {
        match &self.place {
            Place::File(file) => file.write_at(pieces, position).await,
            Place::Memory(window) if window.write(generation, position, &pieces) => Ok(()),
            Place::Memory(_) => Err(io::Error::other(format!("memory has no room for the byte at {position}"))),
        }
    }

    /// The bytes from `start` to `end`, of one chunk, are there.
    pub(super) fn add(&self, start: u64, end: u64) -> Added {
        let number = self.layout.number(start);
        let chunk = self.layout.slice(number);
        self.received.fetch_add(end - start, Ordering::Relaxed);
        let mut there = self.there();
        there.insert(start, end);
        let is_whole =
            start < end && there.around(start).is_some_and(|(from, to)| from <= chunk.start && to >= chunk.end);
        let written = there.end_from(0);
        self.meter.received(|| there.len());
        drop(there);
        if is_whole && let Place::Memory(window) = &self.place {
            window.end(number);
        }
        Added { written, whole: is_whole.then_some(number) }
    }

    /// How many bytes this process got from the upstream.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// The first `chunks` chunks were hashed, and this is the hasher's state there.
    pub(super) fn hashed(&self, chunks: u64, hasher: &Hasher) {
        if let Some(stored) = &self.chunks {
            stored.hashed(chunks, hasher);
        }
        if let Place::Memory(window) = &self.place {
            window.hashed(chunks);
        }
        self.changed.notify_waiters();
    }

    /// The bucket has a chunk.
    pub(super) fn stored(&self, number: u64) {
        if let Place::Memory(window) = &self.place {
            window.stored(number);
        }
        self.changed.notify_waiters();
    }

    /// The blob, whose size was unknown, has `size` bytes.
    pub(super) fn end_at(&self, size: u64) {
        if let Place::Memory(window) = &self.place {
            window.end_at(size);
        }
    }

    /// What bounds the clients that read from the bucket; `None`: all of it is in a file.
    pub(super) fn bucket_readers(&self) -> Option<&BucketReaders> {
        match &self.place {
            Place::File(_) => None,
            Place::Memory(window) => Some(window.memory().bucket_readers()),
        }
    }

    /// The positions at which clients wait since `since` or longer; behind them, those at which clients of other
    /// processes do.
    pub(super) fn waiting(&self, since: Instant) -> Vec<u64> {
        let mut positions = self.readers.positions(since);
        positions.extend(self.wishes().iter());
        positions
    }

    /// Clients of other processes wait at these positions.
    pub(super) fn wish(&self, positions: Vec<u64>) {
        *self.wishes() = positions;
    }

    fn wishes(&self) -> MutexGuard<'_, Vec<u64>> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn there(&self) -> MutexGuard<'_, Intervals> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
