//! Which chunks of a blob are in memory, which of them may begin, and which make way for others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use crate::fair_semaphore::FairPermit;
use crate::oci::Digest;
use crate::registry::fill::memory::{Block, Memory};
use crate::registry::fill::plan::NewChunk;

/// The chunks of one blob, and what they wait for.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) chunks: BTreeMap<u64, Chunk>,
    /// Memory for the next chunk.
    pub(super) reserved: Option<FairPermit<Digest>>,
    /// Memory was asked for, and is not there yet.
    pub(super) waits: Option<Wait>,
    /// So many chunks were hashed, from the first on.
    pub(super) hashed: u64,
    /// So many pauses there are now: with any, no chunk is begun.
    pub(super) pauses: u32,
    pub(super) is_closed: bool,
}

/// A chunk waits for memory.
#[derive(Debug)]
pub(super) struct Wait {
    /// So many bytes: those of the chunk that could not begin.
    pub(super) len: u64,
    /// When it began, or when the bucket had a chunk of this blob since.
    pub(super) since: Instant,
    /// A chunk that was not hashed was given up for it.
    pub(super) has_given: bool,
}

/// A chunk that has memory.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) block: Arc<Block>,
    /// Whose bytes it has; nil for a blob that is in memory as a whole.
    pub(super) generation: Uuid,
    /// The bucket has it.
    pub(super) is_stored: bool,
}

impl Held {
    /// Whether a chunk may begin although the lowest one is not complete: that one still finds memory then, and chunks
    /// that are not next take half of the share.
    pub(super) fn may_begin_ahead(&mut self, new: NewChunk, share: u64) -> bool {
        let is_far = |number: u64| number >= new.lowest.saturating_add(share);
        let busy = |held: &Self| {
            let busy = held.chunks.iter().filter(|(number, chunk)| !chunk.is_stored || **number >= held.hashed);
            let busy: Vec<_> = busy.map(|(number, _)| *number).collect();
            let far = busy.iter().filter(|number| is_far(**number)).count() as u64;
            (busy.len() as u64, far)
        };
        let kept = u64::from(!self.chunks.contains_key(&new.lowest));
        if kept > 0 && (self.waits.is_some() || self.reserved.is_some()) {
            return false;
        }
        let (all, far) = busy(self);
        if !is_far(new.number) {
            return all + kept < share;
        }
        // So many too many. The hasher reads back what is given up: one more request for each chunk.
        let excess = (all + kept + 1).saturating_sub(share).max((far + 1).saturating_sub(share / 2));
        let stored = self.chunks.iter().filter(|(number, chunk)| chunk.is_stored && is_far(**number)).count() as u64;
        share > 1 && stored >= excess && (0..excess).all(|_| self.give_up_furthest(new.number))
    }

    /// A block, if there is memory for it now.
    pub(super) fn block(
        &mut self,
        memory: &Arc<Memory>,
        holder: Digest,
        len: u64,
        may_wait: bool,
    ) -> Option<Arc<Block>> {
        let wanted = usize::try_from(len).ok()?;
        // Memory for a shorter chunk is given back.
        match self.reserved.take().and_then(|mut reserved| reserved.split(wanted)) {
            Some(reserved) => Some(memory.block(holder, len, reserved)),
            // What comes next is this fill's already.
            None if self.waits.is_some() || (!may_wait && memory.is_wanted()) => None,
            None => memory.block_now(holder, len),
        }
    }

    /// Gives up the last chunk but `except` that the bucket has and that was not hashed; `false` if there is none.
    pub(super) fn give_up_furthest(&mut self, except: u64) -> bool {
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

    /// A chunk is needed no more but for clients, which find it in the bucket, too.
    pub(super) fn may_evict(&mut self, number: u64) {
        if self.waits.is_some() {
            self.give_up(number);
        } else if let Some(chunk) = self.chunks.get(&number) {
            Memory::may_evict(Arc::clone(&chunk.block));
        }
    }
}
