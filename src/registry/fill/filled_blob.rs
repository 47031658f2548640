//! A blob that is being filled: which of it is where, and how far it is. Its bytes are read in [`content`].

mod content;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use super::blob_file::BlobFile;
use super::bucket_chunks::BucketChunks;
use super::bucket_readers::BucketReaders;
use super::chunks::Layout;
use super::intervals::Intervals;
use super::plan::NewChunk;
use super::readers::Readers;
use super::window::Window;
use crate::oci::{Digest, Hasher};
use crate::registry::blob_part::BlobPart;
use crate::store::Store;

/// How many bytes at the end of a blob are held back from those that read up to it until the whole was verified. One
/// byte would make the blob incomplete; so many make sure that a client of a wrong blob cannot unpack it, either:
/// without its last few bytes, a compressed layer would lack only its checksum.
pub(in crate::registry) const HELD_BACK: u64 = 32 << 10;
/// How long a fill may wait for memory that other fills keep.
const MEMORY_TIMEOUT: Duration = Duration::from_mins(1);

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

/// How far a download is, for its readers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watermark {
    /// So many bytes, from the beginning, are there.
    pub(super) written: u64,
    pub(super) state: BlobState,
}

/// Whether the blob can still become whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BlobState {
    /// More may come.
    Coming,
    /// `written` is its size, and its digest is right.
    Verified,
    /// The same, and the bucket has the blob.
    Stored,
    /// It will never be whole.
    Failed,
}

impl BlobState {
    /// The digest is right.
    pub(super) const fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::Stored)
    }
}

/// What a client reads of a blob.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Reading {
    /// The part; `None` is the whole.
    pub(in crate::registry) part: Option<BlobPart>,
    /// The client may hold the whole in the end: it gets the last bytes after the digest was verified.
    pub(in crate::registry) verified: bool,
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

    pub(super) fn watermark(&self) -> Watermark {
        *self.watermark.borrow()
    }

    pub(super) fn written(&self) -> u64 {
        self.watermark().written
    }

    /// Waits until more than `bytes` are there without a gap.
    pub(super) async fn written_beyond(&self, bytes: u64) {
        let mut watermark = self.watermark.clone();
        // The download that writes has the sender.
        let _ = watermark.wait_for(|watermark| watermark.written > bytes).await;
    }

    /// Whether a connection may fetch bytes of a chunk now, for this generation: there is memory for it.
    pub(super) fn may_begin(&self, new: NewChunk, generation: Uuid) -> bool {
        match &self.place {
            Place::File(_) => true,
            Place::Memory(window) => window.may_begin(new, generation, self.is_wanted.load(Ordering::Relaxed)),
        }
    }

    /// Whether connections wait for memory.
    pub(super) fn is_short(&self) -> bool {
        matches!(&self.place, Place::Memory(window) if window.is_short())
    }

    /// A request needs the blob: from now on it waits for memory like others.
    pub(super) fn want(&self) {
        if !self.is_wanted.swap(true, Ordering::Relaxed) {
            self.changed.notify_waiters();
        }
    }

    /// Waits for memory on behalf of connections, for ever. Breaks off if other fills keep it too long.
    pub(super) async fn supply_memory(&self) -> std::convert::Infallible {
        let Place::Memory(window) = &self.place else {
            return std::future::pending().await;
        };
        let supply = async {
            loop {
                window.wait_for_memory().await;
                self.changed.notify_waiters();
            }
        };
        let watch = async {
            loop {
                tokio::time::sleep(MEMORY_TIMEOUT / 20).await;
                if window.is_starved(MEMORY_TIMEOUT) {
                    let seconds = MEMORY_TIMEOUT.as_secs();
                    self.break_off(format!("other fills kept the memory (proxy.fill.memory) for {seconds} s"));
                }
            }
        };
        tokio::select! {
            never = supply => never,
            never = watch => never,
        }
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

    /// No memory will become free: the bucket takes no more chunks, or other fills keep theirs.
    pub(super) fn break_off(&self, cause: String) {
        // The first cause counts.
        self.broken_mut().get_or_insert(cause);
        self.changed.notify_waiters();
    }

    /// Why no memory will become free.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken_mut().clone()
    }

    /// Another download begins.
    pub(super) fn forget_broken(&self) {
        *self.broken_mut() = None;
    }

    fn broken_mut(&self) -> MutexGuard<'_, Option<String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fill has ended with the right bytes: its memory is given up as soon as another fill needs it.
    pub(super) fn release(&self) {
        if let Place::Memory(window) = &self.place {
            window.release();
        }
    }

    /// Begins no chunk until it is told otherwise; those that have been begun become whole.
    pub(super) fn pause(&self, is_paused: bool) {
        if let Place::Memory(window) = &self.place {
            window.pause(is_paused);
        }
        self.changed.notify_waiters();
    }

    /// Whether the bucket has all chunks that have been begun.
    pub(super) fn is_settled(&self) -> bool {
        matches!(&self.place, Place::Memory(window) if window.is_settled())
    }

    /// Returns the memory: no client will get anything more from it.
    pub(super) fn close(&self) {
        if let Place::Memory(window) = &self.place {
            window.close();
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

    /// Waits until more than `bytes` are there; `None` when that is all.
    pub(in crate::registry) async fn beyond(&self, bytes: u64) -> Option<u64> {
        let mut watermark = self.watermark.clone();
        let moved = |watermark: &Watermark| watermark.written > bytes || watermark.state != BlobState::Coming;
        let watermark = *watermark.wait_for(moved).await.ok()?;
        (watermark.written > bytes).then_some(watermark.written)
    }

    /// Waits until `len` bytes from `position` are there, or the blob ends; returns how many of them there are, and
    /// whether the blob ends there. For the uploader, which may have unverified bytes.
    pub(super) async fn available(&self, position: u64, len: u64) -> io::Result<(u64, bool)> {
        let watermark =
            self.wait(|watermark| watermark.written >= position + len || watermark.state.is_verified()).await?;
        let there = (watermark.written - position).min(len);
        let ends = watermark.state.is_verified() && watermark.written == position + there;
        Ok((there, ends))
    }

    /// Waits until the blob was verified, and returns its size.
    pub(in crate::registry) async fn verified(&self) -> io::Result<u64> {
        Ok(self.wait(|watermark| watermark.state.is_verified()).await?.written)
    }

    /// Waits until the watermark is as wanted.
    ///
    /// # Errors
    /// The blob will not become whole.
    pub(super) async fn wait(&self, reached: impl Fn(&Watermark) -> bool) -> io::Result<Watermark> {
        let failed = || io::Error::other("the blob cannot be had whole");
        let mut watermark = self.watermark.clone();
        let reached = watermark.wait_for(|watermark| reached(watermark) || watermark.state == BlobState::Failed).await;
        match reached {
            Ok(watermark) if watermark.state != BlobState::Failed => Ok(*watermark),
            _ => Err(failed()),
        }
    }

    /// Up to where the bytes from `position` on may be read.
    pub(super) fn released(&self, position: u64, watermark: &Watermark, reading: Reading) -> u64 {
        let there = if position < watermark.written { watermark.written } else { self.there().end_from(position) };
        if watermark.state.is_verified() {
            return there;
        }
        match self.size {
            Some(_) if !reading.verified => there,
            Some(size) => there.min(size.saturating_sub(HELD_BACK)),
            // Any byte may be among the last, and of a part only a manifest says where they are.
            None => there.min(reading.part.map_or(u64::MAX, |part| part.of)).saturating_sub(HELD_BACK),
        }
    }
}
