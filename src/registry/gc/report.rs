//! What a round found and did, in numbers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::batches::Published;
use super::facts::{CandidateKind, Reason};
use super::requests::Requests;
use super::survey::Survey;
use super::sweep::Swept;

/// Keys, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Amount {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a survey lets go for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GoingTotals {
    /// Tags.
    pub tags: u64,
    /// Links of repositories to manifests.
    pub manifests: u64,
    /// Blobs and bytes of manifests.
    pub blobs: Amount,
    /// Keys of all kinds.
    pub keys: u64,
}

/// Requests to the bucket, by what they cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoundRequests {
    /// LISTs.
    pub lists: u64,
    /// GETs and HEADs.
    pub gets: u64,
    /// PUTs.
    pub puts: u64,
    /// DELETEs.
    pub deletes: u64,
}

/// What a round found and did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing was written.
    pub dry_run: bool,
    /// What the bucket had when the round began.
    pub repositories: u64,
    /// Tags.
    pub tags: u64,
    /// Links of repositories to manifests.
    pub manifests: u64,
    /// Blobs and bytes of manifests, before the round.
    pub before: Amount,
    /// And after it.
    pub after: Amount,
    /// What nothing needs, or what a rule lets go, now.
    pub goes: GoingTotals,
    /// The same by the setting that lets it go.
    pub by_reason: BTreeMap<String, GoingTotals>,
    /// What was deleted, by kinds: keys that an earlier round condemned.
    pub deleted: BTreeMap<&'static str, Amount>,
    /// Condemned keys that a write needed again.
    pub kept: u64,
    /// Condemned keys that could not be deleted.
    pub failed: u64,
    /// The first of them that the bucket denies to delete, and why.
    pub denied: Option<String>,
    /// Keys that this round condemned.
    pub condemned: u64,
    /// Keys that earlier rounds condemned, and that are not due yet.
    pub condemned_before: u64,
    /// Keys for which there is no room among the condemned ones before others are gone.
    pub waiting: u64,
    /// Tags and manifests that cannot be read. They keep their repositories, and a manifest keeps all blobs.
    pub unreadable: u64,
    /// The keys of the first of these.
    pub unreadable_keys: Vec<String>,
    /// Records of pulls that cannot be read: what they had counts as pulled.
    pub unreadable_notes: u64,
    /// Keys of other programs.
    pub strangers: u64,
    /// Objects of uploads.
    pub uploads: u64,
    /// The requests of all of this.
    pub requests: RoundRequests,
    /// How long it took.
    pub seconds: u64,
    /// Why the round ended early.
    pub stopped: Option<String>,
}

impl Report {
    pub(super) fn new(survey: &Survey, dry_run: bool) -> Self {
        let totals = survey.totals();
        let requests = totals.requests;
        let going = |goes: &super::survey::Goes| GoingTotals {
            tags: goes.tags,
            manifests: goes.manifests,
            blobs: Amount { count: goes.blobs.count, bytes: goes.blobs.bytes },
            keys: goes.keys.count,
        };
        let before = Amount { count: totals.blobs.count, bytes: totals.blobs.bytes };
        Self {
            dry_run,
            repositories: totals.repositories,
            tags: totals.tags,
            manifests: totals.manifests,
            before,
            after: before,
            goes: going(&totals.goes),
            by_reason: totals.by_reason.iter().map(|(reason, goes)| (setting(reason), going(goes))).collect(),
            unreadable: totals.unreadable_manifests + totals.unreadable_tags,
            unreadable_keys: totals.unreadable.clone(),
            strangers: totals.strangers,
            uploads: totals.uploads,
            requests: RoundRequests {
                lists: requests.lists,
                gets: requests.tags + requests.origins + requests.manifests + requests.known,
                puts: requests.writes,
                deletes: 0,
            },
            ..Self::default()
        }
    }

    pub(super) fn add_swept(&mut self, swept: Swept) {
        let Swept { deleted, rescued, failed, denied, stopped, .. } = swept;
        let amounts = deleted.into_iter().map(|(kind, (count, bytes))| (kind, Amount { count, bytes }));
        for (kind, amount) in amounts {
            if kind == CandidateKind::Blob {
                self.after.count = self.before.count.saturating_sub(amount.count);
                self.after.bytes = self.before.bytes.saturating_sub(amount.bytes);
            }
            self.deleted.insert(kind.as_str(), amount);
        }
        (self.kept, self.failed, self.denied, self.stopped) = (rescued, failed, denied, stopped);
    }

    pub(super) fn add_published(&mut self, published: Published) {
        let Published { keys, already, waiting, .. } = published;
        (self.condemned, self.condemned_before, self.waiting) = (keys, already, waiting);
    }

    pub(super) fn add_requests(&mut self, requests: Requests) {
        let Requests { lists, gets, puts, deletes } = requests;
        let own = &mut self.requests;
        own.lists += lists;
        own.gets += gets;
        own.puts += puts;
        own.deletes += deletes;
    }

    /// Everything that was deleted.
    #[must_use]
    pub fn deleted_in_all(&self) -> Amount {
        self.deleted.values().fold(Amount::default(), |all, more| Amount {
            count: all.count + more.count,
            bytes: all.bytes + more.bytes,
        })
    }

    /// Why something was left that this round should have done, as a sentence.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        if let Some(why) = &self.stopped {
            return Some(format!("the round ended early, and the next one goes on: {why}"));
        }
        if let Some(denied) = &self.denied {
            return Some(format!(
                "{} keys could not be deleted, as {denied}; allow s3:DeleteObject below docker/registry/v2/, and end the \
                 object lock or retention policy of the bucket, if it has one",
                self.failed
            ));
        }
        if self.failed > 0 {
            return Some(format!("{} keys could not be deleted, and are left to the next rounds", self.failed));
        }
        let first = self.unreadable_keys.first().map(|key| format!(", as {key}")).unwrap_or_default();
        (self.unreadable > 0).then(|| {
            format!(
                "{} tags or manifests cannot be read{first}: their repositories were left alone, and for a manifest also \
                 all blobs",
                self.unreadable
            )
        })
    }

    /// Logs the figures.
    pub(super) fn log(&self) {
        let deleted = self.deleted_in_all();
        let RoundRequests { lists, gets, puts, deletes } = self.requests;
        tracing::info!(
            dry_run = self.dry_run,
            repositories = self.repositories,
            bytes_before = self.before.bytes,
            bytes_after = self.after.bytes,
            deleted = deleted.count,
            condemned = self.condemned,
            kept = self.kept,
            would_go = self.goes.keys,
            would_go_bytes = self.goes.blobs.bytes,
            lists,
            gets,
            puts,
            deletes,
            seconds = self.seconds,
            "garbage was collected"
        );
        if let Some(why) = self.unfinished() {
            tracing::warn!(%why, "garbage collection left something");
        }
    }
}

/// The setting that a survey's total is about.
fn setting(reason: &str) -> String {
    let reason = match reason {
        "ttl" => Reason::Ttl,
        "budget" => Reason::Budget,
        rule => rule.parse().map_or(Reason::Unneeded, Reason::Rule),
    };
    reason.to_string()
}
