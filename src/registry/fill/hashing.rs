//! Hashes a blob while it comes, from its first byte to its last.
//!
//! Bytes come from several connections in any order, and are read back in order: from memory or from the page cache,
//! where the latest ones are still in the processor's cache; or from the bucket if their chunk is not in memory any
//! more. Connections do not wait for it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{OwnedMutexGuard, watch};
use uuid::Uuid;

use super::filled_blob::{FilledBlob, Place};
use crate::oci::{Digest, Hasher, Slice};

/// How many bytes are read back at once: they stay in the processor's cache.
const READ_BYTES: u64 = 256 << 10;
/// How many bytes a thread hashes at most before it ends: so long it outlives a download that is dropped.
const AT_ONCE: u64 = 8 << 20;

/// Where a download begins.
pub(super) struct Start {
    /// Its chunks are stored under this one.
    pub(super) generation: Uuid,
    /// So many chunks were hashed and stored by other generations.
    pub(super) hashed: u64,
    /// The hasher's state there.
    pub(super) hasher: Hasher,
    /// The most bytes that the blob may have if the upstream does not say its size.
    pub(super) at_most: u64,
}

/// A blob that was hashed.
pub(super) struct Hashed {
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

/// Why it was not hashed.
pub(super) enum HashError {
    /// The place or the bucket cannot be read.
    Io(io::Error),
    /// The bucket does not have the chunk of this number any more.
    Lost(u64),
}

impl From<io::Error> for HashError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The digest of a blob so far.
pub(super) struct Hashing {
    blob: Arc<FilledBlob>,
    hasher: Hasher,
    bytes: u64,
    /// So many chunks were told to the blob.
    chunks: u64,
    buffer: Vec<u8>,
    /// The bytes from `bytes` on, from the bucket, and where they end, in the same chunk.
    object: Option<(BoxStream<'static, io::Result<Bytes>>, u64)>,
    /// No other download begins before a thread of this one has ended.
    _writing: OwnedMutexGuard<()>,
}

impl Hashing {
    pub(super) fn new(blob: &Arc<FilledBlob>, start: Start, writing: OwnedMutexGuard<()>) -> Self {
        let Start { hashed, hasher, .. } = start;
        // The last one may be shorter.
        let bytes = if hashed == 0 { 0 } else { blob.layout().slice(hashed - 1).end };
        let (blob, buffer) = (Arc::clone(blob), Vec::new());
        Self { blob, hasher, bytes, chunks: hashed, buffer, object: None, _writing: writing }
    }

    /// Hashes all bytes that come until `received` is true. The blob gets to know each chunk that was hashed.
    ///
    /// # Errors
    /// See [`HashError`].
    pub(super) async fn run(mut self, mut received: watch::Receiver<bool>) -> Result<Hashed, HashError> {
        loop {
            // Looked at first: all bytes are there by then.
            let is_end = *received.borrow();
            if self.bytes < self.blob.written() {
                self = self.advance().await?;
            } else if is_end {
                return Ok(Hashed { bytes: self.bytes, digest: self.hasher.finish() });
            } else {
                tokio::select! {
                    () = self.blob.written_beyond(self.bytes) => {}
                    // The sender tells it before it is gone.
                    _ = received.changed() => {}
                }
            }
        }
    }

    /// Hashes some of the bytes that are there.
    async fn advance(self) -> Result<Self, HashError> {
        if self.object.is_some() {
            return self.hash_object().await;
        }
        let before = self.bytes;
        let this = self.in_thread(Self::hash_place).await?;
        if this.bytes > before { Ok(this) } else { this.hash_object().await }
    }

    /// Does work that would keep a client's thread busy.
    async fn in_thread(
        mut self,
        work: impl FnOnce(&mut Self) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, HashError> {
        let worked = tokio::task::spawn_blocking(move || work(&mut self).map(|()| self));
        Ok(worked.await.map_err(io::Error::other)??)
    }

    /// Hashes what the place has, up to the first byte that it does not have.
    fn hash_place(&mut self) -> io::Result<()> {
        let begin = self.bytes;
        loop {
            let (layout, written) = (self.blob.layout(), self.blob.written());
            let end = layout.slice(layout.number(self.bytes)).end.min(written);
            let len = end.saturating_sub(self.bytes).min(READ_BYTES);
            if len == 0 || self.bytes - begin >= AT_ONCE {
                return Ok(());
            }
            // Copied first, because connections write into the same chunk meanwhile.
            self.buffer.resize(usize::try_from(len).unwrap_or_default(), 0);
            match self.blob.place() {
                Place::File(file) => file.read_exact_at(&mut self.buffer, self.bytes)?,
                Place::Memory(window) => {
                    let buffer = &mut self.buffer;
                    let read = window.read(self.bytes, len, |bytes| {
                        buffer.truncate(bytes.len());
                        buffer.copy_from_slice(bytes);
                    });
                    if read.is_none() || self.buffer.is_empty() {
                        return Ok(());
                    }
                }
            }
            self.hasher.update(&self.buffer);
            self.add(self.buffer.len());
        }
    }

    /// Hashes the next bytes of a chunk that only the bucket has.
    async fn hash_object(mut self) -> Result<Self, HashError> {
        let (mut stream, end) = if let Some(open) = self.object.take() {
            open
        } else {
            let layout = self.blob.layout();
            let number = layout.number(self.bytes);
            let end = layout.slice(number).end.min(self.blob.written());
            let opened = self.blob.stream_chunk(Slice { start: self.bytes, end }).await?;
            (opened.ok_or(HashError::Lost(number))?, end)
        };
        let (mut pieces, mut len) = (Vec::new(), 0);
        while len < READ_BYTES && self.bytes + len < end {
            let piece = stream.next().await.transpose()?;
            let piece = piece.ok_or_else(|| io::Error::other("the bucket sent less of a chunk than it said"))?;
            len += piece.len() as u64;
            pieces.push(piece);
        }
        self.object = (self.bytes + len < end).then_some((stream, end));
        self.in_thread(move |this| {
            for piece in pieces {
                this.hasher.update(&piece);
                this.add(piece.len());
            }
            Ok(())
        })
        .await
    }

    /// Counts bytes that were hashed, and tells how many chunks that are, if it is one more.
    fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        let layout = self.blob.layout();
        let is_end = layout.size == Some(self.bytes);
        let chunks = if is_end { layout.count(self.bytes) } else { layout.number(self.bytes) };
        if chunks > self.chunks {
            self.chunks = chunks;
            self.blob.hashed(chunks, &self.hasher);
        }
    }
}
