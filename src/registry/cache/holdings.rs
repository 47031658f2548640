//! Whether repositories hold pushed content.

use std::time::{Duration, Instant};

use moka::sync::Cache as Moka;

use super::bounds::with_life;
use crate::oci::RepositoryName;

const REPOSITORIES: u64 = 20_000;
/// How long answers from memory go on as if nothing was pushed at another replica.
const UNPUSHED_LIFE: Duration = Duration::from_secs(10);

/// What is known of a repository.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) enum Holding {
    /// It holds pushed content, and the bucket has the marker.
    Marked,
    /// Links say that it holds pushed content, or content of an upstream that is no longer configured.
    Pushed,
    /// It held none.
    Unpushed {
        /// When the links in the bucket were looked at.
        surveyed: Instant,
        /// When the bucket was last asked for the marker.
        asked: Instant,
    },
}

#[derive(Debug)]
pub(in crate::registry) struct HoldingCache(Moka<RepositoryName, Holding>);

impl HoldingCache {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.0.invalidate_all();
    }

    pub(super) fn new(present: Duration) -> Self {
        Self(with_life(REPOSITORIES, present))
    }

    pub(in crate::registry) fn get(&self, name: &RepositoryName) -> Option<Holding> {
        self.0.get(name)
    }

    /// Whether a repository holds pushed content, where that is remembered and was asked just now.
    pub(in crate::registry) fn holds_pushed(&self, name: &RepositoryName) -> Option<bool> {
        match self.0.get(name)? {
            Holding::Marked | Holding::Pushed => Some(true),
            Holding::Unpushed { asked, .. } => (asked.elapsed() < UNPUSHED_LIFE).then_some(false),
        }
    }

    /// Whether it is remembered that a repository holds pushed content.
    pub(in crate::registry) fn is_pushed(&self, name: &RepositoryName) -> bool {
        matches!(self.0.get(name), Some(Holding::Marked | Holding::Pushed))
    }

    pub(in crate::registry) fn is_marked(&self, name: &RepositoryName) -> bool {
        matches!(self.0.get(name), Some(Holding::Marked))
    }

    pub(in crate::registry) fn keep_marked(&self, name: &RepositoryName) {
        self.0.insert(name.clone(), Holding::Marked);
    }

    pub(in crate::registry) fn keep_pushed(&self, name: &RepositoryName) {
        if !self.is_pushed(name) {
            self.0.insert(name.clone(), Holding::Pushed);
        }
    }

    /// Remembers that a repository holds no pushed content, unless a push came meanwhile. Returns whether one did.
    pub(in crate::registry) fn keep_unpushed(&self, name: &RepositoryName, surveyed: Instant, asked: Instant) -> bool {
        let unpushed = Holding::Unpushed { surveyed, asked };
        let kept = self.0.entry_by_ref(name).and_upsert_with(|kept| {
            let kept = kept.map(moka::Entry::into_value);
            kept.filter(|kept| !matches!(kept, Holding::Unpushed { .. })).unwrap_or(unpushed)
        });
        !matches!(kept.into_value(), Holding::Unpushed { .. })
    }
}
