//! The memory of this process. Each part is bounded, and everything in it can be lost at any time.

mod absent;
mod blobs;
mod bounds;
mod holdings;
mod lists;
mod manifests;
mod tags;

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache as Moka;

use absent::AbsentCache;
use blobs::BlobCache;
use bounds::Evictions;
use holdings::HoldingCache;
use lists::ListCache;
use manifests::ManifestCache;
use tags::TagCache;

pub(super) use blobs::{Membership, Standing};
pub(super) use bounds::InRepository;
pub(super) use holdings::Holding;
pub(super) use tags::{Origin, TagState};

use crate::oci::Digest;
use crate::telemetry::CacheUsage;

/// Places where upstreams keep blobs.
const LOCATIONS: u64 = 10_000;
/// How long clients are sent to such a place before the upstream is asked for another: long enough for a fleet that
/// starts at once, and a small part of the life of any presigned URL.
const LOCATION_LIFE: Duration = Duration::from_secs(10);

/// Where an upstream has its clients fetch a blob.
#[derive(Clone, Debug)]
pub(super) enum Location {
    /// From itself.
    Upstream,
    /// From this URL.
    Elsewhere(Arc<str>),
}

#[derive(Debug)]
pub(super) struct Cache {
    pub(super) manifests: ManifestCache,
    pub(super) tags: TagCache,
    pub(super) absent: AbsentCache,
    pub(super) blobs: BlobCache,
    /// Where upstreams have their clients fetch blobs, by repository and digest.
    pub(super) locations: Moka<InRepository<Digest>, Location>,
    locations_evicted: Evictions,
    pub(super) lists: ListCache,
    pub(super) holdings: HoldingCache,
}

impl Cache {
    /// How full the caches are.
    pub(super) fn usage(&self) -> Vec<CacheUsage> {
        self.locations.run_pending_tasks();
        let locations = CacheUsage {
            name: "locations",
            entries: self.locations.entry_count(),
            bytes: None,
            evictions: self.locations_evicted.count(),
        };
        vec![self.manifests.usage(), self.tags.usage(), self.blobs.usage(), self.lists.usage(), locations]
    }

    /// Forgets all: for a machine that slept, where the clock by which entries become old stood still.
    pub(super) fn clear(&self) {
        let Self { manifests, tags, absent, blobs, locations, locations_evicted: _, lists, holdings } = self;
        manifests.clear();
        tags.clear();
        absent.forget_all();
        blobs.clear();
        locations.invalidate_all();
        lists.clear();
        holdings.clear();
    }

    /// `url_life` is how long a presigned URL lives, `min_age` how old a blob must be before clients get one, `present`
    /// how long the bucket is believed to have something.
    pub(super) fn new(url_life: Duration, min_age: Duration, present: Duration) -> Self {
        let locations_evicted = Evictions::default();
        let locations = Moka::builder().max_capacity(LOCATIONS).time_to_live(LOCATION_LIFE);
        Self {
            manifests: ManifestCache::new(present),
            tags: TagCache::new(),
            absent: AbsentCache::new(),
            // A client gets at least half of a URL's life to begin its download.
            blobs: BlobCache::new(url_life.mul_f64(0.45), min_age, present),
            locations: locations_evicted.of(locations).build(),
            locations_evicted,
            lists: ListCache::new(),
            holdings: HoldingCache::new(present),
        }
    }
}
