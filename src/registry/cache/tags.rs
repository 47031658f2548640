//! Tags: which digest each names, where that came from, and until when it counts.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::sync::Cache as Moka;

use super::bounds::{Evictions, InRepository};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::staleness::Staleness;
use crate::telemetry::CacheUsage;

const TAGS: u64 = 100_000;

/// Where a tag came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Origin {
    /// A client pushed it here. It is never looked up upstream.
    Pushed,
    /// The upstream has it.
    Upstream,
}

#[derive(Clone, Debug)]
pub(in crate::registry) struct TagState {
    pub(in crate::registry) digest: Digest,
    pub(in crate::registry) origin: Origin,
    /// Until when it is served without asking the bucket or the upstream.
    pub(in crate::registry) fresh_until: Instant,
    /// Why it is served without the upstream's answer, where it is.
    pub(in crate::registry) stale: Option<Staleness>,
}

#[derive(Debug)]
pub(in crate::registry) struct TagCache {
    tags: Moka<InRepository<Tag>, TagState>,
    evicted: Evictions,
    /// Held while a tag's state is replaced.
    lock: Mutex<()>,
}

impl TagState {
    pub(in crate::registry) fn new(digest: Digest, origin: Origin, life: Duration) -> Self {
        Self { digest, origin, fresh_until: Instant::now() + life, stale: None }
    }

    pub(in crate::registry) fn is_fresh(&self) -> bool {
        self.fresh_until > Instant::now()
    }

    pub(in crate::registry) fn is_pushed(&self) -> bool {
        self.origin == Origin::Pushed
    }
}

impl TagCache {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.tags.invalidate_all();
    }

    pub(super) fn usage(&self) -> CacheUsage {
        // Otherwise the numbers are those of a while ago.
        self.tags.run_pending_tasks();
        let (entries, evictions) = (self.tags.entry_count(), self.evicted.count());
        CacheUsage { name: "tags", entries, bytes: None, evictions }
    }

    pub(super) fn new() -> Self {
        let evicted = Evictions::default();
        let tags = evicted.of(Moka::builder().max_capacity(TAGS)).build();
        Self { tags, evicted, lock: Mutex::default() }
    }

    pub(in crate::registry) fn get(&self, name: &RepositoryName, tag: &Tag) -> Option<TagState> {
        self.tags.get(&(name.clone(), tag.clone()))
    }

    pub(in crate::registry) fn keep(&self, name: &RepositoryName, tag: &Tag, state: TagState) {
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.tags.insert((name.clone(), tag.clone()), state);
    }

    /// Keeps what the upstream says of a tag, unless it is remembered to be pushed. Returns whether it was kept.
    pub(in crate::registry) fn keep_upstream(&self, name: &RepositoryName, tag: &Tag, state: TagState) -> bool {
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(name, tag).is_some_and(|kept| kept.is_pushed()) {
            return false;
        }
        self.tags.insert((name.clone(), tag.clone()), state);
        true
    }

    /// From now on, the bucket is asked for a tag, and what is remembered counts only where that does not answer.
    pub(in crate::registry) fn expire(&self, name: &RepositoryName, tag: &Tag) {
        let _lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = self.get(name, tag) {
            self.tags.insert((name.clone(), tag.clone()), TagState { fresh_until: Instant::now(), ..state });
        }
    }

    pub(in crate::registry) fn forget(&self, name: &RepositoryName, tag: &Tag) {
        self.tags.invalidate(&(name.clone(), tag.clone()));
    }

    /// Forgets a tag if it is remembered to name this digest.
    pub(in crate::registry) fn forget_digest(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) {
        if self.get(name, tag).is_some_and(|state| state.digest == *digest) {
            self.forget(name, tag);
        }
    }

    /// Forgets a tag if it is remembered to be pushed.
    pub(in crate::registry) fn forget_pushed(&self, name: &RepositoryName, tag: &Tag) {
        if self.get(name, tag).is_some_and(|state| state.is_pushed()) {
            self.forget(name, tag);
        }
    }
}
