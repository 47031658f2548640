//! A segment that a connection is fetching, and how fast that goes.

use std::time::{Duration, Instant};

/// A segment that is not complete after so long may be shared. Bytes that the slow connection has under way are lost.
pub(in crate::registry::fill) const SLOW: Duration = Duration::from_secs(2);
/// A connection that is so many times slower than the others were is given up, once its segment is as old as [`SLOW`].
const TIMES_SLOWER: f64 = 4.0;

/// The bytes from `start` to `end` are one connection's.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) id: u64,
    pub(super) start: u64,
    /// So far its connection has received.
    pub(super) received: u64,
    pub(super) end: u64,
    pub(super) since: Instant,
    /// A moment up to [`SLOW`] ago when bytes came, and how far it was: its present rate is that since then.
    mark: (Instant, u64),
}

impl Open {
    /// A connection took the bytes from `start` to `end`, and has none of them yet.
    pub(super) const fn new(id: u64, start: u64, end: u64, since: Instant) -> Self {
        Self { id, start, received: start, end, since, mark: (since, start) }
    }

    /// How many bytes the connection has before it.
    pub(super) const fn ahead(&self) -> u64 {
        self.end - self.received
    }

    /// `len` bytes came.
    pub(super) fn receive(&mut self, len: u64, now: Instant) {
        if now.saturating_duration_since(self.mark.0) >= SLOW {
            self.mark = (now, self.received);
        }
        self.received += len;
    }

    /// Whether it is far slower than others were.
    pub(super) fn crawls(&self, usual: f64, now: Instant) -> bool {
        let (at, position) = self.mark;
        let is_old = now.saturating_duration_since(self.since) >= SLOW;
        let is_measured = now.saturating_duration_since(at) >= SLOW / 2;
        is_old && is_measured && rate(self.received - position, now, at) * TIMES_SLOWER < usual
    }
}

/// In bytes a second.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
pub(super) fn rate(bytes: u64, now: Instant, since: Instant) -> f64 {
    bytes as f64 / now.saturating_duration_since(since).as_secs_f64().max(0.001)
}
