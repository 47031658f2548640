//! The part of a blob that is in memory while it is filled: all of a small blob, or some chunks of a large one.
//!
//! A chunk is reserved before its first byte comes. When it is whole, it is sent to the bucket, and when the bucket has
//! it and it was hashed, its memory is given up as soon as this fill, or another one, needs it. So every reservation
//! ends:
//!
//! - A chunk that has begun needs no further memory to become whole, and its bytes come before those of new chunks.
//! - One that is whole is sent, or the fill fails.
//! - The first chunk that is not complete always finds memory: one chunk of the fill's share is kept for it, and chunks
//!   further on that the bucket has are given up for it, although the hasher has to read them back then.

mod held;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use uuid::Uuid;

use super::chunks::Layout;
use super::memory::{Block, Memory};
use super::plan::NewChunk;
use crate::oci::Digest;
use held::{Chunk, Held, Wait};

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

impl Window {
    /// For a blob of which no chunk is in memory yet.
    pub(super) fn new(memory: &Arc<Memory>, holder: Digest, layout: Layout) -> Self {
        let (memory, held, short) = (Arc::clone(memory), Mutex::default(), Notify::new());
        Self { memory, holder, layout, held, short }
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// For all of a blob of `size` bytes, if there is memory for it now.
    pub(super) fn whole(memory: &Arc<Memory>, holder: Digest, size: u64) -> Option<Self> {
        let block = memory.block_now(holder, size)?;
        let window = Self::new(memory, holder, Layout { size: Some(size), chunk: size.max(1) });
        window.held().chunks.insert(0, Chunk { block, generation: Uuid::nil(), is_stored: false });
        Some(window)
    }

    /// Whether a chunk has memory, which is reserved now if there is any, for the bytes that this generation receives.
    /// Memory that there is not is waited for if `may_wait`; otherwise the fill takes what no other waits for.
    pub(super) fn may_begin(&self, new: NewChunk, generation: Uuid, may_wait: bool) -> bool {
        let mut held = self.held();
        if held.is_closed {
            return false;
        }
        held.chunks.retain(|_, chunk| chunk.block.is_there());
        if held.chunks.contains_key(&new.number) {
            return true;
        }
        if held.pauses > 0 {
            return false;
        }
        let share = (self.memory.most() / self.layout.chunk).max(1);
        if new.number != new.lowest && !held.may_begin_ahead(new, share) {
            return false;
        }
        let slice = self.layout.slice(new.number);
        let len = slice.end - slice.start;
        let mut block = held.block(&self.memory, self.holder, len, may_wait);
        let has_given = held.waits.as_ref().is_some_and(|wait| wait.has_given);
        // One for each wait: what it frees may be another fill's before.
        let gives = block.is_none() && new.number == new.lowest && !has_given && held.give_up_furthest(new.number);
        if gives {
            block = held.block(&self.memory, self.holder, len, may_wait);
        }
        let Some(block) = block else {
            match &mut held.waits {
                Some(wait) => wait.has_given |= gives,
                None if may_wait => {
                    held.waits = Some(Wait { len, since: Instant::now(), has_given: gives });
                    self.short.notify_one();
                }
                None => {}
            }
            return false;
        };
        held.chunks.insert(new.number, Chunk { block, generation, is_stored: false });
        true
    }

    /// Whether a chunk waits for memory.
    pub(super) fn is_short(&self) -> bool {
        self.held().waits.is_some()
    }

    /// Whether a chunk has waited for so long, although this blob has no chunk that is on its way: other fills keep the
    /// memory.
    pub(super) fn is_starved(&self, timeout: Duration) -> bool {
        let held = self.held();
        let has_waited = held.waits.as_ref().is_some_and(|wait| wait.since.elapsed() >= timeout);
        has_waited && held.chunks.values().all(|chunk| chunk.is_stored)
    }

    /// Waits until a chunk waits for memory, and then for that memory. It can be dropped.
    pub(super) async fn wait_for_memory(&self) {
        self.short.notified().await;
        let waits = self.held().waits.as_ref().map(|wait| wait.len);
        let Some(len) = waits else {
            return;
        };
        let _asked = Asked(self);
        let memory = self.memory.reserve(&self.holder, len).await;
        let mut held = self.held();
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
        (held.reserved, held.hashed) = (None, 0);
        for chunk in std::mem::take(&mut held.chunks).into_values() {
            chunk.block.give_up();
        }
    }

    /// All of a chunk was written.
    pub(super) fn end(&self, number: u64) {
        self.end_with(number, u64::MAX);
    }

    /// The blob, whose size was unknown, has `size` bytes, and all of them were hashed.
    pub(super) fn end_at(&self, size: u64) {
        if let Some(last) = self.layout.count(size).checked_sub(1) {
            self.end_with(last, size - self.layout.slice(last).start);
            self.hashed(last + 1);
        }
    }

    fn end_with(&self, number: u64, len: u64) {
        let block = self.held().chunks.get(&number).map(|chunk| Arc::clone(&chunk.block));
        if let Some(block) = block {
            block.end(len);
        }
    }

    /// The bucket has a chunk.
    pub(super) fn stored(&self, number: u64) {
        let mut held = self.held();
        if let Some(chunk) = held.chunks.get_mut(&number) {
            chunk.is_stored = true;
        }
        if let Some(wait) = &mut held.waits {
            wait.since = Instant::now();
        }
        if number < held.hashed {
            held.may_evict(number);
        }
    }

    /// The first `chunks` chunks were hashed.
    pub(super) fn hashed(&self, chunks: u64) {
        let mut held = self.held();
        let before = std::mem::replace(&mut held.hashed, chunks);
        let stored = held.chunks.range(before.min(chunks)..chunks).filter(|(_, chunk)| chunk.is_stored);
        for number in stored.map(|(number, _)| *number).collect::<Vec<_>>() {
            held.may_evict(number);
        }
    }

    /// The fill has ended, and the digest was right: clients read on in memory as long as no fill needs it.
    pub(super) fn release(&self) {
        let mut held = self.held();
        held.reserved = None;
        for chunk in held.chunks.values_mut() {
            chunk.is_stored = true;
            Memory::may_evict(Arc::clone(&chunk.block));
        }
    }

    /// Begins no chunk until [`resume`](Self::resume) was called as often.
    pub(super) fn pause(&self) {
        self.held().pauses += 1;
    }

    /// Ends one pause.
    pub(super) fn resume(&self) {
        let mut held = self.held();
        held.pauses = held.pauses.saturating_sub(1);
    }

    /// Whether the bucket has all chunks that have been begun.
    pub(super) fn is_settled(&self) -> bool {
        self.held().chunks.values().all(|chunk| chunk.is_stored)
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

/// Memory that is asked for, until it is there or not wanted any more.
struct Asked<'a>(&'a Window);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.held().waits = None;
    }
}

#[cfg(test)]
mod tests;
