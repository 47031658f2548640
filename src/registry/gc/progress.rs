//! How far a round is.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a round is, for a command that shows it.
#[derive(Debug, Default)]
pub struct RoundProgress {
    repositories: AtomicU64,
    manifests: AtomicU64,
    is_sweeping: AtomicBool,
    deleted: AtomicU64,
    deleted_bytes: AtomicU64,
}

/// A moment of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundStep {
    /// So many repositories, and manifests, were surveyed.
    Survey {
        /// Repositories.
        repositories: u64,
        /// Manifests.
        manifests: u64,
    },
    /// So much was deleted.
    Sweep {
        /// Keys.
        keys: u64,
        /// Their bytes.
        bytes: u64,
    },
}

impl RoundProgress {
    pub(super) fn surveyed(&self, manifests: u64) {
        self.repositories.fetch_add(1, Ordering::Relaxed);
        self.manifests.fetch_add(manifests, Ordering::Relaxed);
    }

    pub(super) fn sweeps(&self) {
        self.is_sweeping.store(true, Ordering::Relaxed);
    }

    pub(super) fn went(&self, bytes: u64) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
        self.deleted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How far it is now.
    #[must_use]
    pub fn step(&self) -> RoundStep {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        if self.is_sweeping.load(Ordering::Relaxed) {
            return RoundStep::Sweep { keys: read(&self.deleted), bytes: read(&self.deleted_bytes) };
        }
        RoundStep::Survey { repositories: read(&self.repositories), manifests: read(&self.manifests) }
    }
}
