//! The part of a blob that is in memory while it is filled: all of a small blob, or some chunks of a large one.
//!
//! A chunk is reserved before its first byte comes. When it is whole, it is sent to the bucket, and when the bucket has it
//! and it was hashed, its memory is given up as soon as this fill, or another one, needs it. So every reservation ends:
//!
//! - A chunk that has begun needs no further memory to become whole, and its bytes come before those of new chunks.
//! - One that is whole is sent, or the fill fails.
//! - The first chunk that is not complete always finds memory: one chunk of the fill's share is kept for it, and chunks
//!   further on that the bucket has are given up for it, although the hasher has to read them back then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use super::chunks::Layout;
use super::memory::{Block, Memory};
use super::plan::NewChunk;
use crate::fair_semaphore::FairPermit;
use crate::oci::Digest;

/// What is in memory of one blob.
#[derive(Debug)]
pub(super) struct Window {
    memory: Arc<Memory>,
    holder: Digest,
    layout: Layout,
    held: Mutex<Held>,
    /// A chunk could not begin because there was no memory for it.
    short: Notify,
}

#[derive(Debug, Default)]
struct Held {
    chunks: BTreeMap<u64, Chunk>,
    /// Memory for the next chunk.
    reserved: Option<FairPermit<Digest>>,
    /// Memory was asked for, and is not there yet.
    waits: bool,
    /// So many chunks were hashed, from the first on.
    hashed: u64,
    is_closed: bool,
}

#[derive(Debug)]
struct Chunk {
    block: Arc<Block>,
    /// Whose bytes it has; nil for a blob that is in memory as a whole.
    generation: Uuid,
    /// The bucket has it.
    is_stored: bool,
}

impl Window {
    /// For a blob of which no chunk is in memory yet.
    pub(super) fn new(memory: &Arc<Memory>, holder: Digest, layout: Layout) -> Self {
        let (memory, held, short) = (Arc::clone(memory), Mutex::default(), Notify::new());
        Self { memory, holder, layout, held, short }
    }

    /// For all of a blob of `size` bytes, if there is memory for it now.
    pub(super) fn whole(memory: &Arc<Memory>, holder: Digest, size: u64) -> Option<Self> {
        let block = memory.block_now(holder, size)?;
        let window = Self::new(memory, holder, Layout { size: Some(size), chunk: size.max(1) });
        window.held().chunks.insert(0, Chunk { block, generation: Uuid::nil(), is_stored: false });
        Some(window)
    }

    /// Whether a chunk has memory, which is reserved now if there is any, for the bytes that this generation receives.
    pub(super) fn may_begin(&self, new: NewChunk, generation: Uuid) -> bool {
        let mut held = self.held();
        if held.is_closed {
            return false;
        }
        held.chunks.retain(|_, chunk| chunk.block.is_there());
        if held.chunks.contains_key(&new.number) {
            return true;
        }
        let share = (self.memory.most() / self.layout.chunk).max(1);
        if new.number != new.lowest && !held.may_begin_ahead(new, share) {
            return false;
        }
        let slice = self.layout.slice(new.number);
        let len = slice.end - slice.start;
        let mut block = held.block(&self.memory, self.holder, len);
        if block.is_none() && new.number == new.lowest && held.give_up_furthest(new.number) {
            block = held.block(&self.memory, self.holder, len);
        }
        let Some(block) = block else {
            if !held.waits {
                held.waits = true;
                self.short.notify_one();
            }
            return false;
        };
        held.chunks.insert(new.number, Chunk { block, generation, is_stored: false });
        true
    }

    /// Whether a chunk waits for memory.
    pub(super) fn is_short(&self) -> bool {
        self.held().waits
    }

    /// Waits until a chunk waits for memory, and then for that memory.
    pub(super) async fn more(&self) {
        self.short.notified().await;
        let memory = self.memory.reserve(&self.holder, self.layout.chunk).await;
        let mut held = self.held();
        held.waits = false;
        if !held.is_closed {
            held.reserved = Some(memory);
        }
    }

    /// Writes bytes of one chunk, for which this generation reserved memory; `false` if it did not.
    pub(super) fn write(&self, generation: Uuid, position: u64, pieces: &[Bytes]) -> bool {
        self.block(position).is_some_and(|(block, offset, of)| {
            let is_its = of == generation || of.is_nil();
            is_its && block.write(offset, pieces)
        })
    }

    /// The generation whose bytes a chunk in memory has.
    pub(super) fn generation(&self, number: u64) -> Option<Uuid> {
        self.held().chunks.get(&number).map(|chunk| chunk.generation)
    }

    /// Passes at most `len` bytes from `position` on, of one chunk, to `read`; `None` if they are not in memory. The
    /// caller knows which bytes were written.
    pub(super) fn read<T>(&self, position: u64, len: u64, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let (block, offset, _) = self.block(position)?;
        block.read(offset, len, read)
    }

    /// [`read`](Self::read), and the generation whose bytes they are.
    pub(super) fn read_of<T>(&self, position: u64, len: u64, read: impl FnOnce(&[u8]) -> T) -> Option<(T, Uuid)> {
        let (block, offset, generation) = self.block(position)?;
        block.read(offset, len, read).map(|read| (read, generation))
    }

    /// All bytes of a chunk, once it is whole.
    pub(super) fn chunk(&self, number: u64) -> Option<Bytes> {
        let block = Arc::clone(&self.held().chunks.get(&number)?.block);
        block.whole()
    }

    /// Gives up all chunks, because another generation begins. The download that they belong to has ended.
    pub(super) fn clear(&self) {
        let mut held = self.held();
        // It may have waited for memory.
        (held.waits, held.reserved, held.hashed) = (false, None, 0);
        for chunk in std::mem::take(&mut held.chunks).into_values() {
            chunk.block.give_up();
        }
    }

    /// All of a chunk was written.
    pub(super) fn end(&self, number: u64) {
        let block = self.held().chunks.get(&number).map(|chunk| Arc::clone(&chunk.block));
        if let Some(block) = block {
            block.end();
        }
    }

    /// The bucket has a chunk.
    pub(super) fn stored(&self, number: u64) {
        let mut held = self.held();
        if let Some(chunk) = held.chunks.get_mut(&number) {
            chunk.is_stored = true;
        }
        if number < held.hashed {
            self.offer(&mut held, number);
        }
    }

    /// The first `chunks` chunks were hashed.
    pub(super) fn hashed(&self, chunks: u64) {
        let mut held = self.held();
        let before = std::mem::replace(&mut held.hashed, chunks);
        let stored = held.chunks.range(before..chunks).filter(|(_, chunk)| chunk.is_stored);
        for number in stored.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.offer(&mut held, number);
        }
    }

    /// A chunk is needed no more but for clients, which find it in the bucket, too.
    fn offer(&self, held: &mut Held, number: u64) {
        if held.waits {
            held.give_up(number);
        } else if let Some(chunk) = held.chunks.get(&number) {
            self.memory.offer(Arc::clone(&chunk.block));
        }
    }

    /// The bucket has all of the blob.
    pub(super) fn release(&self) {
        let mut held = self.held();
        held.reserved = None;
        for chunk in held.chunks.values_mut().filter(|chunk| !chunk.is_stored) {
            chunk.is_stored = true;
            self.memory.offer(Arc::clone(&chunk.block));
        }
    }

    /// Returns all memory, and takes none any more.
    pub(super) fn close(&self) {
        let mut held = self.held();
        held.is_closed = true;
        held.reserved = None;
        for chunk in std::mem::take(&mut held.chunks).into_values() {
            chunk.block.give_up();
        }
    }

    /// The block that a position is in, where in it, and whose bytes it has.
    fn block(&self, position: u64) -> Option<(Arc<Block>, u64, Uuid)> {
        let number = self.layout.number(position);
        let held = self.held();
        let chunk = held.chunks.get(&number)?;
        Some((Arc::clone(&chunk.block), position - self.layout.slice(number).start, chunk.generation))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Blocks that can be given up are known to the memory, too.
        self.close();
    }
}

impl Held {
    /// Whether a chunk may begin although the lowest one is not complete: that one still finds memory then, and chunks
    /// that are not next take half of the share.
    fn may_begin_ahead(&mut self, new: NewChunk, share: u64) -> bool {
        let is_far = |number: u64| number >= new.lowest.saturating_add(share);
        let busy = |held: &Self| {
            let busy = held.chunks.iter().filter(|(number, chunk)| !chunk.is_stored || **number >= held.hashed);
            let busy: Vec<_> = busy.map(|(number, _)| *number).collect();
            let far = busy.iter().filter(|number| is_far(**number)).count() as u64;
            (busy.len() as u64, far)
        };
        let kept = u64::from(!self.chunks.contains_key(&new.lowest));
        if kept > 0 && (self.waits || self.reserved.is_some()) {
            return false;
        }
        loop {
            let (all, far) = busy(self);
            let is_free = all + kept < share && (!is_far(new.number) || far < share / 2);
            // The hasher reads back what is given up: one more request for the chunk.
            if is_free || share < 2 || !is_far(new.number) || !self.give_up_furthest(new.number) {
                return is_free;
            }
        }
    }

    /// A block, if there is memory for it now.
    fn block(&mut self, memory: &Arc<Memory>, holder: Digest, len: u64) -> Option<Arc<Block>> {
        match self.reserved.take() {
            Some(reserved) => Some(Memory::block(holder, len, reserved)),
            // What comes next is this fill's already.
            None if self.waits => None,
            None => memory.block_now(holder, len),
        }
    }

    /// Gives up the last chunk but `except` that the bucket has and that was not hashed; `false` if there is none.
    fn give_up_furthest(&mut self, except: u64) -> bool {
        let unhashed = self.chunks.range(self.hashed..).rev();
        let mut stored = unhashed.filter(|(number, chunk)| chunk.is_stored && **number != except);
        let furthest = stored.next().map(|(number, _)| *number);
        furthest.is_some_and(|number| self.give_up(number))
    }

    fn give_up(&mut self, number: u64) -> bool {
        let given = self.chunks.remove(&number);
        given.is_some_and(|chunk| {
            chunk.block.give_up();
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::Algorithm;

    const CHUNK: u64 = 10;

    fn window(memory: &Arc<Memory>, name: &str) -> Window {
        let layout = Layout { size: Some(200), chunk: CHUNK };
        Window::new(memory, Digest::of(Algorithm::Sha256, name.as_bytes()), layout)
    }

    /// Which of these chunks may begin while `lowest` is not complete.
    fn begin(window: &Window, lowest: u64, numbers: &[u64]) -> Vec<bool> {
        numbers.iter().map(|&number| window.may_begin(NewChunk { number, lowest }, Uuid::nil())).collect()
    }

    fn store(window: &Window, number: u64) {
        assert!(window.write(Uuid::nil(), number * CHUNK, &[Bytes::from_static(&[7; 10])]));
        window.end(number);
        window.stored(number);
    }

    #[test]
    fn the_lowest_chunk_finds_memory_whatever_clients_want() {
        // Three quarters are four chunks: half of them for far ones.
        let memory = Memory::new(56);
        let window = window(&memory, "a");
        assert_eq!(begin(&window, 0, &[15, 16, 17, 1, 2]), [true, true, false, true, false]);
        assert_eq!(begin(&window, 0, &[0, 15]), [true, true]);
        // Far ones that are stored make way for others, and are read back.
        store(&window, 16);
        assert_eq!(begin(&window, 0, &[17, 18]), [true, false]);
        assert_eq!((window.chunk(16), window.chunk(17)), (None, None));
        // The lowest one takes theirs, if there is no other.
        store(&window, 15);
        assert_eq!(begin(&window, 3, &[3]), [true]);
        assert!(window.chunk(15).is_none());
    }

    #[test]
    fn what_is_stored_and_hashed_is_kept_until_its_memory_is_needed() {
        let memory = Memory::new(56);
        let (first, second) = (window(&memory, "a"), window(&memory, "b"));
        assert_eq!(begin(&first, 0, &[0, 1]), [true, true]);
        store(&first, 0);
        store(&first, 1);
        first.hashed(2);
        assert_eq!(begin(&first, 2, &[2, 3]), [true, true]);
        assert!(first.chunk(0).is_some());
        assert_eq!(begin(&second, 0, &[0]), [true]);
        assert!(first.chunk(0).is_some());
        assert_eq!(begin(&second, 0, &[1]), [true]);
        assert!(first.chunk(0).is_none() && first.chunk(1).is_some());
        assert_eq!(first.read(15, 100, <[u8]>::len), Some(5));
    }

    #[tokio::test]
    async fn memory_that_is_waited_for_goes_to_the_lowest_chunk() {
        let memory = Memory::new(16);
        let (first, second) = (window(&memory, "a"), window(&memory, "b"));
        assert_eq!(begin(&first, 0, &[0, 1]), [true, false]);
        assert_eq!(begin(&second, 0, &[0]), [false]);
        assert!(second.is_short() && !first.is_short());
        let mut more = Box::pin(second.more());
        assert!(futures_util::poll!(&mut more).is_pending());
        store(&first, 0);
        first.hashed(1);
        more.await;
        assert_eq!(begin(&second, 0, &[1, 0]), [false, true]);
        first.close();
        second.close();
        assert!(memory.block_now(Digest::of(Algorithm::Sha256, b"c"), CHUNK).is_some());
    }
}
