//! Since when the notes of all days go on without a gap.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::note::{begin_of_day, number_of_day};

/// How long the processes may take to write the first note of a day.
const MORNING: Duration = Duration::from_hours(1);
/// How long after the last note of a day the first process of the next one may have begun. If it is longer, other programs
/// served the clients, as after a rollback to a version that records nothing.
const NIGHT: Duration = Duration::from_hours(1);

/// The days that have notes.
#[derive(Debug, Default)]
pub(super) struct Days(BTreeMap<u64, Day>);

/// What the notes of a day tell of the processes that recorded.
#[derive(Clone, Copy, Debug)]
struct Day {
    /// Since when the first of them did.
    since: SystemTime,
    /// When the last note was written.
    written: SystemTime,
}

impl Days {
    /// A note of a process that records since then.
    pub(super) fn add(&mut self, day: u64, since: SystemTime, written: SystemTime) {
        let all = self.0.entry(day).or_insert(Day { since, written });
        *all = Day { since: since.min(all.since), written: written.max(all.written) };
    }

    /// Whether a process recorded from the day before until this one.
    fn goes_on(&self, day: u64) -> bool {
        let (Some(today), Some(before)) = (self.0.get(&day), self.0.get(&(day - 1))) else {
            return false;
        };
        let gap = today.since.duration_since(before.written).unwrap_or_default();
        today.since <= begin_of_day(day) || gap <= NIGHT
    }

    /// Since when every day has a note, and every night between two.
    pub(super) fn known_since(&self, now: SystemTime, oldest: SystemTime) -> SystemTime {
        let (today, first) = (number_of_day(now), number_of_day(oldest));
        let mut day = today;
        if !self.0.contains_key(&today) {
            let is_morning = now.duration_since(begin_of_day(today)).is_ok_and(|since| since < MORNING);
            if !is_morning {
                return now;
            }
            day = today.saturating_sub(1);
        }
        if !self.0.contains_key(&day) {
            return now;
        }
        while day > first && self.goes_on(day) {
            day -= 1;
        }
        let since = self.0.get(&day).map_or(now, |day| day.since);
        since.max(begin_of_day(day)).max(oldest).min(now)
    }
}
