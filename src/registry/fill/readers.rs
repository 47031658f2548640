//! Where the clients wait that read along with a fill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How many positions are looked at: more than connections that could fetch them.
const MOST: usize = 64;

/// The positions at which clients wait: at most as many as there are clients.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<BTreeMap<u64, Waiting>>);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    readers: usize,
    /// Since then at least one of them waits.
    since: Instant,
}

/// A client that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct WaitingReader {
    readers: Arc<Readers>,
    position: u64,
}

impl Readers {
    /// A client waits for the byte at `position`.
    pub(super) fn wait_at(self: &Arc<Self>, position: u64) -> WaitingReader {
        let mut waiting = self.lock();
        waiting.entry(position).or_insert_with(|| Waiting { readers: 0, since: Instant::now() }).readers += 1;
        drop(waiting);
        WaitingReader { readers: Arc::clone(self), position }
    }

    /// The [`MOST`] positions at which clients have waited longest, since `since` at least, the longest first: each has
    /// its turn, however few connections there are.
    pub(super) fn positions(&self, since: Instant) -> Vec<u64> {
        let waiting = self.lock();
        let waiting = waiting.iter().filter(|(_, waiting)| waiting.since <= since);
        let mut positions: Vec<_> = waiting.map(|(position, waiting)| (waiting.since, *position)).collect();
        if positions.len() > MOST {
            positions.select_nth_unstable(MOST);
            positions.truncate(MOST);
        }
        positions.sort_unstable();
        positions.into_iter().map(|(_, position)| position).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingReader {
    fn drop(&mut self) {
        let mut waiting = self.readers.lock();
        if let Some(at) = waiting.get_mut(&self.position) {
            at.readers -= 1;
            if at.readers == 0 {
                waiting.remove(&self.position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_wait_at_one_place_are_one_position_until_the_last_is_gone() {
        let readers = Arc::new(Readers::default());
        let (first, second) = (readers.wait_at(30), readers.wait_at(30));
        let third = readers.wait_at(0);
        assert_eq!(readers.positions(Instant::now()), [30, 0]);
        drop((first, third));
        assert_eq!(readers.positions(Instant::now()), [30]);
        drop(second);
        assert_eq!(readers.positions(Instant::now()), [0; 0]);
    }

    #[test]
    fn those_that_wait_longest_are_looked_at() {
        let readers = Arc::new(Readers::default());
        let _waiting: Vec<_> = (0..1000).rev().map(|position| readers.wait_at(position)).collect();
        let positions = readers.positions(Instant::now());
        assert_eq!((positions.len(), positions[0], positions[MOST - 1]), (MOST, 999, 1000 - MOST as u64));
    }
}
