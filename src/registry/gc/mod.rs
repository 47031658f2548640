//! Retention and garbage collection: what the bucket keeps, and how what nothing needs goes without harm to pushes,
//! mounts and fills that go on meanwhile.
//!
//! ```text
//! serving      rounds in the serving processes
//! listing      what goes and why, for an operator
//! usage        what the bucket's repositories take
//! round        the lease, a survey, a sweep of what is due, and new batches
//! policy       what the survey asks of retention
//! report       the figures of a round; progress: those of one under way
//! sweep        deletes what batches condemned
//! batches      which are due, new ones, retired ones
//! lease        one collector at a time
//! survey/      reads the bucket, and finds the keys that nothing needs
//! retention/   from facts to verdicts
//! facts        what these have in common
//! ```

mod batches;
mod facts;
mod lease;
mod listing;
#[cfg(feature = "internals")]
mod measured;
mod policy;
mod progress;
mod report;
mod requests;
mod retention;
mod round;
mod serving;
mod survey;
mod sweep;
mod usage;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::pulls::Pulls;
use super::runtime::Background;
use crate::config::{ByteSize, Config, GcTiming};
use crate::store::Store;
use crate::telemetry::Metrics;
use retention::Retention;

#[cfg(feature = "internals")]
pub(crate) use measured::measured_survey;
#[cfg(feature = "internals")]
pub use measured::{Ruled, SurveyRules};

pub use listing::GoingKey;
pub use progress::{RoundProgress, RoundStep};
pub use report::{Amount, GoingTotals, Report, RoundRequests};
pub use round::{Begun, Round, RoundOptions};
pub use usage::{RepositoryUsage, Usage};

/// Collects garbage.
#[derive(Debug)]
pub struct GarbageCollection {
    pub(super) store: Store,
    pub(super) pulls: Arc<Pulls>,
    pub(super) background: Arc<Background>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) settings: Settings,
    /// The log said why the bucket cannot be collected from.
    pub(super) is_refused: AtomicBool,
}

/// The settings that rounds go by.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    retention: Retention,
    /// `storage.maintenance.gc.delay`
    delay: Duration,
    /// `storage.maxsize`, in bytes.
    max_size: Option<u64>,
    timing: GcTiming,
    /// Where temporary files are made; `None`: where the system has them.
    directory: Option<PathBuf>,
    /// When distribution last used the bucket as a pull-through cache.
    proxied_until: Option<SystemTime>,
}

impl Settings {
    pub(super) fn new(config: &Config) -> Self {
        let storage = &config.storage;
        Self {
            retention: Retention::new(config),
            delay: storage.deletion_delay(),
            max_size: storage.maxsize.map(ByteSize::bytes),
            timing: storage.gc_timing,
            directory: config.proxy.spool.directory.clone(),
            proxied_until: None,
        }
    }

    pub(super) fn proxied_until(self, proxied_until: Option<SystemTime>) -> Self {
        Self { proxied_until, ..self }
    }
}
