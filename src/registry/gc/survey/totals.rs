//! The numbers of a survey.

use std::collections::BTreeMap;

use serde::Serialize;

use super::blobs::{BlobTotals, Sizes};
use super::reader::Requests;
use crate::registry::gc::facts::{Candidate, CandidateKind, Reason};

/// What may go, of one kind, or for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::registry) struct Goes {
    /// Keys, of all kinds.
    pub(in crate::registry) keys: Sizes,
    /// Blobs, and bytes of manifests: of these, and those that go once the manifests are gone that name them.
    pub(in crate::registry) blobs: Sizes,
    /// Of these keys, tags.
    pub(in crate::registry) tags: u64,
    /// Of these keys, links of manifests.
    pub(in crate::registry) manifests: u64,
}

/// What a bucket has, and what of it may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(in crate::registry) struct Totals {
    pub(in crate::registry) repositories: u64,
    pub(in crate::registry) tags: u64,
    /// Links of repositories to manifests.
    pub(in crate::registry) manifests: u64,
    /// Blobs and manifests.
    pub(in crate::registry) blobs: Sizes,
    /// Those that a pushed manifest names. Where no verdict depends on it, all manifests count as pushed.
    pub(in crate::registry) pushed: Sizes,
    /// Those that only manifests of upstreams name.
    pub(in crate::registry) upstream: Sizes,
    /// Those that no manifest names.
    pub(in crate::registry) unnamed: Sizes,
    /// Objects of uploads, which are left alone.
    pub(in crate::registry) uploads: u64,
    /// Keys that neither pounce nor distribution writes, which are left alone.
    pub(in crate::registry) strangers: u64,
    /// Manifests that cannot be read. If there are any, no blob goes.
    pub(in crate::registry) unreadable_manifests: u64,
    /// Links of tags that cannot be read.
    pub(in crate::registry) unreadable_tags: u64,
    /// The keys of the first of these.
    pub(in crate::registry) unreadable: Vec<String>,
    /// Links of manifests whose bytes are gone.
    pub(in crate::registry) gone: u64,
    /// Repositories of which nothing goes, because they could not be read whole.
    pub(in crate::registry) kept_whole: u64,
    /// What goes.
    pub(in crate::registry) goes: Goes,
    /// The same, by reason: `unneeded`, `ttl`, `budget`, or the number of a rule.
    pub(in crate::registry) by_reason: BTreeMap<String, Goes>,
    pub(in crate::registry) requests: Requests,
    /// Temporary files were written.
    pub(in crate::registry) spilled: bool,
    pub(in crate::registry) seconds: u64,
}

impl Totals {
    pub(super) fn add_blobs(&mut self, blobs: &BlobTotals) {
        (self.blobs, self.pushed, self.upstream, self.unnamed) =
            (blobs.all, blobs.pushed, blobs.upstream, blobs.unnamed);
        self.strangers += blobs.strangers;
        self.gone = blobs.gone;
    }

    /// Bytes that go a round after the manifests that name them.
    pub(super) fn add_later(&mut self, blob: &Candidate) {
        for goes in self.goes_of(blob.reason) {
            goes.blobs.add(blob.size);
        }
    }

    fn goes_of(&mut self, reason: Reason) -> [&mut Goes; 2] {
        let reason = match reason {
            Reason::Unneeded => "unneeded".to_owned(),
            Reason::Ttl => "ttl".to_owned(),
            Reason::Budget => "budget".to_owned(),
            Reason::Rule(rule) => rule.to_string(),
        };
        [&mut self.goes, self.by_reason.entry(reason).or_default()]
    }

    pub(super) fn add_candidate(&mut self, candidate: &Candidate) {
        for goes in self.goes_of(candidate.reason) {
            goes.keys.add(candidate.size);
            match candidate.kind {
                CandidateKind::Blob => goes.blobs.add(candidate.size),
                CandidateKind::Tag => goes.tags += 1,
                CandidateKind::Revision => goes.manifests += 1,
                _ => {}
            }
        }
    }
}
