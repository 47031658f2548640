//! What a survey asks of retention.

use std::sync::Arc;
use std::time::SystemTime;

use super::facts::{RepositoryFacts, Verdicts};
use super::progress::RoundProgress;
use super::retention::Retention;
use super::survey;
use crate::oci::{Digest, RepositoryName};
use crate::registry::pulls::PullHistory;

/// The rules, and what is known of the use of content.
pub(super) struct Policy<'a> {
    retention: &'a Retention,
    history: Option<&'a PullHistory>,
    now: SystemTime,
    progress: Arc<RoundProgress>,
}

impl<'a> Policy<'a> {
    pub(super) fn new(
        retention: &'a Retention,
        history: Option<&'a PullHistory>,
        now: SystemTime,
        progress: &Arc<RoundProgress>,
    ) -> Self {
        Self { retention, history, now, progress: Arc::clone(progress) }
    }
}

impl survey::Policy for Policy<'_> {
    fn asks_origins(&self, name: &RepositoryName) -> bool {
        self.retention.asks_origins(name)
    }

    fn last_pull(&self, name: &RepositoryName, digest: &Digest) -> Option<SystemTime> {
        self.history?.last(name, digest)
    }

    fn verdicts(&self, facts: &RepositoryFacts) -> Verdicts {
        self.progress.surveyed(facts.manifests.len() as u64);
        // Without a history, nothing asks for it.
        let recorded_since = self.history.map_or(self.now, PullHistory::recorded_since);
        self.retention.decide(facts, self.now, recorded_since)
    }
}

/// Keeps everything: for figures of what there is.
pub(super) struct Counting(pub(super) Arc<RoundProgress>);

impl survey::Policy for Counting {
    fn asks_origins(&self, _: &RepositoryName) -> bool {
        false
    }

    fn last_pull(&self, _: &RepositoryName, _: &Digest) -> Option<SystemTime> {
        None
    }

    fn verdicts(&self, facts: &RepositoryFacts) -> Verdicts {
        self.0.surveyed(facts.manifests.len() as u64);
        Verdicts::default()
    }
}
