//! How many connections a fill should have: as many as make it faster. No I/O.
//!
//! The number doubles as long as that made the whole faster. Where it did not, because the wire, the bucket or the
//! upstream is the limit, the fill goes back to the number that it had before, and tries again later, or when it
//! becomes slower: some upstreams cap a connection only after its first megabytes. An upstream that refuses a
//! connection (429, 503) gets none more for a while.

use std::time::{Duration, Instant};

/// How long the rate is measured, after all connections brought their first bytes.
const WINDOW: Duration = Duration::from_millis(100);
/// How long the first bytes of new connections are waited for.
const CONNECT: Duration = Duration::from_secs(2);
/// A doubled number has to make the whole so much faster: half of the gain is lost to what a connection takes until it
/// is at its full speed.
const GAIN: f64 = 1.2;
/// A fill that is so much slower than when it last tried tries again.
const LOSS: f64 = 0.7;
/// How long the fill waits before it tries again; it doubles, up to `LONGEST`.
const PAUSE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_mins(1);

/// What is known of a fill at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    pub(super) now: Instant,
    /// How many bytes came so far.
    pub(super) received: u64,
    /// How many connections it has.
    pub(super) connections: usize,
    /// All of them have brought bytes.
    pub(super) all_deliver: bool,
    /// Bytes wait for memory, or to be written.
    pub(super) memory_is_full: bool,
}

/// The number of connections that a fill should have.
#[derive(Debug)]
pub(super) struct Growth {
    most: usize,
    wanted: usize,
    /// The number of connections before the last growth, and the rate that they had, in bytes a second.
    before: Option<(usize, f64)>,
    /// Since then the fill should have the present number.
    since: Instant,
    /// Where the measurement began: when, and the bytes until then.
    measuring: Option<(Instant, u64)>,
    /// So often in the measurement bytes waited for memory, and so often they did not.
    full: (u32, u32),
    /// No growth before, unless the fill becomes slower than this, in bytes a second.
    not_before: Option<(Instant, f64)>,
    /// Until then the upstream gets no connection more, not even for a client that waits.
    refused_until: Option<Instant>,
    pause: Duration,
}

impl Growth {
    /// From one connection up to `most`.
    pub(super) fn new(most: usize, now: Instant) -> Self {
        Self {
            most,
            wanted: 1,
            before: None,
            since: now,
            measuring: None,
            full: (0, 0),
            not_before: None,
            refused_until: None,
            pause: PAUSE,
        }
    }

    /// How many connections the fill should have.
    pub(super) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Whether a client that waits may have another connection, which is not counted in [`wanted`](Self::wanted).
    pub(super) fn may_exceed(&self, now: Instant) -> bool {
        self.refused_until.is_none_or(|until| until <= now)
    }

    /// Wants one more, for a client that waits: `false` if there are as many as there may be.
    pub(super) fn add(&mut self, now: Instant) -> bool {
        let may = self.wanted < self.most && self.may_exceed(now);
        if may {
            self.wanted += 1;
            self.before = None;
            self.measuring = None;
            self.since = now;
        }
        may
    }

    /// The upstream refused a connection; `left` are there without it.
    pub(super) fn refused(&mut self, left: usize, now: Instant) {
        self.wanted = left.clamp(1, self.most);
        self.before = None;
        // Connections that are refused at the same time are one refusal.
        if self.may_exceed(now) {
            self.refused_until = Some(self.rest(0.0, now));
        }
    }

    /// Looks at the fill; called every few milliseconds.
    pub(super) fn look(&mut self, progress: Progress) {
        let Progress { now, received, .. } = progress;
        // New ones were not made yet, or there is nothing left for them.
        let others = progress.connections < self.wanted;
        if !self.may_exceed(now) || (others && now.duration_since(self.since) < CONNECT) {
            return;
        }
        let (start, bytes) = match self.measuring {
            Some(measuring) => measuring,
            None if progress.all_deliver || now.duration_since(self.since) >= CONNECT => {
                self.full = (0, 0);
                *self.measuring.insert((now, received))
            }
            None => return,
        };
        let (full, free) = &mut self.full;
        *(if progress.memory_is_full { full } else { free }) += 1;
        let seconds = now.duration_since(start);
        if seconds < WINDOW {
            return;
        }
        self.measuring = None;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = received.saturating_sub(bytes) as f64 / seconds.as_secs_f64();
        self.evaluate(progress.connections, rate, now);
    }

    fn evaluate(&mut self, connections: usize, rate: f64, now: Instant) {
        let (full, free) = self.full;
        if self.not_before.is_some_and(|(at, least)| now < at && rate >= least) {
            return;
        }
        self.not_before = None;
        let helped = self.before.is_none_or(|(_, before)| rate >= before * GAIN);
        if full > free || !helped {
            self.wanted = self.before.take().map_or(connections, |(before, _)| before).clamp(1, self.most);
            self.rest(rate, now);
        } else if connections < self.most {
            if self.before.is_some() {
                self.pause = PAUSE;
            }
            self.before = Some((connections, rate));
            self.wanted = (connections.max(1) * 2).min(self.most);
            self.since = now;
        } else {
            self.before = None;
            self.rest(rate, now);
        }
    }

    /// Returns when the fill may grow again.
    fn rest(&mut self, rate: f64, now: Instant) -> Instant {
        let until = now + self.pause;
        self.not_before = Some((until, rate * LOSS));
        self.pause = (self.pause * 2).min(LONGEST);
        self.since = now;
        self.measuring = None;
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for `seconds` with connections that bring `rate(n)` MB/s together; returns the number at the end, and the
    /// most that there were.
    fn run(growth: &mut Growth, start: Instant, seconds: u64, rate: impl Fn(usize) -> u64) -> (usize, usize) {
        let (mut received, mut most) = (0, 0);
        for tick in 0..seconds * 100 {
            let connections = growth.wanted();
            most = most.max(connections);
            received += rate(connections) * 10_000;
            let now = start + Duration::from_millis(10 * tick);
            let all_deliver = true;
            growth.look(Progress { now, received, connections, all_deliver, memory_is_full: false });
        }
        (growth.wanted(), most)
    }

    #[test]
    fn it_grows_as_long_as_that_helps() {
        let now = Instant::now();
        assert_eq!(run(&mut Growth::new(8, now), now, 1, |n| 10 * n as u64), (8, 8));
        assert_eq!(run(&mut Growth::new(6, now), now, 1, |n| 10 * n as u64), (6, 6));
        assert_eq!(run(&mut Growth::new(1, now), now, 1, |n| 10 * n as u64), (1, 1));
        // The wire has room for four.
        assert_eq!(run(&mut Growth::new(16, now), now, 1, |n| 10 * n.min(4) as u64), (4, 8));
        assert_eq!(run(&mut Growth::new(16, now), now, 1, |_| 100), (1, 2));
    }

    #[test]
    fn it_tries_again_when_there_may_be_more() {
        let now = Instant::now();
        let mut growth = Growth::new(8, now);
        assert_eq!(run(&mut growth, now, 1, |_| 100).0, 1);
        assert_eq!(run(&mut growth, now + Duration::from_secs(4), 2, |n| 10 * n as u64).0, 8);
    }

    #[test]
    fn it_tries_again_when_it_becomes_slower() {
        let now = Instant::now();
        let mut growth = Growth::new(8, now);
        // No connection was capped at first.
        assert_eq!(run(&mut growth, now, 1, |_| 100).0, 1);
        assert_eq!(run(&mut growth, now + Duration::from_secs(1), 1, |n| 10 * n as u64).0, 8);
    }

    #[test]
    fn memory_that_is_full_gets_no_more() {
        let now = Instant::now();
        let mut growth = Growth::new(8, now);
        for tick in 0..100 {
            let now = now + Duration::from_millis(10 * tick);
            let progress =
                Progress { now, received: tick << 20, connections: 1, all_deliver: true, memory_is_full: tick % 4 > 0 };
            growth.look(progress);
        }
        assert_eq!(growth.wanted(), 1);
    }

    #[test]
    fn an_upstream_that_refuses_gets_no_more_for_a_while() {
        let now = Instant::now();
        let mut growth = Growth::new(8, now);
        assert_eq!(run(&mut growth, now, 1, |n| 10 * n as u64).0, 8);
        let later = now + Duration::from_secs(1);
        growth.refused(30, later);
        assert_eq!(growth.wanted(), 8);
        growth.refused(2, later);
        assert!(growth.wanted() == 2 && !growth.may_exceed(later) && !growth.add(later));
        assert_eq!(run(&mut growth, later, 1, |n| 10 * n as u64), (2, 2));
        assert!(growth.add(later + PAUSE * 4) && growth.wanted() == 3);
        growth.refused(0, later);
        assert_eq!(growth.wanted(), 1);
    }
}
