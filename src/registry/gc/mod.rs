//! Retention and garbage collection: what the bucket keeps, and how what nothing needs goes without harm to pushes,
//! mounts and fills that go on meanwhile.
//!
//! ```text
//! serving      rounds in the serving processes
//! listing      what goes and why, for an operator
//! usage        what the bucket's repositories take
//! round        the lease, a survey, a sweep of what is due, and new batches
//! spared       what was pulled while the survey went on
//! policy       what the survey asks of retention
//! figures      what repositories took at the last round
//! report       the figures of a round; progress: those of one under way
//! sweep        deletes what batches condemned
//! batches      which are due, new ones, retired ones
//! lease        one collector at a time
//! guards       what the bucket has to keep for that
//! collection   the settings of rounds, and what they share
//! survey/      reads the bucket, and finds the keys that nothing needs
//! retention/   from facts to verdicts
//! facts        what these have in common
//! ```

mod batches;
mod collection;
mod facts;
mod figures;
mod guards;
#[cfg(feature = "internals")]
mod hook;
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
mod spared;
mod survey;
mod sweep;
mod usage;

#[cfg(feature = "internals")]
pub(crate) use hook::gc_round;
#[cfg(feature = "internals")]
pub(crate) use measured::measured_survey;
#[cfg(feature = "internals")]
pub use measured::{Ruled, SurveyRules};

pub(super) use collection::Settings;

pub use collection::GarbageCollection;
pub use figures::{Figures, RepositoryFigures};
pub use listing::GoingKey;
pub use progress::{RoundProgress, RoundStep};
pub use report::{Amount, GoingTotals, Report, RoundRequests};
pub use round::{Begun, Round, RoundOptions};
pub use usage::{RepositoryUsage, Usage};
