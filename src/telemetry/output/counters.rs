//! What is counted of outputs, and how often the log says so. Both are the process's, as standard error is.

use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// How often the log says that something is wrong.
const REPORTS: Duration = Duration::from_mins(1);

/// The counters of all outputs.
pub(in crate::telemetry) static COUNTERS: LazyLock<Counters> = LazyLock::new(Counters::default);

#[derive(Debug, Default)]
pub(in crate::telemetry) struct Counters {
    /// Lines that were dropped.
    pub(in crate::telemetry) dropped: Counter,
    /// Batches that could not be written, and files that could not be opened anew.
    pub(in crate::telemetry) errors: Counter,
    told: Mutex<Told>,
}

/// What the log has said.
#[derive(Debug, Default)]
struct Told {
    /// Of so many dropped lines in all.
    dropped: u64,
    dropped_at: Option<Instant>,
    failed_at: Option<Instant>,
}

impl Counters {
    /// Counts the lines of a text as dropped.
    pub(super) fn drop_lines(&self, text: &[u8]) {
        self.dropped.inc_by(text.split_inclusive(|byte| *byte == b'\n').count() as u64);
    }

    /// How many lines were dropped since the log said so; `None` if there are none, or it did in the last minute.
    pub(super) fn newly_dropped(&self) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that it is not less than another thread told.
        let dropped = self.dropped.get();
        let more = dropped - told.dropped;
        if more == 0 || !is_due(&mut told.dropped_at) {
            return None;
        }
        told.dropped = dropped;
        Some(more)
    }

    /// Counts a failure; whether the log should say so.
    pub(super) fn fail(&self) -> bool {
        self.errors.inc();
        is_due(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner).failed_at)
    }
}

fn is_due(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= REPORTS);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
