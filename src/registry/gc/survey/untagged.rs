//! Since when a manifest has had no tag.
//!
//! A tag that moves to another manifest leaves an entry in its history, which tells when that was. A client that deletes a
//! tag leaves nothing. So surveys remember of each manifest which of them was the first that found no tag of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::known::Known;
use super::repository::Repository;
use crate::oci::{Digest, Tag};
use crate::registry::gc::facts::TagFacts;

/// The tags of a repository, by what they say of manifests without one.
#[derive(Debug, Default)]
pub(super) struct Untagged {
    /// Manifests that have a tag.
    tagged: BTreeSet<Digest>,
    /// When the last tag that named a manifest was written to name another one.
    moved: BTreeMap<Digest, SystemTime>,
    /// Not all tags were read: any manifest may have one.
    is_unknown: bool,
}

impl Untagged {
    pub(super) fn new(repository: &Repository, tags: &BTreeMap<Tag, TagFacts>) -> Self {
        if repository.is_partial {
            return Self { is_unknown: true, ..Self::default() };
        }
        let tagged = tags.values().map(|tag| tag.digest).collect();
        let mut moved = BTreeMap::new();
        for (tag, links) in &repository.tags {
            let Some(current) = tags.get(tag) else {
                continue;
            };
            // The link is also written when the upstream says that nothing changed, so the tag's entry in the history
            // counts, if that is older.
            let (own, others): (Vec<_>, Vec<_>) =
                links.history.iter().partition(|(digest, _)| *digest == current.digest);
            let entered = own.first().and_then(|(_, link)| link.modified);
            let at = entered.map_or(current.modified, |entered| entered.min(current.modified));
            for (digest, _) in others {
                let last = moved.entry(digest).or_insert(at);
                *last = at.max(*last);
            }
        }
        Self { tagged, moved, is_unknown: false }
    }

    /// Since when a manifest has had no tag, or somewhat later; `None`: it has one. `known` is what an earlier survey
    /// found.
    pub(super) fn since(&self, digest: &Digest, known: Option<&Known>, now: SystemTime) -> Option<SystemTime> {
        if self.is_unknown || self.tagged.contains(digest) {
            return None;
        }
        let moved = self.moved.get(digest).copied();
        let Some(known) = known else {
            return Some(moved.unwrap_or(now));
        };
        let first = known.untagged.map_or(now, |first| UNIX_EPOCH + Duration::from_secs(first));
        Some(moved.map_or(first, |moved| moved.max(first)))
    }
}
