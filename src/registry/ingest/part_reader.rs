//! Cuts a body into parts, within the memory that all pushes share.

use bytes::Bytes;

use super::buffer::Buffer;
use super::hashing_body::HashingBody;
use super::permits::{FREE, Pusher};
use crate::fair_semaphore::FairPermit;
use crate::oci::{Error, Hasher};

/// Cuts a body into parts of the size that the caller asks for, whatever the sizes of its pieces, because some stores
/// take only parts of one size (Cloudflare R2).
///
/// The first bytes of a part ([`FREE`]) come with the request's permit; when there are more, the memory of the whole
/// part is reserved at once. So a request that waits for memory holds, besides those bytes, only parts that are on
/// their way to the bucket, which end by themselves: no two requests wait for each other.
pub(in crate::registry) struct PartReader {
    body: HashingBody,
    rest: Buffer,
    /// The end of a piece that did not fit into the part before.
    waiting: Option<Bytes>,
    /// Memory for the part that is being collected, as far as it is not used yet.
    reserved: Option<FairPermit<Pusher>>,
}

impl PartReader {
    pub(in crate::registry) fn new(body: HashingBody) -> Self {
        Self { body, rest: Buffer::default(), waiting: None, reserved: None }
    }

    /// Reserves memory for `kept` bytes that are about to be put in front of the body, and for the part of `len` bytes
    /// that they begin.
    pub(in crate::registry) async fn reserve_for(&mut self, kept: u64, len: u64) {
        let coming = self.body.left().unwrap_or(u64::MAX);
        let bytes = kept.max(len.min(kept.saturating_add(coming)));
        self.reserve(bytes).await;
    }

    /// Puts bytes in front of the body, for which memory [is reserved](Self::reserve_for).
    pub(in crate::registry) async fn put_in_front(&mut self, bytes: Bytes) {
        self.keep(bytes, 0).await;
    }

    /// The next part, of exactly `len` bytes, once there are bytes behind it; or `None` at the end of the body, when
    /// [`end`](Self::end) has the rest, of at most `len` bytes.
    pub(in crate::registry) async fn part(&mut self, len: u64) -> Result<Option<Buffer>, Error> {
        loop {
            let missing = len.saturating_sub(self.rest.len());
            let more = self.rest.len() > len || self.waiting.is_some();
            if missing == 0 && more {
                return Ok(Some(self.rest.take(len)));
            }
            let mut piece = match self.waiting.take() {
                Some(piece) => piece,
                None => match self.body.next().await? {
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
        let reserved = self.reserved.as_ref().map_or(0, FairPermit::amount) as u64;
        if reserved < len {
            let kept = self.rest.len();
            if kept + len <= FREE {
                return self.rest.push(piece, None);
            }
            let waiting = self.waiting.as_ref().map_or(0, Bytes::len) as u64;
            let coming = self.body.left().unwrap_or(u64::MAX);
            let coming = coming.saturating_add(len + waiting);
            let bare = kept - self.rest.reserved();
            self.reserve(bare + missing.min(coming).max(len)).await;
            let reserved = self.reserved.as_mut();
            let bare = usize::try_from(bare).unwrap_or(usize::MAX);
            if let Some(memory) = reserved.and_then(|it| it.split(bare)) {
                self.rest.add_memory(memory);
            }
        }
        let reserved = self.reserved.as_mut();
        let memory = reserved.and_then(|it| it.split(piece.len()));
        self.rest.push(piece, memory);
    }

    /// Waits for memory.
    async fn reserve(&mut self, bytes: u64) {
        self.reserved = None;
        self.reserved = Some(self.body.reserve(bytes).await);
    }

    /// What is left, how many bytes came in all, and their hasher.
    pub(in crate::registry) fn end(self) -> (Buffer, u64, Hasher) {
        (self.rest, self.body.len, self.body.hasher)
    }
}
