//! What the registry knows how to do, in the spec's terms and without HTTP.
//!
//! [`Registry`] makes the components. Each is a type in the file or folder of its name, and its fields are the
//! components that it may use. From the top down; nothing points up (`tests/layers.rs` checks it):
//!
//! ```text
//! warm, prefetch         what is done before, or without, a client's request
//! browse/                what is stored, as people browse it
//! inventory              what the bucket has, for its operator
//! gc/                    what goes, and when
//! catalog                lists repositories
//! manifests/             pull, push, delete
//! uploads/               begin, append, finish, commit, abort
//! tags/                  resolve, revalidate, write back, push, delete, list
//! blobs/                 redirect, stream or fill
//! revisions              a manifest in memory and in the bucket
//! referrers              lists referrers
//! fill/                  one blob, upstream → bucket, any number of readers
//! ingest/                bytes of pushes: permits, memory, hashing, parts
//! links                  is this blob this repository's, and stored?
//! condemned/             which keys garbage collection is about to delete, and how a write keeps them
//! holdings               does this repository hold pushed content?
//! provenance             the links in the bucket: what they say, and writing them
//! cache/                 what this process remembers
//! runtime/               background tasks, single flight, bounded joins, readiness
//! ```
//!
//! Content that comes from upstream is verified, passed on at once and stored in the background. Content that is pushed
//! is in the bucket before the push is acknowledged.

mod blob_part;
mod blobs;
mod browse;
mod cache;
mod catalog;
mod changes;
mod condemned;
mod failure;
mod fill;
mod flights;
mod gc;
mod holdings;
mod ingest;
mod inventory;
mod links;
mod list_memory;
mod manifests;
mod options;
mod parts_digest;
mod prefetch;
mod presence;
mod provenance;
mod pulls;
mod referrers;
mod removal;
mod repositories;
mod repository_walk;
mod revisions;
mod runtime;
mod staleness;
mod stored_manifest;
mod tags;
mod uploads;
mod warm;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::oci::Action;
use crate::store::{Embedded, Location, Store};
use crate::telemetry::{CacheUsage, Health, Metrics, until_tomorrow};
use crate::upstream::Upstreams;

use cache::Cache;
use condemned::Condemned;
use fill::Fills;
use flights::Flights;
use ingest::BlobWriter;
use links::Links;
use list_memory::ListMemory;
use provenance::Provenance;
use pulls::Pulls;
use revisions::Revisions;
use runtime::{Background, after_sleep};

#[cfg(feature = "internals")]
pub(crate) use fill::fuzz_lease;
#[cfg(feature = "internals")]
pub use gc::{Ruled, SurveyRules};
#[cfg(feature = "internals")]
pub(crate) use gc::{gc_round, measured_survey};
#[cfg(feature = "internals")]
pub(crate) use uploads::{fuzz_state, measured_state};

pub use blob_part::BlobPart;
pub use blobs::{BlobAccess, BlobInfo, BlobRequest, BlobStream, Blobs};
pub use browse::{
    Browse, BuildStep, Child, Content, Image, ImageConfiguration, LastPull, Layer, RepositoryList, Summary, TagEntry,
    TagLink,
};
pub use catalog::{Catalog, CatalogPage};
pub use changes::Changes;
pub use fill::{FillStatus, FillsStatus};
pub use gc::{
    Amount, Begun, Figures, GarbageCollection, GoingKey, GoingTotals, Report, RepositoryFigures, RepositoryUsage,
    Round, RoundOptions, RoundProgress, RoundRequests, RoundStep, Usage,
};
pub use holdings::Holdings;
pub use ingest::Pusher;
pub use inventory::{ImageEntry, Inventory, PlatformEntry, RecentPulls, RepositoryEntry, Source};
pub use manifests::{ManifestRequest, Manifests, Served};
pub use options::Options;
pub use prefetch::Prefetch;
pub use referrers::Referrers;
pub use repositories::Repositories;
pub use runtime::{Readiness, Unready};
pub use staleness::Staleness;
pub use tags::Tags;
pub use uploads::{ChunkRequest, Mounted, Progress, Pushed, UploadRequest, Uploads};
pub use warm::{WarmManifest, Warmed, Warmer};

pub use crate::upstream::RequestHosts;

/// How often the clock is read to learn whether a day has begun.
const CLOCK: Duration = Duration::from_mins(1);

/// The registry, cheap to clone: its components.
#[derive(Clone, Debug)]
pub struct Registry {
    pub repositories: Repositories,
    pub blobs: Arc<Blobs>,
    pub manifests: Arc<Manifests>,
    pub prefetch: Arc<Prefetch>,
    pub tags: Arc<Tags>,
    pub referrers: Arc<Referrers>,
    pub catalog: Arc<Catalog>,
    pub uploads: Arc<Uploads>,
    pub holdings: Arc<Holdings>,
    pub readiness: Arc<Readiness>,
    pub warmer: Arc<Warmer>,
    pub inventory: Arc<Inventory>,
    pub browse: Arc<Browse>,
    pub gc: Arc<GarbageCollection>,
    cache: Arc<Cache>,
    fills: Arc<Fills>,
    pulls: Arc<Pulls>,
    store: Store,
    background: Arc<Background>,
    changes: Changes,
}

impl Registry {
    /// A registry over a bucket, and the configured upstreams.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "the fields of each component, a line each")]
    pub fn new(store: Store, upstreams: Upstreams, options: &Options, metrics: &Arc<Metrics>) -> Self {
        let upstreams = Arc::new(upstreams);
        let background = Background::new(Arc::clone(metrics));
        let cache = Arc::new(Cache::new(options.url_life, store.redirect_min_age(), options.gc_timing.present));
        let flights = Arc::new(Flights::default());
        let memory = Arc::new(ListMemory::default());
        let (tag_ttl, proxied_until) = (options.tag_ttl, options.proxied_until);
        let provenance = Arc::new(Provenance { upstreams: Arc::clone(&upstreams), tag_ttl, proxied_until });
        let inventory = Arc::new(Inventory { store: store.clone(), provenance: Arc::clone(&provenance) });
        let holdings = Arc::new(Holdings {
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            flights: Arc::clone(&flights),
            provenance: Arc::clone(&provenance),
        });
        let condemned = Condemned::new(&store, &background, options.gc_timing);
        let links = Arc::new(Links {
            condemned: Arc::clone(&condemned),
            deletes: AtomicU64::default(),
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            flights: Arc::clone(&flights),
            holdings: Arc::clone(&holdings),
            background: Arc::clone(&background),
        });
        let writer = Arc::new(BlobWriter::new(&store, &links, &background));
        let fills = Arc::new(Fills::new(&store, &cache, &links, metrics, options));
        let referrers = Arc::new(Referrers {
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            flights: Arc::clone(&flights),
            memory: Arc::clone(&memory),
        });
        let revisions = Arc::new(Revisions {
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            links: Arc::clone(&links),
            referrers: Arc::clone(&referrers),
            provenance: Arc::clone(&provenance),
            condemned: Arc::clone(&condemned),
            background: Arc::clone(&background),
        });
        let blobs = Arc::new(Blobs {
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            flights: Arc::clone(&flights),
            links: Arc::clone(&links),
            fills: Arc::clone(&fills),
            background: Arc::clone(&background),
            changes: options.changes,
            on_miss: options.on_miss,
            stream_all: options.stream_blobs,
            metrics: Arc::clone(metrics),
        });
        let tags = Arc::new(Tags::new(&store, &cache, &flights, &memory, &revisions, options.client_wait));
        let uploads = Arc::new(Uploads::new(&store, &flights, &links, &writer, &fills, options));
        let repositories = Repositories { upstreams: Arc::clone(&upstreams), cache: Arc::clone(&cache) };
        let pulls = Pulls::new(&store, writes(options.changes, &repositories));
        let manifests = Arc::new(Manifests {
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            flights: Arc::clone(&flights),
            tags: Arc::clone(&tags),
            revisions: Arc::clone(&revisions),
            referrers: Arc::clone(&referrers),
            links: Arc::clone(&links),
            holdings: Arc::clone(&holdings),
            condemned,
            blobs: Arc::clone(&blobs),
            background: Arc::clone(&background),
            pulls: Arc::clone(&pulls),
            changes: options.changes,
            validation: options.validation.clone(),
            checks: Semaphore::new(manifests::PARALLEL_CHECKS),
            metrics: Arc::clone(metrics),
        });
        let catalog = Arc::new(Catalog {
            store: store.clone(),
            cache: Arc::clone(&cache),
            flights: Arc::clone(&flights),
            holdings: Arc::clone(&holdings),
        });
        let browse = Arc::new(Browse {
            store: store.clone(),
            cache: Arc::clone(&cache),
            flights,
            catalog: Arc::clone(&catalog),
            inventory: Arc::clone(&inventory),
            referrers: Arc::clone(&referrers),
            pulls: Arc::clone(&pulls),
            summaries: browse::Summaries::default(),
            tag_counts: browse::TagCounts::default(),
            figures: browse::Periodic::default(),
            history: browse::Periodic::default(),
        });
        let prefetch = Arc::new(Prefetch {
            manifests: Arc::clone(&manifests),
            upstreams: Arc::clone(&upstreams),
            cache: Arc::clone(&cache),
            links: Arc::clone(&links),
            fills: Arc::clone(&fills),
            background: Arc::clone(&background),
            fill: options.prefetch,
        });
        let warmer = Arc::new(Warmer {
            store: store.clone(),
            upstreams: Arc::clone(&upstreams),
            manifests: Arc::clone(&manifests),
            revisions,
            links,
            fills: Arc::clone(&fills),
        });
        let gc = Arc::new(GarbageCollection {
            store: store.clone(),
            pulls: Arc::clone(&pulls),
            background: Arc::clone(&background),
            metrics: Arc::clone(metrics),
            settings: gc::Settings::new(&options.config),
            is_refused: AtomicBool::default(),
            is_denied: AtomicBool::default(),
        });
        let readiness = Arc::new(Readiness::new(store.clone(), Arc::clone(&background)));
        Self {
            repositories,
            blobs,
            manifests,
            prefetch,
            tags,
            referrers,
            catalog,
            uploads,
            holdings,
            readiness,
            warmer,
            inventory,
            browse,
            gc,
            cache,
            fills,
            pulls,
            store,
            background,
            changes: options.changes,
        }
    }

    /// The actions that the configuration allows at all, whichever client asks.
    #[must_use]
    pub fn possible_actions(&self) -> &'static [Action] {
        match self.changes {
            Changes::Nothing => &[Action::Pull],
            Changes::Pushes => &[Action::Pull, Action::Push],
            Changes::Everything => &Action::ALL,
        }
    }

    /// The fills, and of those that run the `most` oldest.
    #[must_use]
    pub fn fills_status(&self, most: usize) -> FillsStatus {
        self.fills.status(most)
    }

    /// How full the caches are.
    #[must_use]
    pub fn cache_usage(&self) -> Vec<CacheUsage> {
        self.cache.usage()
    }

    /// Where the bucket is, and how it answers.
    #[must_use]
    pub fn bucket(&self) -> (&Location, &Health) {
        (self.store.location(), self.store.health())
    }

    /// The S3 server inside this process, where the bucket is a folder.
    #[must_use]
    pub fn embedded(&self) -> Option<&Embedded> {
        self.store.embedded()
    }

    /// Finds out in the background whether the bucket keeps conditions, unless nothing is ever written there. Writes
    /// that depend on that wait for it. Logs why replicas do not share fills, where they are meant to.
    pub fn find_out_conditions(&self) {
        if !writes(self.changes, &self.repositories) {
            return;
        }
        let (store, fills) = (self.store.clone(), Arc::clone(&self.fills));
        let has_upstreams = self.repositories.have_upstreams();
        self.background.spawn(async move {
            store.keeps_conditions().await;
            if has_upstreams {
                fills.log_sharing().await;
            }
        });
    }

    /// Notes in the bucket what clients pull, until the registry stops. The credentials of a registry that writes nothing
    /// else need not allow it.
    pub fn note_pulls(&self) {
        self.pulls.write_periodically(&self.background);
    }

    /// Forgets everything when the machine slept, until the registry stops: the clock by which entries become old stands
    /// still meanwhile, so that URLs would be given out that have expired, and pushes would rely on blobs that garbage
    /// collection deleted.
    pub fn forget_after_sleep(&self) {
        let cache = Arc::clone(&self.cache);
        self.background.forever(async move {
            loop {
                let slept = humantime::format_duration(after_sleep().await);
                tracing::info!(
                    %slept, "the machine slept, or its clock was set forward: what was remembered is forgotten"
                );
                cache.clear();
            }
        });
    }

    /// Begins a new day for what the cache saves, at every midnight (UTC), until the registry stops.
    pub fn count_days(&self, metrics: &Arc<Metrics>) {
        let metrics = Arc::clone(metrics);
        self.background.forever(async move {
            loop {
                // The clock may be set meanwhile.
                tokio::time::sleep(until_tomorrow(SystemTime::now()).min(CLOCK)).await;
                metrics.day_turns(SystemTime::now());
            }
        });
    }

    /// Cancelled when the registry begins to shut down.
    #[must_use]
    pub fn closing(&self) -> CancellationToken {
        self.background.closing_token()
    }

    /// From now on, nothing begins for which no client waits, and [`Readiness::check`] says so.
    pub fn close(&self) {
        self.background.close();
    }

    /// Waits until fills and other tasks in the background have ended, for at most `grace`; then stops the others,
    /// which abort their uploads. Meanwhile, the last pulls are noted, for 5 seconds at most.
    pub async fn drain(&self, grace: Duration) {
        tokio::join!(self.background.drain(grace), self.pulls.close());
    }
}

/// Whether anything is ever written to the bucket: pushes, or copies from upstreams.
fn writes(changes: Changes, repositories: &Repositories) -> bool {
    changes != Changes::Nothing || repositories.have_upstreams()
}
