//! How an upstream or the bucket answers: its last answer, and since when it fails.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::log_limit::LogLimit;

/// How long after a line about something the log says the same again.
const PAUSE: Duration = Duration::from_mins(1);
/// About how many things the log says something in this time.
const MOST: usize = 256;
/// After so many attempts in a row without an answer, a request is not sent again at once. Requests to an upstream that
/// is gone would otherwise be three times as many.
const RETRIED: u64 = 6;

/// How an upstream or the bucket answers.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
    said: LogLimit<String>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<LastAnswer>,
    /// The last answer that was no good one.
    last_failure: Option<LastAnswer>,
    failing: Option<Failing>,
    /// Attempts since the last success.
    missed: u64,
}

/// The last answer.
#[derive(Clone, Copy, Debug)]
pub struct LastAnswer {
    /// When it came, or was given up.
    pub at: SystemTime,
    /// Its status; `None`: no answer came.
    pub status: Option<u16>,
    /// How long it took.
    pub took: Duration,
}

/// Since when there is no good answer.
#[derive(Clone, Debug)]
pub struct Failing {
    /// The first failure's time.
    pub since: SystemTime,
    began: Instant,
    /// Why the last request failed.
    pub cause: String,
}

impl Failing {
    /// For how long.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self { state: Mutex::default(), said: LogLimit::new(PAUSE, MOST) }
    }
}

impl Health {
    /// One attempt has ended, with an answer of this status or without one.
    pub fn answered(&self, status: Option<u16>, took: Duration) {
        self.state().last = Some(LastAnswer { at: SystemTime::now(), status, took });
    }

    /// A request got a good answer.
    pub fn works(&self) {
        let mut state = self.state();
        (state.failing, state.missed) = (None, 0);
    }

    /// An attempt got no good answer; whether the request may be sent again at once.
    pub fn missed(&self) -> bool {
        let mut state = self.state();
        state.missed = state.missed.saturating_add(1);
        state.missed < RETRIED
    }

    /// A request got no good answer.
    pub fn fails(&self, cause: String) {
        let mut state = self.state();
        state.last_failure = state.last;
        if let Some(failing) = &mut state.failing {
            failing.cause = cause;
        } else {
            state.failing = Some(Failing { since: SystemTime::now(), began: Instant::now(), cause });
        }
    }

    /// The last answer.
    #[must_use]
    pub fn last(&self) -> Option<LastAnswer> {
        self.state().last
    }

    /// The last answer to a request that got no good one, also where later ones did.
    #[must_use]
    pub fn last_failure(&self) -> Option<LastAnswer> {
        self.state().last_failure
    }

    /// Since when there is no good answer; `None`: the last request got one.
    #[must_use]
    pub fn failing(&self) -> Option<Failing> {
        self.state().failing.clone()
    }

    /// For how long there is no good answer; none if the last request got one.
    #[must_use]
    pub fn failing_for(&self) -> Duration {
        self.state().failing.as_ref().map_or(Duration::ZERO, Failing::duration)
    }

    /// Whether the log should say this now: once a minute.
    #[must_use]
    pub fn is_due(&self, subject: String) -> bool {
        self.said.is_due(subject)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_lasts_from_the_first_to_the_next_good_answer() {
        let health = Health::default();
        assert!(health.failing().is_none() && health.last().is_none() && health.last_failure().is_none());
        health.answered(Some(503), Duration::ZERO);
        health.fails("first".to_owned());
        let since = health.failing().unwrap().since;
        health.fails("second".to_owned());
        let failing = health.failing().unwrap();
        assert_eq!((failing.since, &failing.cause[..]), (since, "second"));
        health.answered(Some(200), Duration::ZERO);
        health.works();
        assert!(health.failing().is_none());
        assert_eq!(health.last_failure().unwrap().status, Some(503));
    }

    #[test]
    fn requests_are_not_repeated_once_many_in_a_row_had_no_answer() {
        let health = Health::default();
        let repeated = (0..100).filter(|_| health.missed()).count() as u64;
        assert_eq!(repeated, RETRIED - 1);
        health.works();
        assert!(health.missed());
    }
}
