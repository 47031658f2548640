//! From a body to parts, within the memory that all pushes share.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::Incoming;
use super::buffer::Buffer;
use crate::oci::{Error, Hasher};

/// S3's least size of a part that is not the last, in bytes.
pub(super) const MIN_PART: u64 = 5 << 20;

/// Cuts a body into parts.
pub(super) struct Intake {
    incoming: Incoming,
    rest: Buffer,
    /// A piece for which there was no room yet.
    waiting: Option<Bytes>,
    /// In bytes.
    memory: Arc<Semaphore>,
    /// What must be left behind a part.
    left_over: u64,
}

impl Intake {
    /// Behind each part there are at least `left_over` bytes, as long as there is memory.
    pub(super) fn new(
        incoming: Incoming,
        rest: Buffer,
        memory: Arc<Semaphore>,
        left_over: u64,
    ) -> Self {
        Self {
            incoming,
            rest,
            waiting: None,
            memory,
            left_over,
        }
    }

    /// The next part, of `len` bytes; or `None` at the end of the body, when [`end`](Self::end) has what
    /// is left.
    ///
    /// Where memory is short, what there is becomes a part, if it is enough for one: whoever waits for
    /// memory then holds less than that, and together less than there is.
    pub(super) async fn part(&mut self, len: u64) -> Result<Option<Buffer>, Error> {
        loop {
            if self.rest.len() >= len + self.left_over {
                return Ok(Some(self.rest.take(len)));
            }
            let piece = match self.waiting.take() {
                Some(piece) => piece,
                None => match self.incoming.next().await? {
                    Some(piece) => piece,
                    None => return Ok(None),
                },
            };
            match try_take(&self.memory, piece.len()) {
                Some(room) => self.rest.push(piece, room),
                None if self.rest.len() >= MIN_PART => {
                    self.waiting = Some(piece);
                    return Ok(Some(self.rest.take(u64::MAX)));
                }
                None => {
                    let room = take(&self.memory, piece.len()).await;
                    self.incoming.waited();
                    if let Some(room) = room {
                        self.rest.push(piece, room);
                    }
                }
            }
        }
    }

    /// What is left, how many bytes came in all, and their hasher.
    pub(super) fn end(self) -> (Buffer, u64, Hasher) {
        (self.rest, self.incoming.len, self.incoming.hasher)
    }
}

fn permits(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn try_take(memory: &Arc<Semaphore>, len: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(memory).try_acquire_many_owned(permits(len)).ok()
}

/// Waits for room. The semaphore is never closed, so there is always some in the end.
pub(super) async fn take(memory: &Arc<Semaphore>, len: usize) -> Option<OwnedSemaphorePermit> {
    Arc::clone(memory)
        .acquire_many_owned(permits(len))
        .await
        .ok()
}
