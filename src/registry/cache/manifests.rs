//! Manifests, and which of them the bucket has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache as Moka;

use super::bounds::{Evictions, InRepository, References, weight, with_life};
use crate::oci::{Digest, Manifest, Reference, RepositoryName};
use crate::telemetry::CacheUsage;

/// What all manifests take, in bytes of their content: some thousands of the usual size, and eight of the largest.
const BYTES: u64 = 32 << 20;
/// For a manifest of more bytes, room is made at once.
const LARGE: usize = 64 << 10;
/// Manifests that the bucket is known to have.
const STORED: u64 = 100_000;

/// A manifest that is in memory.
#[derive(Clone, Debug)]
pub(in crate::registry) struct CachedManifest {
    pub(in crate::registry) manifest: Manifest,
    pulls: Arc<PullMarks>,
}

/// What is known of the pulls of a manifest since it is in memory.
#[derive(Debug, Default)]
struct PullMarks {
    /// A client pulled it by a GET.
    pulled: AtomicBool,
    /// The note of pulls that has it, by its number.
    noted: AtomicU32,
}

impl CachedManifest {
    /// Whether a client has pulled it by a GET.
    pub(in crate::registry) fn is_pulled(&self) -> bool {
        self.pulls.pulled.load(Ordering::Relaxed)
    }

    /// Marks that the note of pulls with this number has it; true if it had not.
    pub(in crate::registry) fn is_first_in(&self, note: u32) -> bool {
        // Read first, because each processor that serves the manifest would see a write.
        let noted = &self.pulls.noted;
        noted.load(Ordering::Relaxed) != note && noted.swap(note, Ordering::Relaxed) != note
    }
}

#[derive(Debug)]
pub(in crate::registry) struct ManifestCache {
    manifests: Moka<InRepository<Digest>, CachedManifest>,
    evicted: Evictions,
    /// Without a digest: the type is the one of [`AbsentCache`](super::absent::AbsentCache).
    stored: References,
}

impl ManifestCache {
    /// Forgets all.
    pub(super) fn clear(&self) {
        self.manifests.invalidate_all();
        self.stored.invalidate_all();
    }

    pub(super) fn usage(&self) -> CacheUsage {
        // Otherwise the numbers are those of a while ago.
        self.manifests.run_pending_tasks();
        CacheUsage {
            name: "manifests",
            entries: self.manifests.entry_count(),
            bytes: Some(self.manifests.weighted_size()),
            evictions: self.evicted.count(),
        }
    }

    pub(super) fn new(present: Duration) -> Self {
        let evicted = Evictions::default();
        let manifests = Moka::builder()
            .max_capacity(BYTES)
            .weigher(|_, entry: &CachedManifest| weight(entry.manifest.bytes().len() + 256))
            .time_to_live(present);
        Self { manifests: evicted.of(manifests).build(), evicted, stored: with_life(STORED, present) }
    }

    pub(in crate::registry) fn get(&self, name: &RepositoryName, digest: Digest) -> Option<Manifest> {
        Some(self.manifests.get(&(name.clone(), digest))?.manifest)
    }

    /// A manifest with what is known of its pulls.
    pub(in crate::registry) fn get_cached(&self, name: &RepositoryName, digest: Digest) -> Option<CachedManifest> {
        self.manifests.get(&(name.clone(), digest))
    }

    /// True once: for the first pull since the manifest is here.
    pub(in crate::registry) fn is_first_pull(&self, name: &RepositoryName, manifest: &Manifest) -> bool {
        let entry = self.manifests.get(&(name.clone(), manifest.digest()));
        // Read first, because each processor that serves the manifest would see a write.
        entry.is_some_and(|entry| !entry.is_pulled() && !entry.pulls.pulled.swap(true, Ordering::Relaxed))
    }

    pub(in crate::registry) fn keep(&self, name: &RepositoryName, manifest: &Manifest) {
        let entry = CachedManifest { manifest: manifest.clone(), pulls: Arc::default() };
        self.manifests.insert((name.clone(), manifest.digest()), entry);
        if manifest.bytes().len() > LARGE {
            // The cache makes room now and then only, and dozens of them could come meanwhile.
            self.manifests.run_pending_tasks();
        }
    }

    /// Whether the bucket is known to have a manifest, and its revision link in this repository.
    pub(in crate::registry) fn is_stored(&self, name: &RepositoryName, digest: Digest) -> bool {
        self.stored.contains_key(&(name.clone(), Reference::Digest(digest)))
    }

    pub(in crate::registry) fn keep_stored(&self, name: &RepositoryName, digest: Digest) {
        self.stored.insert((name.clone(), Reference::Digest(digest)), None);
    }

    pub(in crate::registry) fn forget(&self, name: &RepositoryName, digest: &Digest) {
        self.manifests.invalidate(&(name.clone(), *digest));
        self.stored.invalidate(&(name.clone(), Reference::Digest(*digest)));
    }
}
