//! A blob in the spool: which of it is there, and reading along.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::intervals::Intervals;
use super::readers::Readers;
use super::spool::Spool;
use super::tail_buffer::{TailBuffer, TailBytes};
use crate::registry::blob_part::BlobPart;

/// How many bytes at the end of a blob are held back from those that read up to it until the whole was verified. One
/// byte would make the blob incomplete; so many make sure that a client of a wrong blob cannot unpack it, either:
/// without its last few bytes, a compressed layer would lack only its checksum.
pub(in crate::registry) const HELD_BACK: u64 = 32 << 10;
/// How many bytes are read from the spool at once. A client that stops reading keeps up to three of them in memory: the
/// server takes the next one until it has 64 KiB that it cannot send.
const READ_BYTES: u64 = 32 << 10;

/// A blob that is, or was, being filled.
#[derive(Debug)]
pub(in crate::registry) struct SpooledBlob {
    spool: Arc<Spool>,
    size: Option<u64>,
    watermark: watch::Receiver<Watermark>,
    /// The bytes that are in the spool.
    there: Mutex<Intervals>,
    readers: Arc<Readers>,
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

/// What a client reads of a blob.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Reading {
    /// The part; `None` is the whole.
    pub(in crate::registry) part: Option<BlobPart>,
    /// The client may hold the whole in the end: it gets the last bytes after the digest was verified.
    pub(in crate::registry) verified: bool,
}

impl SpooledBlob {
    pub(super) fn new(
        spool: Arc<Spool>,
        size: Option<u64>,
        kept: Arc<TailBytes>,
    ) -> (Arc<Self>, watch::Sender<Watermark>) {
        let (watermark, watching) = watch::channel(Watermark { written: 0, state: BlobState::Coming });
        let blob = Self {
            spool,
            size,
            watermark: watching,
            there: Mutex::default(),
            readers: Arc::default(),
            tail: Mutex::new(TailBuffer::new(kept)),
        };
        (Arc::new(blob), watermark)
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

    /// The bytes from `start` to `end` are in the spool. Returns how many are there from the beginning without a gap.
    pub(super) fn add(&self, start: u64, end: u64) -> u64 {
        let mut there = self.there();
        there.insert(start, end);
        there.end_from(0)
    }

    /// The positions at which clients wait since `since` or longer.
    pub(super) fn waiting(&self, since: Instant) -> Vec<u64> {
        self.readers.positions(since)
    }

    fn there(&self) -> MutexGuard<'_, Intervals> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The blob, or a part of it, as its bytes come.
    pub(in crate::registry) fn read(self: &Arc<Self>, reading: Reading) -> BoxStream<'static, io::Result<Bytes>> {
        let start = reading.part.map_or(0, |part| part.slice.start);
        stream::try_unfold((Arc::clone(self), start), move |(blob, position)| async move {
            let Some(upto) = blob.readable(position, reading).await? else {
                return Ok(None);
            };
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

    /// Up to where a client may read on from `position`, as soon as that is further; `None` at the end of what it
    /// reads.
    async fn readable(&self, position: u64, reading: Reading) -> io::Result<Option<u64>> {
        let end = reading.part.map(|part| part.slice.end);
        if end.is_some_and(|end| position >= end) {
            return Ok(None);
        }
        let upto = |watermark: &Watermark| self.released(position, watermark, reading).min(end.unwrap_or(u64::MAX));
        let is_verified = |watermark: &Watermark| watermark.state == BlobState::Verified;
        let mut watermark = *self.watermark.borrow();
        if upto(&watermark) <= position || watermark.state == BlobState::Failed {
            let _waiting = self.readers.wait_at(position);
            watermark = self.wait(|watermark| upto(watermark) > position || is_verified(watermark)).await?;
        }
        // A part is of the size that was announced, which is wrong if the blob turns out to have another.
        if let Some(part) = reading.part
            && is_verified(&watermark)
            && watermark.written != part.of
        {
            return Err(io::Error::other("the blob has another size than was said"));
        }
        Ok(Some(upto(&watermark)).filter(|upto| *upto > position))
    }

    /// Up to where the bytes from `position` on may be read.
    fn released(&self, position: u64, watermark: &Watermark, reading: Reading) -> u64 {
        let there = if position < watermark.written { watermark.written } else { self.there().end_from(position) };
        if watermark.state == BlobState::Verified {
            return there;
        }
        match self.size {
            Some(_) if !reading.verified => there,
            Some(size) => there.min(size.saturating_sub(HELD_BACK)),
            // Any byte may be among the last, and of a part only a manifest says where they are.
            None => there.min(reading.part.map_or(u64::MAX, |part| part.of)).saturating_sub(HELD_BACK),
        }
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
