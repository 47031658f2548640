//! Where the clients wait that read along with a fill.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::plan::GRAIN;

/// The positions at which clients wait, by grain: as many as a blob has of them, whatever clients ask for.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<BTreeMap<u64, Waiting>>);

#[derive(Debug)]
struct Waiting {
    readers: usize,
    /// Since then at least one of them waits.
    since: Instant,
}

/// A client that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct WaitingReader {
    readers: Arc<Readers>,
    grain: u64,
}

impl Readers {
    /// A client waits for the byte at `position`.
    pub(super) fn wait_at(self: &Arc<Self>, position: u64) -> WaitingReader {
        let grain = position / GRAIN;
        let mut waiting = self.lock();
        waiting.entry(grain).or_insert_with(|| Waiting { readers: 0, since: Instant::now() }).readers += 1;
        drop(waiting);
        WaitingReader { readers: Arc::clone(self), grain }
    }

    /// The positions at which clients wait since `since` or longer, in order.
    pub(super) fn positions(&self, since: Instant) -> Vec<u64> {
        let waiting = self.lock();
        waiting.iter().filter(|(_, waiting)| waiting.since <= since).map(|(grain, _)| grain * GRAIN).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WaitingReader {
    fn drop(&mut self) {
        let mut waiting = self.readers.lock();
        if let Some(at) = waiting.get_mut(&self.grain) {
            at.readers -= 1;
            if at.readers == 0 {
                waiting.remove(&self.grain);
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
        let (first, second) = (readers.wait_at(3 * GRAIN), readers.wait_at(3 * GRAIN + 5));
        let third = readers.wait_at(0);
        assert_eq!(readers.positions(Instant::now()), [0, 3 * GRAIN]);
        drop((first, third));
        assert_eq!(readers.positions(Instant::now()), [3 * GRAIN]);
        drop(second);
        assert_eq!(readers.positions(Instant::now()), [0; 0]);
    }
}
