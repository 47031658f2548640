//! Manifests, and which of them the bucket has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use moka::sync::Cache as Moka;

use super::bounds::{Evictions, InRepository, PRESENT_LIFE, References, weight, with_life};
use crate::oci::{Digest, Manifest, Reference, RepositoryName};
use crate::telemetry::CacheUsage;

/// What all manifests take, in bytes of their content: some thousands of the usual size, and eight of the largest.
const BYTES: u64 = 32 << 20;
/// For a manifest of more bytes, room is made at once.
const LARGE: usize = 64 << 10;
/// Manifests that the bucket is known to have.
const STORED: u64 = 100_000;

/// A manifest, and whether a client pulled it since it is here.
#[derive(Clone, Debug)]
struct Entry {
    manifest: Manifest,
    pulled: Arc<AtomicBool>,
}

#[derive(Debug)]
pub(in crate::registry) struct ManifestCache {
    manifests: Moka<InRepository<Digest>, Entry>,
    evicted: Evictions,
    /// Without a digest: the type is the one of [`AbsentCache`](super::absent::AbsentCache).
    stored: References,
}

impl ManifestCache {
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

    pub(super) fn new() -> Self {
        let evicted = Evictions::default();
        let manifests = Moka::builder()
            .max_capacity(BYTES)
            .weigher(|_, entry: &Entry| weight(entry.manifest.bytes().len() + 256))
            .time_to_live(PRESENT_LIFE);
        Self { manifests: evicted.of(manifests).build(), evicted, stored: with_life(STORED, PRESENT_LIFE) }
    }

    pub(in crate::registry) fn get(&self, name: &RepositoryName, digest: Digest) -> Option<Manifest> {
        Some(self.manifests.get(&(name.clone(), digest))?.manifest)
    }

    /// A manifest that a client has pulled.
    pub(in crate::registry) fn get_pulled(&self, name: &RepositoryName, digest: Digest) -> Option<Manifest> {
        let entry = self.manifests.get(&(name.clone(), digest))?;
        entry.pulled.load(Ordering::Relaxed).then_some(entry.manifest)
    }

    /// True once: for the first pull since the manifest is here.
    pub(in crate::registry) fn is_first_pull(&self, name: &RepositoryName, manifest: &Manifest) -> bool {
        let entry = self.manifests.get(&(name.clone(), manifest.digest()));
        // Read first, because each processor that serves the manifest would see a write.
        entry.is_some_and(|entry| !entry.pulled.load(Ordering::Relaxed) && !entry.pulled.swap(true, Ordering::Relaxed))
    }

    pub(in crate::registry) fn keep(&self, name: &RepositoryName, manifest: &Manifest) {
        let entry = Entry { manifest: manifest.clone(), pulled: Arc::default() };
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
