//! The memory for blobs that are being filled: one budget in bytes for all fills of the process (`proxy.fill.memory`).
//!
//! It is reserved in blocks: a chunk of a large blob, or all of a small one. A block whose bytes the bucket has, and
//! which were hashed, is kept for clients as long as no fill needs its memory. The reservation goes with the bytes: it
//! ends when the last request that sends them is gone, too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use super::bucket_readers::BucketReaders;
use super::pool::Pool;
use crate::fair_semaphore::{FairPermit, FairSemaphore};
use crate::oci::Digest;
use crate::telemetry::FillMemory;

/// More memory makes no fill faster: eight connections work on four chunks of 16 MiB, while others are stored.
const MOST: u64 = 192 << 20;
/// Blobs of up to so many bytes, images' configurations above all, do not wait behind chunks: they have a budget of
/// their own beside the other, which is four times as large.
const SMALL: u64 = 1 << 20;

/// The budget, and the blocks that can be given up.
#[derive(Debug)]
pub(super) struct Memory {
    permits: Arc<FairSemaphore<Digest>>,
    /// The most bytes that one fill has: three quarters, so that another one can always begin, and no more than make it
    /// faster.
    most: u64,
    /// Blocks that may be given up, the oldest first; no more than the budget has.
    evictable: Mutex<VecDeque<Arc<Block>>>,
    pool: Pool,
    in_use: FillMemory,
    /// The budget of small blobs.
    small: Option<Arc<Self>>,
    /// The way to the bytes that memory does not have any more.
    bucket_readers: BucketReaders,
}

/// The bytes of a chunk, or of a small blob.
#[derive(Debug)]
pub(super) struct Block {
    /// The blob whose memory it is.
    holder: Digest,
    memory: Arc<Memory>,
    content: RwLock<Content>,
}

#[derive(Debug)]
enum Content {
    /// Some of the bytes are there.
    Filling(Buffer),
    /// All are, and never change again.
    Whole(Arc<Buffer>),
    /// It was given up.
    Gone,
}

/// Bytes, and the reservation of their memory.
#[derive(Debug)]
struct Buffer {
    /// From the pool.
    bytes: Vec<u8>,
    /// So many were asked for.
    size: usize,
    /// So many of them are used.
    len: usize,
    memory: Arc<Memory>,
    permit: Option<FairPermit<Digest>>,
}

/// What is kept of a block that is whole.
struct Shared(Arc<Buffer>);

impl Memory {
    /// A budget of so many bytes, and how much of it is in use.
    pub(super) fn new(bytes: u64, in_use: FillMemory) -> Arc<Self> {
        let small = SMALL.min(bytes / 32);
        in_use.limit(bytes + 4 * small);
        let small = Self::with((4 * small, small), None, in_use.clone());
        Self::with((bytes, (bytes / 4 * 3).min(MOST)), Some(small), in_use)
    }

    fn with((bytes, most): (u64, u64), small: Option<Arc<Self>>, in_use: FillMemory) -> Arc<Self> {
        let [all, of_one] = [bytes, most].map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let (permits, bucket_readers) = (FairSemaphore::new(all, of_one), BucketReaders::default());
        Arc::new(Self {
            permits,
            most,
            evictable: Mutex::default(),
            pool: Pool::new(all),
            in_use,
            small,
            bucket_readers,
        })
    }

    /// The most bytes that one fill can have.
    pub(super) const fn most(&self) -> u64 {
        self.most
    }

    pub(super) const fn bucket_readers(&self) -> &BucketReaders {
        &self.bucket_readers
    }

    /// A block of `len` bytes for a blob, if there is memory for it now, or other blocks can be given up for it.
    pub(super) fn block_now(self: &Arc<Self>, holder: Digest, len: u64) -> Option<Arc<Block>> {
        let small = self.small.as_ref().and_then(|small| small.block_now(holder, len));
        if small.is_some() {
            return small;
        }
        let wanted = usize::try_from(len).ok().filter(|_| len <= self.most)?;
        // An empty blob takes no memory from others, even where they wait for some.
        if wanted == 0 {
            return Some(Block::new(holder, Buffer::new(self, 0, None)));
        }
        loop {
            if let Some(permit) = self.permits.take_now(&holder, wanted) {
                return Some(Block::new(holder, Buffer::new(self, wanted, Some(permit))));
            }
            // Not more than one can have: all of its own would go for nothing.
            let may_hold = self.permits.may_hold(&holder, wanted);
            if !self.evict_one(&holder, may_hold) {
                return None;
            }
        }
    }

    /// Whether a fill waits for memory, and can have it.
    pub(super) fn is_wanted(&self) -> bool {
        self.permits.next_holder().is_some()
    }

    /// Waits for the memory of a block; for ever, if no fill can have so much.
    pub(super) async fn reserve(&self, holder: &Digest, len: u64) -> FairPermit<Digest> {
        let Some(len) = usize::try_from(len).ok().filter(|_| len <= self.most) else {
            return std::future::pending().await;
        };
        let mut granted = std::pin::pin!(self.permits.take(holder, len));
        // It is in the queue before blocks are given up for it: no block can become evictable unseen in between.
        if let std::task::Poll::Ready(permit) = futures_util::poll!(&mut granted) {
            return permit;
        }
        self.evict_for_waiting();
        granted.await
    }

    /// A block whose memory was reserved.
    pub(super) fn block(self: &Arc<Self>, holder: Digest, len: u64, memory: FairPermit<Digest>) -> Arc<Block> {
        Block::new(holder, Buffer::new(self, usize::try_from(len).unwrap_or_default(), Some(memory)))
    }

    /// The bucket has the block, and it was hashed: it is kept until a fill needs its memory.
    pub(super) fn may_evict(block: Arc<Block>) {
        let memory = Arc::clone(&block.memory);
        let mut evictable = memory.evictable();
        evictable.retain(|other| other.is_there() && !Arc::ptr_eq(other, &block));
        evictable.push_back(block);
        drop(evictable);
        memory.evict_for_waiting();
    }

    /// Gives up blocks as long as fills wait that can have their memory. To be called whenever more blocks can be given
    /// up, or more requests can have memory.
    fn evict_for_waiting(&self) {
        while let Some(holder) = self.permits.next_holder() {
            if !self.evict_one(&holder, true) {
                return;
            }
        }
    }

    /// Gives up the oldest block: one of the holder's own if there is any, or else `of_others`. `false`: there is none.
    fn evict_one(&self, holder: &Digest, of_others: bool) -> bool {
        let mut evictable = self.evictable();
        evictable.retain(|block| block.is_there());
        let own = evictable.iter().position(|block| block.holder == *holder);
        let oldest = own.or_else(|| of_others.then_some(0));
        let given = oldest.and_then(|oldest| evictable.remove(oldest));
        drop(evictable);
        given.is_some_and(|block| {
            block.give_up();
            true
        })
    }

    fn evictable(&self) -> MutexGuard<'_, VecDeque<Arc<Block>>> {
        self.evictable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    fn new(memory: &Arc<Memory>, size: usize, permit: Option<FairPermit<Digest>>) -> Self {
        memory.in_use.take(size);
        Self { bytes: memory.pool.take(size), size, len: size, memory: Arc::clone(memory), permit }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.memory.pool.give_back(std::mem::take(&mut self.bytes), self.size);
        self.memory.in_use.give_back(self.size);
        if self.permit.take().is_some() {
            // Its holder may wait for more, which it can have now.
            self.memory.evict_for_waiting();
        }
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Block {
    fn new(holder: Digest, buffer: Buffer) -> Arc<Self> {
        let (memory, len) = (Arc::clone(&buffer.memory), buffer.len);
        let block = Self { holder, memory, content: RwLock::new(Content::Filling(buffer)) };
        if len == 0 {
            block.end(0);
        }
        Arc::new(block)
    }

    /// Writes bytes; `false` if it was given up, is whole, or is not so long.
    pub(super) fn write(&self, offset: u64, pieces: &[Bytes]) -> bool {
        let mut content = self.content_mut();
        let Content::Filling(buffer) = &mut *content else {
            return false;
        };
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        for piece in pieces {
            let end = at.saturating_add(piece.len());
            let Some(target) = buffer.bytes.get_mut(at..end).filter(|_| end <= buffer.len) else {
                return false;
            };
            target.copy_from_slice(piece);
            at = end;
        }
        true
    }

    /// All of it was written, which is at most `len` bytes, and never changes again.
    pub(super) fn end(&self, len: u64) {
        let mut content = self.content_mut();
        *content = match std::mem::replace(&mut *content, Content::Gone) {
            Content::Filling(mut buffer) => {
                buffer.len = buffer.len.min(usize::try_from(len).unwrap_or(usize::MAX));
                Content::Whole(Arc::new(buffer))
            }
            other => other,
        };
    }

    /// Passes at most `len` bytes from `offset` on to `read`; `None` if it was given up. The caller knows which bytes
    /// were written.
    pub(super) fn read<T>(&self, offset: u64, len: u64, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let content = self.content();
        let bytes = match &*content {
            Content::Filling(buffer) => buffer.bytes(),
            Content::Whole(buffer) => buffer.bytes(),
            Content::Gone => return None,
        };
        let start = usize::try_from(offset).ok()?;
        let end = usize::try_from(offset.saturating_add(len)).unwrap_or(usize::MAX).min(bytes.len());
        bytes.get(start..end).map(read)
    }

    /// All bytes, without a copy of them, once it is whole. They keep their memory reserved until they are dropped.
    pub(super) fn whole(&self) -> Option<Bytes> {
        match &*self.content() {
            Content::Whole(buffer) => Some(Bytes::from_owner(Shared(Arc::clone(buffer)))),
            Content::Filling(_) | Content::Gone => None,
        }
    }

    /// It was not given up.
    pub(super) fn is_there(&self) -> bool {
        !matches!(*self.content(), Content::Gone)
    }

    /// Returns the memory.
    pub(super) fn give_up(&self) {
        let content = std::mem::replace(&mut *self.content_mut(), Content::Gone);
        // Not under the lock, because others may get the memory.
        drop(content);
    }

    fn content(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn content_mut(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }
}
