//! Large blocks of memory, which are used again for the next block of their size as long as there are any fills.
//!
//! The C library would serve them from heaps, where they are zeroed each time, and of which it keeps half more than is
//! in use. New pages are not cheap, either: on some machines, those of 1 GiB take as long as its hash.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Blocks of so many bytes and more are kept.
const LARGE: usize = 4 << 20;
/// The C library maps an allocation of more than 32 MiB by itself, always: its pages are none until they are written,
/// and go back to the system with it.
const MAPPED: usize = (32 << 20) + (64 << 10);

/// The blocks of one budget.
#[derive(Debug)]
pub(super) struct Pool {
    /// In bytes: those in use and those that are kept are no more.
    budget: usize,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    /// How many bytes are in use.
    used: usize,
    /// Blocks that are not, each with its size; the oldest first.
    kept: VecDeque<(usize, Vec<u8>)>,
}

impl Pool {
    pub(super) fn new(budget: usize) -> Self {
        Self { budget, blocks: Mutex::default() }
    }

    /// At least `size` bytes. What is in them is not defined.
    pub(super) fn take(&self, size: usize) -> Vec<u8> {
        if size < LARGE {
            return vec![0; size];
        }
        let kept = self.with(|blocks| {
            blocks.used += size;
            let same = blocks.kept.iter().position(|(kept, _)| *kept == size);
            same.and_then(|at| blocks.kept.remove(at))
        });
        kept.map_or_else(|| vec![0; size.max(MAPPED)], |(_, bytes)| bytes)
    }

    /// Takes back what was taken as `size` bytes. After the last one, none is kept.
    pub(super) fn give_back(&self, bytes: Vec<u8>, size: usize) {
        if size >= LARGE {
            self.with(|blocks| {
                blocks.used = blocks.used.saturating_sub(size);
                blocks.kept.push_back((size, bytes));
            });
        }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Blocks) -> T) -> T {
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut blocks);
        let may_keep = if blocks.used == 0 { 0 } else { self.budget.saturating_sub(blocks.used) };
        let mut excess = Vec::new();
        while blocks.kept.iter().map(|(size, _)| size).sum::<usize>() > may_keep {
            excess.extend(blocks.kept.pop_front());
        }
        drop(blocks);
        // Not under the lock, because it takes a while.
        drop(excess);
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_used_again_within_the_budget_and_none_is_kept_without_fills() {
        let pool = Pool::new(2 * LARGE);
        let kept = || pool.blocks.lock().unwrap().kept.len();
        let (first, second) = (pool.take(LARGE), pool.take(LARGE));
        let address = first.as_ptr();
        pool.give_back(first, LARGE);
        assert_eq!(kept(), 1);
        let again = pool.take(LARGE);
        assert_eq!((again.as_ptr(), kept()), (address, 0));
        pool.give_back(again, LARGE);
        // Another size takes the place of the one that is kept.
        let other = pool.take(LARGE + 1);
        assert_eq!(kept(), 0);
        pool.give_back(second, LARGE);
        pool.give_back(other, LARGE + 1);
        assert_eq!(kept(), 0);
    }
}
