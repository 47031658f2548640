//! What was pulled while a survey went on. A survey may take hours, and goes by the pulls that were noted when it began.
//!
//! Where a manifest that goes was pulled since, nothing of its repository goes by a rule in this round: its tags, its
//! children and what refers to it are there. The next round decides by all pulls.

use std::collections::BTreeSet;
use std::io;

use super::facts::{Candidate, CandidateKind, Reason};
use super::retention::Retention;
use super::survey::Survey;
use crate::registry::pulls::PullHistory;
use crate::store::{Key, RepositoryObject, split_repository};

/// The names of repositories of which nothing goes by a rule.
#[derive(Debug, Default)]
pub(super) struct Spared(BTreeSet<String>);

impl Spared {
    /// `pulls` were noted since those were read that the survey went by.
    ///
    /// # Errors
    /// The candidates cannot be read.
    pub(super) fn new(pulls: &PullHistory, retention: &Retention, survey: &Survey) -> io::Result<Self> {
        let mut spared = BTreeSet::new();
        for candidate in survey.candidates() {
            let candidate = candidate?;
            // They come in the order of their kinds.
            if candidate.kind > CandidateKind::Revision {
                break;
            }
            if candidate.kind == CandidateKind::Revision
                && retention.counts_pulls(candidate.reason)
                && let Some((name, path)) = in_repository(&candidate)
                && let Some(RepositoryObject::Revision(digest)) = RepositoryObject::parse(path)
                && pulls.may_be_pulled(name, &digest)
                && !spared.contains(name)
            {
                spared.insert(name.to_owned());
            }
        }
        Ok(Self(spared))
    }

    /// Whether a key stays in this round.
    pub(super) fn has(&self, candidate: &Candidate) -> bool {
        let goes_by_rule = candidate.kind <= CandidateKind::Revision && candidate.reason != Reason::Unneeded;
        !self.0.is_empty() && goes_by_rule && in_repository(candidate).is_some_and(|(name, _)| self.0.contains(name))
    }
}

/// The name of a key's repository, and the path in it.
fn in_repository(candidate: &Candidate) -> Option<(&str, &str)> {
    split_repository(candidate.path.strip_prefix(&Key::Names("").to_string())?)
}
