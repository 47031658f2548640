//! The memory for blobs that are being filled: one budget in bytes for all fills of the process (`proxy.fill.memory`).
//!
//! It is reserved in blocks: a chunk of a large blob, or all of a small one. A block whose bytes the bucket has, and which
//! were hashed, is kept for clients as long as no fill needs its memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::{Bytes, BytesMut};

use crate::fair_semaphore::{FairPermit, FairSemaphore};
use crate::oci::Digest;

/// More memory makes no fill faster: eight connections work on four chunks of 16 MiB, while others are stored.
const MOST: u64 = 192 << 20;

/// The budget, and the blocks that can be given up.
#[derive(Debug)]
pub(super) struct Memory {
    permits: Arc<FairSemaphore<Digest>>,
    /// The most bytes that one fill has: three quarters, so that another one can always begin, and no more than make it
    /// faster.
    most: u64,
    /// Blocks that may be given up, the oldest first; no more than the budget has.
    spare: Mutex<VecDeque<Arc<Block>>>,
}

/// The bytes of a chunk, or of a small blob.
#[derive(Debug)]
pub(super) struct Block {
    /// The blob whose memory it is.
    holder: Digest,
    len: u64,
    content: RwLock<Content>,
}

#[derive(Debug)]
enum Content {
    /// Some of the bytes are there. Memory that was not written yet is none: the system gives it page by page.
    Filling { bytes: BytesMut, memory: Option<FairPermit<Digest>> },
    /// All are, and never change again.
    Whole { bytes: Bytes, _memory: Option<FairPermit<Digest>> },
    /// It was given up.
    Gone,
}

impl Memory {
    /// A budget of so many bytes.
    pub(super) fn new(bytes: u64) -> Arc<Self> {
        let most = (bytes / 4 * 3).min(MOST);
        let [all, of_one] = [bytes, most].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Arc::new(Self { permits: FairSemaphore::new(all, of_one), most, spare: Mutex::default() })
    }

    /// The most bytes that one fill can have.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    /// A block of `len` bytes for a blob, if there is memory for it now, or other blocks can be given up for it.
    pub(super) fn block_now(self: &Arc<Self>, holder: Digest, len: u64) -> Option<Arc<Block>> {
        let wanted = usize::try_from(len).ok().filter(|_| len <= self.most)?;
        // An empty blob takes no memory from others, even where they wait for some.
        if wanted == 0 {
            return Some(Block::new(holder, None, BytesMut::new()));
        }
        loop {
            if let Some(memory) = self.permits.take_now(&holder, wanted) {
                return Some(Block::new(holder, Some(memory), BytesMut::zeroed(wanted)));
            }
            if !self.give_up(&holder, wanted) {
                return None;
            }
        }
    }

    /// Waits for the memory of a block.
    pub(super) async fn reserve(&self, holder: &Digest, len: u64) -> FairPermit<Digest> {
        // A longer block than a fill can have waits for no memory: `block_now` refused it.
        self.permits.take(holder, usize::try_from(len.min(self.most)).unwrap_or(usize::MAX)).await
    }

    /// A block whose memory was reserved.
    pub(super) fn block(holder: Digest, len: u64, memory: FairPermit<Digest>) -> Arc<Block> {
        Block::new(holder, Some(memory), BytesMut::zeroed(usize::try_from(len).unwrap_or_default()))
    }

    /// The bucket has the block, and it was hashed: it is kept until a fill needs its memory.
    pub(super) fn offer(&self, block: Arc<Block>) {
        if self.permits.is_wanted_by_others(&block.holder) {
            return block.give_up();
        }
        let mut spare = self.spare();
        spare.retain(|block| block.is_there());
        spare.push_back(block);
    }

    /// Gives up the oldest block: one of the holder's own if there is any, and no other if the holder cannot have more
    /// than it has. `false`: there is none.
    fn give_up(&self, holder: &Digest, wanted: usize) -> bool {
        let mut spare = self.spare();
        spare.retain(|block| block.is_there());
        let own = spare.iter().position(|block| block.holder == *holder);
        let oldest = own.or_else(|| self.permits.may_hold(holder, wanted).then_some(0));
        let given = oldest.and_then(|oldest| spare.remove(oldest));
        drop(spare);
        given.is_some_and(|block| {
            block.give_up();
            true
        })
    }

    fn spare(&self) -> MutexGuard<'_, VecDeque<Arc<Block>>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Block {
    fn new(holder: Digest, memory: Option<FairPermit<Digest>>, bytes: BytesMut) -> Arc<Self> {
        let len = bytes.len() as u64;
        let content = RwLock::new(Content::Filling { bytes, memory });
        let block = Self { holder, len, content };
        if len == 0 {
            block.end();
        }
        Arc::new(block)
    }

    /// Writes bytes; `false` if it was given up, is whole, or is not so long.
    pub(super) fn write(&self, offset: u64, pieces: &[Bytes]) -> bool {
        let mut content = self.content_mut();
        let Content::Filling { bytes, .. } = &mut *content else {
            return false;
        };
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        for piece in pieces {
            let Some(target) = bytes.get_mut(at..at.saturating_add(piece.len())) else {
                return false;
            };
            target.copy_from_slice(piece);
            at += piece.len();
        }
        true
    }

    /// All of it was written, and never changes again.
    pub(super) fn end(&self) {
        let mut content = self.content_mut();
        if let Content::Filling { bytes, memory, .. } = &mut *content {
            *content = Content::Whole { bytes: std::mem::take(bytes).freeze(), _memory: memory.take() };
        }
    }

    /// Passes at most `len` bytes from `offset` on to `read`; `None` if it was given up. The caller knows which bytes
    /// were written.
    pub(super) fn read<T>(&self, offset: u64, len: u64, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let content = self.content();
        let bytes: &[u8] = match &*content {
            Content::Filling { bytes, .. } => bytes,
            Content::Whole { bytes, .. } => bytes,
            Content::Gone => return None,
        };
        let start = usize::try_from(offset).ok()?;
        let end = usize::try_from(offset.saturating_add(len).min(self.len)).ok()?;
        bytes.get(start..end).map(read)
    }

    /// All bytes, without a copy of them, once it is whole. What is kept of them outlives the reservation.
    pub(super) fn whole(&self) -> Option<Bytes> {
        match &*self.content() {
            Content::Whole { bytes, .. } => Some(bytes.clone()),
            Content::Filling { .. } | Content::Gone => None,
        }
    }

    /// It was not given up.
    pub(super) fn is_there(&self) -> bool {
        !matches!(*self.content(), Content::Gone)
    }

    /// Returns the memory.
    pub(super) fn give_up(&self) {
        let content = std::mem::replace(&mut *self.content_mut(), Content::Gone);
        drop(content);
    }

    fn content(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn content_mut(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}
