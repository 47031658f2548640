//! The thread that writes a blob into its place and hashes it.
//!
//! Batches come from several connections in any order. One that comes in order is hashed from the batch; one that came too
//! early is read back later: from memory, from the page cache, or from the bucket if its chunk is not in memory any more.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::filled_blob::{FilledBlob, Place, Watermark};
use crate::oci::{Digest, Hasher, Slice};

/// How many bytes are read back at once: they stay in the processor's cache.
const READ_BYTES: u64 = 256 << 10;
/// How often bytes are read back after a batch, if the next one waits: more than a batch has, so that the digest catches up, and little
/// enough that connections do not stand still where a large part of the blob was there before what lies before it.
const READS: u32 = 4;

/// Bytes of one chunk that go to the place.
pub(super) struct Batch {
    /// Where the first of them lies in the blob.
    pub(super) position: u64,
    pub(super) pieces: Vec<Bytes>,
}

/// Where a download begins.
pub(super) struct Start {
    /// Its chunks are stored under this one.
    pub(super) generation: Uuid,
    /// So many chunks were hashed and stored by other generations.
    pub(super) hashed: u64,
    /// The hasher's state there.
    pub(super) hasher: Hasher,
}

/// The result of the thread.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

/// Why the thread failed.
pub(super) enum WriteError {
    /// The place cannot be written or read, or the bucket not be read.
    Io(io::Error),
    /// The bucket does not have the chunk of this number any more.
    Lost(u64),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Writes and hashes batches until there are no more, or `stopped`; blocks. Chunks that are whole are told to `whole`. The watermark
/// moves before a batch is hashed: readers of the whole get the last
/// [`HELD_BACK`](super::filled_blob::HELD_BACK) bytes only after the digest was compared.
///
/// # Errors
/// See [`WriteError`].
pub(super) fn run(
    blob: &FilledBlob,
    mut batches: mpsc::Receiver<Batch>,
    (watermark, whole): (&watch::Sender<Watermark>, &mpsc::UnboundedSender<u64>),
    start: Start,
    stopped: &AtomicBool,
) -> Result<Written, WriteError> {
    let generation = start.generation;
    let mut done = Hashed::new(blob, start);
    let mut written = blob.written();
    while !stopped.load(Ordering::Relaxed) {
        let batch = match batches.try_recv() {
            Ok(batch) => batch,
            Err(TryRecvError::Empty) if done.bytes < written => {
                done.read_back(written)?;
                continue;
            }
            Err(TryRecvError::Empty) => match batches.blocking_recv() {
                Some(batch) => batch,
                None => break,
            },
            Err(TryRecvError::Disconnected) => break,
        };
        let len = batch.pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        blob.write(generation, batch.position, &batch.pieces)?;
        let added = blob.add(batch.position, batch.position + len);
        written = added.written;
        if let Some(chunk) = added.whole {
            // Where the blob is not cut into chunks, it does not matter.
            let _ = whole.send(chunk);
        }
        // Readers of a later part look as well, so all of them are woken: they are at most the clients, and a batch has
        // up to 256 KiB.
        watermark.send_modify(|watermark| watermark.written = written);
        if done.bytes == batch.position {
            batch.pieces.iter().for_each(|piece| done.add(piece));
            done.tell();
        }
        for _ in 0..READS {
            if done.bytes < written {
                done.read_back(written)?;
            }
        }
    }
    while done.bytes < written && !stopped.load(Ordering::Relaxed) {
        done.read_back(written)?;
    }
    Ok(Written { bytes: done.bytes, digest: done.hasher.finish() })
}

struct Hashed<'a> {
    blob: &'a FilledBlob,
    hasher: Hasher,
    bytes: u64,
    /// So many chunks were told to the blob.
    chunks: u64,
    buffer: Vec<u8>,
    /// The bytes from `bytes` on, from the bucket, up to the end of a chunk.
    object: Option<(BoxStream<'static, io::Result<Bytes>>, u64)>,
}

impl<'a> Hashed<'a> {
    fn new(blob: &'a FilledBlob, start: Start) -> Self {
        let Start { hashed, hasher, .. } = start;
        // The last one may be shorter.
        let bytes = if hashed == 0 { 0 } else { blob.layout().slice(hashed - 1).end };
        Self { blob, hasher, bytes, chunks: hashed, buffer: Vec::new(), object: None }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Tells how many chunks were hashed, if it is one more.
    fn tell(&mut self) {
        let layout = self.blob.layout();
        let is_end = layout.size == Some(self.bytes);
        let chunks = if is_end { layout.count(self.bytes) } else { layout.number(self.bytes) };
        if chunks > self.chunks {
            self.chunks = chunks;
            self.blob.hashed(chunks, &self.hasher);
        }
    }

    /// Adds the next bytes that are there, up to `written` and within one chunk.
    fn read_back(&mut self, written: u64) -> Result<(), WriteError> {
        let layout = self.blob.layout();
        let end = layout.slice(layout.number(self.bytes)).end.min(written);
        let len = (end - self.bytes).min(READ_BYTES);
        let blob = self.blob;
        match blob.place() {
            Place::File(file) => {
                self.buffer.resize(usize::try_from(len).unwrap_or_default(), 0);
                file.read_exact_at(&mut self.buffer, self.bytes)?;
                self.hasher.update(&self.buffer);
                self.bytes += len;
            }
            Place::Memory(window) if self.object.is_none() => {
                let hasher = &mut self.hasher;
                let read = window.read(self.bytes, len, |bytes| {
                    hasher.update(bytes);
                    bytes.len() as u64
                });
                match read.filter(|read| *read > 0) {
                    Some(read) => self.bytes += read,
                    None => self.read_object(end)?,
                }
            }
            Place::Memory(_) => self.read_object(end)?,
        }
        self.tell();
        Ok(())
    }

    /// Adds the next bytes of a chunk that only the bucket has.
    fn read_object(&mut self, end: u64) -> Result<(), WriteError> {
        // This thread is one that may block.
        let runtime = Handle::current();
        let (mut stream, end) = if let Some(open) = self.object.take() {
            open
        } else {
            let opened = runtime.block_on(self.blob.stream_chunk(Slice { start: self.bytes, end }))?;
            let number = self.blob.layout().number(self.bytes);
            (opened.ok_or(WriteError::Lost(number))?, end)
        };
        let piece = runtime.block_on(stream.next()).transpose()?;
        let piece = piece.ok_or_else(|| io::Error::other("the bucket sent less than it said"))?;
        self.add(&piece);
        self.object = (self.bytes < end).then_some((stream, end));
        Ok(())
    }
}
