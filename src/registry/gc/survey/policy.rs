//! What a survey is told: what retention says, and how it is made.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::oci::{Digest, RepositoryName};
use crate::registry::gc::facts::{RepositoryFacts, Verdicts};

/// How many requests a second a survey makes: a tenth of what a bucket allows one client, and the reads of 2 million
/// manifests in an hour.
#[cfg(feature = "internals")]
pub(in crate::registry) const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// What retention knows and says.
pub(in crate::registry) trait Policy: Send + Sync {
    /// Whether a verdict about this repository may depend on where content came from. If not, no manifest's link is
    /// read for that, and all of them count as pushed.
    fn asks_origins(&self, name: &RepositoryName) -> bool;

    /// When a manifest was last pulled, if that is known.
    fn last_pull(&self, name: &RepositoryName, digest: &Digest) -> Option<SystemTime>;

    /// What goes. A manifest without a verdict stays.
    fn verdicts(&self, facts: &RepositoryFacts) -> Verdicts;
}

/// How a survey is made.
#[derive(Clone, Debug)]
pub(in crate::registry) struct SurveyOptions {
    /// `storage.maintenance.gc.delay`: how old a key is that may go.
    pub(in crate::registry) delay: Duration,
    /// `storage.maxsize`, in bytes.
    pub(in crate::registry) max_size: Option<u64>,
    /// Where temporary files are made; `None`: where the system has them.
    pub(in crate::registry) directory: Option<PathBuf>,
    /// Requests a second.
    pub(in crate::registry) rate: NonZeroU32,
    /// Whether it writes down what it learned of manifests.
    pub(in crate::registry) remembers: bool,
}
