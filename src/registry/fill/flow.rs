//! A blob in the spool: how much of it is there, and how to read along.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::recent::{Kept, Recent};
use super::spool::Spool;
use crate::oci::Slice;
use crate::registry::BlobPart;

/// How many bytes at the end of a blob nobody gets before the whole was verified. One would do; more makes sure that it
/// is not only a compressed stream's checksum that is missing.
pub(in crate::registry) const TAIL: u64 = 32 << 10;
/// A range that begins so close to what is there is waited for.
const NEAR: u64 = 4 << 20;
/// How much is read from the spool at once. A client that stops reading keeps up to three of them in memory: the server
/// takes the next one until it has 64 KiB that it cannot send.
const READ_BYTES: u64 = 32 << 10;

/// A blob that is, or was, being filled.
#[derive(Debug)]
pub(in crate::registry) struct Flow {
    spool: Arc<Spool>,
    size: Option<u64>,
    mark: watch::Receiver<Mark>,
    recent: Mutex<Recent>,
}

/// How far a download is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// So many bytes, from the beginning, are in the spool.
    pub(super) written: u64,
    pub(super) state: State,
}

/// What is known about the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// More may come.
    Coming,
    /// `written` is its size, and its digest is right.
    Verified,
    /// It will never be whole.
    Failed,
}

impl Mark {
    /// How many bytes clients may have.
    fn released(self) -> u64 {
        match self.state {
            State::Verified => self.written,
            State::Coming | State::Failed => self.written.saturating_sub(TAIL),
        }
    }
}

impl Flow {
    pub(super) fn new(spool: Arc<Spool>, size: Option<u64>, kept: Arc<Kept>) -> (Arc<Self>, watch::Sender<Mark>) {
        let (mark, watching) = watch::channel(Mark { written: 0, state: State::Coming });
        (Arc::new(Self { spool, size, mark: watching, recent: Mutex::new(Recent::new(kept)) }), mark)
    }

    /// The size that the upstream announced.
    pub(in crate::registry) const fn size(&self) -> Option<u64> {
        self.size
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// The last bytes that came in order.
    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn written(&self) -> u64 {
        self.mark.borrow().written
    }

    /// Whether a part is in the spool, or begins where the download will be in a moment.
    pub(in crate::registry) fn is_near(&self, slice: Slice) -> bool {
        let mark = *self.mark.borrow();
        mark.state == State::Verified || slice.start <= mark.written + NEAR
    }

    /// Waits until more than `bytes` are in the spool; `None` when that is all.
    pub(in crate::registry) async fn beyond(&self, bytes: u64) -> Option<u64> {
        let mut mark = self.mark.clone();
        let moved = |mark: &Mark| mark.written > bytes || mark.state != State::Coming;
        let mark = *mark.wait_for(moved).await.ok()?;
        (mark.written > bytes).then_some(mark.written)
    }

    /// Waits until `len` bytes from `position` are in the spool, or the blob ends; returns how many of them there are,
    /// and whether the blob ends there. For the uploader, which may have unverified bytes.
    pub(super) async fn available(&self, position: u64, len: u64) -> io::Result<(u64, bool)> {
        let mark = self.wait(|mark| mark.written >= position + len || mark.state == State::Verified).await?;
        let there = (mark.written - position).min(len);
        let ends = mark.state == State::Verified && mark.written == position + there;
        Ok((there, ends))
    }

    /// Waits until the blob was verified, and returns its size.
    pub(in crate::registry) async fn verified(&self) -> io::Result<u64> {
        Ok(self.wait(|mark| mark.state == State::Verified).await?.written)
    }

    async fn wait(&self, reached: impl Fn(&Mark) -> bool) -> io::Result<Mark> {
        let failed = || io::Error::other("the blob cannot be had whole");
        let mut mark = self.mark.clone();
        let reached = mark.wait_for(|mark| reached(mark) || mark.state == State::Failed).await;
        match reached {
            Ok(mark) if mark.state != State::Failed => Ok(*mark),
            _ => Err(failed()),
        }
    }

    /// The blob, or a part of it, as it becomes known to be right.
    pub(in crate::registry) fn read(self: &Arc<Self>, part: Option<BlobPart>) -> BoxStream<'static, io::Result<Bytes>> {
        let slice = part.map(|part| part.slice);
        let (start, end) = slice.map_or((0, None), |slice| (slice.start, Some(slice.end)));
        // From here on, it is the end of the blob that is meant.
        let last = part.filter(|part| part.slice.end == part.of);
        let reading = (Arc::clone(self), start);
        stream::try_unfold(reading, move |(flow, position)| async move {
            if end.is_some_and(|end| position >= end) {
                return Ok(None);
            }
            let mut mark = flow.wait(|mark| mark.released() > position || mark.state == State::Verified).await?;
            let mut upto = end.unwrap_or(u64::MAX).min(mark.released());
            if let Some(part) = last
                && upto == part.of
            {
                mark = flow.wait(|mark| mark.state == State::Verified).await?;
                if mark.written != part.of {
                    return Err(io::Error::other("the blob has another size than was said"));
                }
                upto = part.of;
            }
            if upto <= position {
                return Ok(None);
            }
            let recent = flow.recent().get(position);
            let bytes = if let Some(recent) = recent {
                // Copied, because a slice would keep all of the buffer that the upstream's bytes came in.
                Bytes::copy_from_slice(&recent[..recent.len().min(piece_len(position, upto))])
            } else {
                flow.piece(position, upto).await?
            };
            let position = position + bytes.len() as u64;
            Ok(Some((bytes, (flow, position))))
        })
        .boxed()
    }

    /// A part of the blob that is already in the spool.
    pub(super) fn read_written(self: &Arc<Self>, start: u64, end: u64) -> BoxStream<'static, io::Result<Bytes>> {
        stream::try_unfold((Arc::clone(self), start), move |(flow, position)| async move {
            if position >= end {
                return Ok(None);
            }
            let bytes = flow.piece(position, end).await?;
            let position = position + bytes.len() as u64;
            Ok(Some((bytes, (flow, position))))
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
