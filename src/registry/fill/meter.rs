//! How fast the bytes of a blob come, and over how many connections: for the log and the status.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Over how much time the rate is measured.
const WINDOW: Duration = Duration::from_secs(5);
/// How far apart samples are. So there are six at most.
const STEP: Duration = Duration::from_secs(1);

/// What a fill measures.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// The connections that this process has to the upstream for the blob.
    pub(super) connections: AtomicUsize,
    /// The most that there were.
    most: AtomicUsize,
    /// How often a connection was replaced by another.
    pub(super) retries: AtomicU64,
    /// Clients that read along, from this process.
    pub(super) readers: AtomicUsize,
    first: OnceLock<Instant>,
    samples: Mutex<Samples>,
}

impl Meter {
    /// There is one more connection.
    pub(super) fn connects(&self) {
        let now = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
    }

    /// The most connections that there were at once.
    pub(super) fn most_connections(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// There are more bytes: `there` says how many there are in all, and is asked once a second.
    pub(super) fn received(&self, there: impl FnOnce() -> u64) {
        let now = Instant::now();
        self.first.get_or_init(|| now);
        let mut samples = self.samples();
        if samples.is_due(now) {
            samples.add(now, there());
        }
    }

    /// When the first bytes came.
    pub(super) fn first(&self) -> Option<Instant> {
        self.first.get().copied()
    }

    /// How many bytes a second came lately, if there are so many now.
    pub(super) fn bytes_per_second(&self, there: u64) -> u64 {
        self.samples().rate(Instant::now(), there)
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes there were, and when: the oldest first.
#[derive(Debug, Default)]
struct Samples(VecDeque<(Instant, u64)>);

impl Samples {
    fn is_due(&self, now: Instant) -> bool {
        self.0.back().is_none_or(|(last, _)| now.saturating_duration_since(*last) >= STEP)
    }

    fn add(&mut self, now: Instant, there: u64) {
        // The last one that is older than the window is where the window begins.
        while self.0.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.0.pop_front();
        }
        self.0.push_back((now, there));
    }

    fn rate(&self, now: Instant, there: u64) -> u64 {
        let is_old = |(at, _): &&(Instant, u64)| now.saturating_duration_since(*at) >= WINDOW;
        let Some((at, before)) = self.0.iter().rev().find(is_old).or(self.0.front()) else {
            return 0;
        };
        let millis = now.saturating_duration_since(*at).as_millis().max(1);
        let rate = u128::from(there.saturating_sub(*before)) * 1000 / millis;
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let (begin, mut samples) = (Instant::now(), Samples::default());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(samples.rate(begin, 0), 0);
        for second in 0..20 {
            // Ten bytes a second, and a hundred from the tenth on.
            let there = if second < 10 { second * 10 } else { 100 + (second - 10) * 100 };
            assert!(samples.is_due(at(second)));
            samples.add(at(second), there);
            assert!(!samples.is_due(at(second)));
        }
        assert!(samples.0.len() <= 7);
        assert_eq!(samples.rate(at(20), 1100), 100);
        // Nothing comes any more.
        assert_eq!(samples.rate(at(30), 1000), 0);
        // Another process goes on, and less is there.
        assert_eq!(samples.rate(at(20), 0), 0);
    }

    #[test]
    fn the_most_connections_are_kept() {
        let meter = Meter::default();
        (0..3).for_each(|_| meter.connects());
        meter.connections.fetch_sub(2, Ordering::Relaxed);
        meter.connects();
        assert_eq!((meter.connections.load(Ordering::Relaxed), meter.most_connections()), (2, 3));
    }
}
