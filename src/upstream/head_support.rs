//! Whether an upstream answers HEAD as it answers GET. One may not support the method, or refuse it, or fail, or answer
//! 404 for content that is there.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an observation is valid.
const LIFE: Duration = Duration::from_hours(1);

/// What was observed of an upstream's HEADs for one kind of content.
#[derive(Debug, Default)]
pub(super) struct HeadSupport(Mutex<Observed>);

#[derive(Debug, Default)]
struct Observed {
    /// A HEAD was refused, and a GET for the same content was not.
    refused: Option<Instant>,
    /// A HEAD found content.
    worked: Option<Instant>,
    /// The last HEAD failed, and a GET for the same content did not.
    failed: bool,
}

/// What became of a HEAD before a GET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadOutcome {
    /// None was sent.
    Skipped,
    /// The response told nothing.
    Refused,
    /// There was no response.
    Failed,
}

impl HeadSupport {
    /// Whether it is of no use to send a HEAD.
    pub(super) fn is_refused(&self) -> bool {
        is_recent(self.lock().refused)
    }

    /// Whether a 404 to a HEAD can be trusted.
    pub(super) fn works(&self) -> bool {
        is_recent(self.lock().worked)
    }

    pub(super) fn worked(&self) {
        let mut observed = self.lock();
        observed.worked = Some(Instant::now());
        observed.failed = false;
    }

    /// A GET succeeded after a HEAD. One failure may be an outage that just ended; after the second in a row, HEAD
    /// counts as refused.
    pub(super) fn get_succeeded_after(&self, head: HeadOutcome) {
        let mut observed = self.lock();
        match head {
            HeadOutcome::Skipped => {}
            HeadOutcome::Failed if !observed.failed => observed.failed = true,
            HeadOutcome::Failed | HeadOutcome::Refused => {
                *observed = Observed { refused: Some(Instant::now()), worked: None, failed: false };
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(when: Option<Instant>) -> bool {
    when.is_some_and(|when| when.elapsed() < LIFE)
}
