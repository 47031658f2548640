//! Counts that every worker thread makes in memory of its own, because a line of the processor's cache that several
//! processors write to costs each of them more than all else of a count.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many parts there are. With more threads, some share one, and the counts are as right.
const SHARDS: usize = 8;

thread_local! {
    /// This thread's part; [`SHARDS`] before its first count.
    static SHARD: Cell<usize> = const { Cell::new(SHARDS) };
}

/// `N` counts.
#[derive(Debug)]
pub(super) struct Sharded<const N: usize>(Box<[Shard<N>]>);

/// Begins a line of the cache, so that no two shards share one.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for Sharded<N> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| Shard(std::array::from_fn(|_| AtomicU64::new(0)))).collect())
    }
}

impl<const N: usize> Sharded<N> {
    /// Adds to one of the counts. Nothing is added to one that does not exist.
    pub(super) fn add(&self, index: usize, amount: u64) {
        if let Some(count) = self.own().get(index) {
            count.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// The calling thread's counts, for several additions.
    pub(super) fn own(&self) -> &[AtomicU64; N] {
        &self.0[shard()].0
    }

    /// One of the counts.
    pub(super) fn sum(&self, index: usize) -> u64 {
        let counts = self.0.iter().filter_map(|shard| shard.0.get(index));
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The calling thread's shard: less than [`SHARDS`].
fn shard() -> usize {
    let shard = SHARD.get();
    if shard < SHARDS { shard } else { first_shard() }
}

#[cold]
fn first_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let shard = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    SHARD.set(shard);
    shard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_many_threads_add_up() {
        let counts = Sharded::<3>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counts.add(1, 2)));
            }
        });
        counts.add(3, 1);
        assert_eq!([0, 1, 2, 3].map(|index| counts.sum(index)), [0, 2000 * 2 * SHARDS as u64, 0, 0]);
    }
}
