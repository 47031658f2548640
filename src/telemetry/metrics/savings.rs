//! What the cache saves its upstreams, today and since the start, made of counters that there are anyway.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_hours(24);

/// What clients got, and what upstreams sent for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Responses with manifests and blobs.
    pub answers: u64,
    /// Those whose content was in memory or in the bucket.
    pub hits: u64,
    /// Bytes of blobs that clients got: from the bucket, to which they were redirected, or from pounce itself.
    pub sent: u64,
    /// Bytes of blobs that came from upstreams.
    pub fetched: u64,
}

impl Traffic {
    /// The bytes that clients got beyond those that came from upstreams.
    #[must_use]
    pub const fn saved(&self) -> u64 {
        self.sent.saturating_sub(self.fetched)
    }

    /// What there was after `before`.
    const fn after(&self, before: &Self) -> Self {
        Self {
            answers: self.answers.saturating_sub(before.answers),
            hits: self.hits.saturating_sub(before.hits),
            sent: self.sent.saturating_sub(before.sent),
            fetched: self.fetched.saturating_sub(before.fetched),
        }
    }
}

/// The traffic of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Savings {
    /// Since the day began (UTC), or since the start if that was later.
    pub today: Traffic,
    /// Since the start.
    pub total: Traffic,
}

/// How long it is until the day ends (UTC).
#[must_use]
pub fn until_tomorrow(now: SystemTime) -> Duration {
    let today = since_epoch(now).as_nanos() % DAY.as_nanos();
    DAY.saturating_sub(Duration::from_nanos(u64::try_from(today).unwrap_or_default()))
}

/// The current day, and the traffic before it.
#[derive(Debug, Default)]
pub(super) struct Day(Mutex<(u64, Traffic)>);

impl Day {
    /// A process that begins now has had no traffic today.
    pub(super) fn begins(now: SystemTime) -> Self {
        Self(Mutex::new((number(now), Traffic::default())))
    }

    /// The day of `now` has begun, if it has not before. `total`: the traffic until now.
    pub(super) fn turns(&self, now: SystemTime, total: &Traffic) {
        let mut day = self.lock();
        if day.0 != number(now) {
            *day = (number(now), *total);
        }
    }

    pub(super) fn savings(&self, now: SystemTime, total: Traffic) -> Savings {
        self.turns(now, &total);
        Savings { today: total.after(&self.lock().1), total }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Traffic)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn number(time: SystemTime) -> u64 {
    since_epoch(time).as_secs() / DAY.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_midnight_is_not_of_today() {
        let at = |hours| UNIX_EPOCH + Duration::from_hours(hours);
        let total = |sent, fetched| Traffic { answers: 3, hits: 2, sent, fetched };
        let day = Day::begins(at(47));
        assert_eq!(day.savings(at(47), total(100, 40)).today.saved(), 60);
        assert_eq!(until_tomorrow(at(47)), Duration::from_hours(1));
        assert_eq!(until_tomorrow(at(48)), DAY);
        day.turns(at(48), &total(200, 50));
        let savings = day.savings(at(50), total(900, 60));
        assert_eq!((savings.today.sent, savings.today.fetched, savings.today.answers), (700, 10, 0));
        assert_eq!(savings.total.saved(), 840);
        // A fill that is ahead of its clients has fetched more than they got.
        assert_eq!(total(10, 40).saved(), 0);
    }
}
