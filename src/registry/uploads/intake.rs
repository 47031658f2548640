//! From a body to parts, within the memory that all pushes share.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Incoming;
use super::buffer::Buffer;
use crate::oci::{Error, Hasher};

/// Cuts a body into parts of the size that is asked for, whatever the sizes in which it comes: some stores take no
/// others (Cloudflare R2).
///
/// The memory of a part is reserved at once, before its first byte is kept. A request that waits for memory thus holds
/// only parts that are on their way to the bucket, which end by themselves: no two requests wait for each other.
pub(super) struct Intake {
    incoming: Incoming,
    rest: Buffer,
    /// The end of a piece that did not fit into the part before.
    waiting: Option<Bytes>,
    /// In bytes.
    memory: Arc<Semaphore>,
    /// What is reserved for the part that is collected, and not used yet.
    reserved: Option<OwnedSemaphorePermit>,
}

impl Intake {
    pub(super) fn new(incoming: Incoming, memory: Arc<Semaphore>) -> Self {
        Self {
            incoming,
            rest: Buffer::default(),
            waiting: None,
            memory,
            reserved: None,
        }
    }

    /// Reserves memory for `kept` bytes that are about to be put in front of the body, and for the part of `len` bytes
    /// that they begin.
    pub(super) async fn reserve_for(&mut self, kept: u64, len: u64) {
        let coming = self.incoming.left().unwrap_or(u64::MAX);
        let bytes = kept.max(len.min(kept.saturating_add(coming)));
        self.reserve(bytes).await;
    }

    /// Puts bytes in front of the body, for which memory [is reserved](Self::reserve_for).
    pub(super) async fn put_in_front(&mut self, bytes: Bytes) {
        self.keep(bytes, 0).await;
    }

    /// The next part, of exactly `len` bytes, once there are bytes behind it; or `None` at the end of the body, when
    /// [`end`](Self::end) has the rest, of at most `len` bytes.
    pub(super) async fn part(&mut self, len: u64) -> Result<Option<Buffer>, Error> {
        loop {
            let missing = len.saturating_sub(self.rest.len());
            let more = self.rest.len() > len || self.waiting.is_some();
            if missing == 0 && more {
                return Ok(Some(self.rest.take(len)));
            }
            let mut piece = match self.waiting.take() {
                Some(piece) => piece,
                None => match self.incoming.next().await? {
                    Some(piece) => piece,
                    None => return Ok(None),
                },
            };
            if piece.len() as u64 > missing {
                // Less than a piece is long.
                let fits = usize::try_from(missing).unwrap_or(usize::MAX);
                self.waiting = Some(piece.split_off(fits));
            }
            if !piece.is_empty() {
                self.keep(piece, missing).await;
            }
        }
    }

    /// Adds a piece to the part, of which `missing` bytes are missing.
    async fn keep(&mut self, piece: Bytes, missing: u64) {
        let len = piece.len() as u64;
        let reserved = self.reserved.as_ref();
        if reserved.is_none_or(|reserved| (reserved.num_permits() as u64) < len) {
            let waiting = self.waiting.as_ref().map_or(0, Bytes::len) as u64;
            let coming = self.incoming.left().unwrap_or(u64::MAX);
            let coming = coming.saturating_add(len + waiting);
            self.reserve(missing.min(coming).max(len)).await;
        }
        let reserved = self.reserved.as_mut();
        if let Some(room) = reserved.and_then(|it| it.split(piece.len())) {
            self.rest.push(piece, room);
        }
    }

    /// Waits for memory. The semaphore is never closed, so there is some in the end.
    async fn reserve(&mut self, bytes: u64) {
        self.reserved = None;
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let memory = Arc::clone(&self.memory).acquire_many_owned(permits);
        self.reserved = memory.await.ok();
        self.incoming.waited();
    }

    /// What is left, how many bytes came in all, and their hasher.
    pub(super) fn end(self) -> (Buffer, u64, Hasher) {
        (self.rest, self.incoming.len, self.incoming.hasher)
    }
}
