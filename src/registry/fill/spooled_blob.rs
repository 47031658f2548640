//! A blob in the spool: how much of it is there, and reading along.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::spool::Spool;
use super::tail_buffer::{TailBuffer, TailBytes};
use crate::oci::Slice;
use crate::registry::blob_part::BlobPart;

/// How many bytes at the end of a blob are held back until the whole was verified. One byte would make the blob
/// incomplete; so many make sure that a client of a wrong blob cannot unpack it, either: without its last few bytes, a
/// compressed layer would lack only its checksum.
pub(in crate::registry) const HELD_BACK: u64 = 32 << 10;
/// A client waits for a range that begins at most so many bytes after the watermark.
const NEAR: u64 = 4 << 20;
/// How many bytes are read from the spool at once. A client that stops reading keeps up to three of them in memory: the
/// server takes the next one until it has 64 KiB that it cannot send.
const READ_BYTES: u64 = 32 << 10;

/// A blob that is, or was, being filled.
#[derive(Debug)]
pub(in crate::registry) struct SpooledBlob {
    spool: Arc<Spool>,
    size: Option<u64>,
    watermark: watch::Receiver<Watermark>,
    tail: Mutex<TailBuffer>,
}

/// How far a download is, for its readers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watermark {
    /// So many bytes, from the beginning, are in the spool.
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
    /// It will never be whole.
    Failed,
}

impl Watermark {
    /// How many bytes clients may read.
    fn released(self) -> u64 {
        match self.state {
            BlobState::Verified => self.written,
            BlobState::Coming | BlobState::Failed => self.written.saturating_sub(HELD_BACK),
        }
    }
}

impl SpooledBlob {
    pub(super) fn new(
        spool: Arc<Spool>,
        size: Option<u64>,
        kept: Arc<TailBytes>,
    ) -> (Arc<Self>, watch::Sender<Watermark>) {
        let (watermark, watching) = watch::channel(Watermark { written: 0, state: BlobState::Coming });
        (Arc::new(Self { spool, size, watermark: watching, tail: Mutex::new(TailBuffer::new(kept)) }), watermark)
    }

    /// The size that the upstream announced, in bytes.
    pub(in crate::registry) const fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The latest bytes, in memory.
    pub(super) fn tail(&self) -> MutexGuard<'_, TailBuffer> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn written(&self) -> u64 {
        self.watermark.borrow().written
    }

    /// Whether a part is in the spool, or begins where the download will be in a moment.
    pub(in crate::registry) fn is_near(&self, slice: Slice) -> bool {
        let watermark = *self.watermark.borrow();
        watermark.state == BlobState::Verified || slice.start <= watermark.written + NEAR
    }

    /// Waits until more than `bytes` are in the spool; `None` when that is all.
    pub(in crate::registry) async fn beyond(&self, bytes: u64) -> Option<u64> {
        let mut watermark = self.watermark.clone();
        let moved = |watermark: &Watermark| watermark.written > bytes || watermark.state != BlobState::Coming;
        let watermark = *watermark.wait_for(moved).await.ok()?;
        (watermark.written > bytes).then_some(watermark.written)
    }

    /// Waits until `len` bytes from `position` are in the spool, or the blob ends; returns how many of them there are,
    /// and whether the blob ends there. For the uploader, which may have unverified bytes.
    pub(super) async fn available(&self, position: u64, len: u64) -> io::Result<(u64, bool)> {
        let watermark = self
            .wait(|watermark| watermark.written >= position + len || watermark.state == BlobState::Verified)
            .await?;
        let there = (watermark.written - position).min(len);
        let ends = watermark.state == BlobState::Verified && watermark.written == position + there;
        Ok((there, ends))
    }

    /// Waits until the blob was verified, and returns its size.
    pub(in crate::registry) async fn verified(&self) -> io::Result<u64> {
        Ok(self.wait(|watermark| watermark.state == BlobState::Verified).await?.written)
    }

    async fn wait(&self, reached: impl Fn(&Watermark) -> bool) -> io::Result<Watermark> {
        let failed = || io::Error::other("the blob cannot be had whole");
        let mut watermark = self.watermark.clone();
        let reached = watermark.wait_for(|watermark| reached(watermark) || watermark.state == BlobState::Failed).await;
        match reached {
            Ok(watermark) if watermark.state != BlobState::Failed => Ok(*watermark),
            _ => Err(failed()),
        }
    }

    /// The blob, or a part of it, as its bytes are released.
    pub(in crate::registry) fn read(self: &Arc<Self>, part: Option<BlobPart>) -> BoxStream<'static, io::Result<Bytes>> {
        let slice = part.map(|part| part.slice);
        let (start, end) = slice.map_or((0, None), |slice| (slice.start, Some(slice.end)));
        // A part that ends where the blob is said to end waits for the digest.
        let last = part.filter(|part| part.slice.end == part.of);
        let reading = (Arc::clone(self), start);
        stream::try_unfold(reading, move |(blob, position)| async move {
            if end.is_some_and(|end| position >= end) {
                return Ok(None);
            }
            let mut watermark = blob
                .wait(|watermark| watermark.released() > position || watermark.state == BlobState::Verified)
                .await?;
            let mut upto = end.unwrap_or(u64::MAX).min(watermark.released());
            if let Some(part) = last
                && upto == part.of
            {
                watermark = blob.wait(|watermark| watermark.state == BlobState::Verified).await?;
                if watermark.written != part.of {
                    return Err(io::Error::other("the blob has another size than was said"));
                }
                upto = part.of;
            }
            if upto <= position {
                return Ok(None);
            }
            let piece = blob.tail().get(position);
            let bytes = if let Some(piece) = piece {
                // Copied, because a slice would keep all of the buffer that the upstream's bytes came in.
                Bytes::copy_from_slice(&piece[..piece.len().min(piece_len(position, upto))])
            } else {
                blob.piece(position, upto).await?
            };
            let position = position + bytes.len() as u64;
            Ok(Some((bytes, (blob, position))))
        })
        .boxed()
    }

    /// A part of the blob that is already in the spool.
    pub(super) fn read_written(self: &Arc<Self>, start: u64, end: u64) -> BoxStream<'static, io::Result<Bytes>> {
        stream::try_unfold((Arc::clone(self), start), move |(blob, position)| async move {
            if position >= end {
                return Ok(None);
            }
            let bytes = blob.piece(position, end).await?;
            let position = position + bytes.len() as u64;
            Ok(Some((bytes, (blob, position))))
        })
        .boxed()
    }

    async fn piece(&self, position: u64, upto: u64) -> io::Result<Bytes> {
        self.spool.read_at(position, piece_len(position, upto)).await
    }
}

/// How long the next piece is at most: [`READ_BYTES`] fits any usize.
fn piece_len(position: u64, upto: u64) -> usize {
    usize::try_from((upto - position).min(READ_BYTES)).unwrap_or(usize::MAX)
}
