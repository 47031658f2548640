//! Whether an owner's upstream sends next to nothing. No I/O.

use std::time::{Duration, Instant};

/// An upstream that sends less than so many bytes in the time is stalled: less than 13 KiB a second by default. What a
/// take-over costs, the chunks that have been begun, would be downloaded again for the sake of a fair one.
const LEAST: u64 = 256 << 10;

/// What an owner received lately.
#[derive(Debug)]
pub(super) struct Stall {
    /// How many bytes it had received then.
    received: u64,
    since: Instant,
}

impl Stall {
    /// From now on, with so many bytes received.
    pub(super) fn new(received: u64) -> Self {
        Self { received, since: Instant::now() }
    }

    /// Whether less than [`LEAST`] bytes came in `time`, all of which could have been taken.
    pub(super) fn look(&mut self, received: u64, is_excused: bool, time: Duration) -> bool {
        if is_excused || received >= self.received + LEAST {
            *self = Self::new(received);
        }
        self.since.elapsed() >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_sends_little_is_stalled() {
        let mut stall = Stall::new(7);
        let long_ago = Instant::now().checked_sub(Duration::from_secs(30)).unwrap();
        let time = Duration::from_secs(20);
        assert!(!stall.look(7, false, time));
        stall.since = long_ago;
        assert!(stall.look(7 + LEAST - 1, false, time));
        assert!(!stall.look(7 + LEAST, false, time));
        stall.since = long_ago;
        assert!(!stall.look(7 + LEAST, true, time));
    }
}
