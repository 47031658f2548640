//! Whether an upstream answers HEAD as it answers GET: one may not know the method, or refuse it, or fail, or answer
//! 404 for what is there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long what was seen is taken for a habit.
const HABIT: Duration = Duration::from_hours(1);

/// What was seen of an upstream's HEADs for one kind of content.
#[derive(Debug, Default)]
pub(super) struct Heads(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// A HEAD was refused, and a GET for the same was not.
    refused: Option<Instant>,
    /// A HEAD told about something that is there.
    worked: Option<Instant>,
    /// The last HEAD failed, and a GET for the same did not.
    failed: bool,
}

impl Heads {
    /// Whether it is of no use to ask.
    pub(super) fn are_refused(&self) -> bool {
        is_recent(self.seen().refused)
    }

    /// Whether they tell apart what is there and what is not.
    pub(super) fn work(&self) -> bool {
        is_recent(self.seen().worked)
    }

    pub(super) fn refused(&self) {
        *self.seen() = Seen { refused: Some(Instant::now()), worked: None, failed: false };
    }

    /// A HEAD failed, and a GET for the same did not. Once may be an outage that just ended; the second time in a row
    /// it is a habit.
    pub(super) fn failed(&self) {
        if self.seen().failed {
            self.refused();
        } else {
            self.seen().failed = true;
        }
    }

    pub(super) fn worked(&self) {
        let mut seen = self.seen();
        seen.worked = Some(Instant::now());
        seen.failed = false;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(when: Option<Instant>) -> bool {
    when.is_some_and(|when| when.elapsed() < HABIT)
}
