//! What the registry knows how to do, in the spec's terms and without HTTP.
//!
//! [`Registry`] is the whole of it. Manifests and blobs are looked for in the caches, then in the bucket, then
//! upstream; what comes from upstream is verified, handed on at once and stored behind the client's back. What is
//! pushed is in the bucket before the push is acknowledged.

mod background;
mod blobs;
mod cache;
mod catalog;
mod cold;
mod deletes;
mod failure;
mod fill;
mod forget;
mod holdings;
mod list_memory;
mod manifest_writes;
mod manifests;
mod members;
mod news;
mod parallel;
mod pass;
mod prefetch;
mod publish;
mod ready;
mod referrers;
mod requirements;
mod resolve;
mod revalidate;
mod staleness;
mod tagged;
mod tags;
mod turns;
mod unconditional;
mod uploads;
mod warm;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use crate::config::{Config, HostNames, OnMiss, Secret, UpstreamHost, Validation};
use crate::oci::{Error, ErrorCode, RepositoryName};
use crate::store::{Embedded, Store};
use crate::telemetry::Metrics;
use crate::upstream::{Upstream, Upstreams};

use background::Background;
use cache::Cache;
use fill::Fills;
use list_memory::ListMemory;
use ready::Readiness;
use revalidate::Revalidations;
use uploads::Uploads;

#[cfg(feature = "internals")]
pub(crate) use uploads::{fuzz_state, measured_state};

pub use blobs::{BlobAccess, BlobInfo, BlobPart, BlobRequest, BlobStream};
pub use catalog::CatalogPage;
pub use manifests::Served;
pub use publish::{ManifestRequest, Published};
pub use ready::Unready;
pub use referrers::ReferrersPage;
pub use staleness::Staleness;
pub use tags::TagPage;
pub use uploads::{BlobBody, ChunkRequest, Mounted, Progress, Pushed, Pusher, Turn, UploadRequest};
pub use warm::{WarmManifest, Warmed};

/// How often the bucket is asked at once for what manifests that are being pushed name.
const CHECKS: usize = 64;

/// The registry, cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    upstreams: Upstreams,
    cache: Cache,
    fills: Fills,
    uploads: Uploads,
    background: Background,
    /// Places for the looks at the bucket that pushes of manifests take, of all manifests together.
    checks: Semaphore,
    revalidations: Revalidations,
    readiness: Readiness,
    list_memory: ListMemory,
    /// See [`Options::changes`].
    changes: Changes,
    /// See [`Options::validation`].
    validation: Validation,
    tag_ttl: Duration,
    /// See [`Options::prefetch`].
    prefetch: bool,
    /// See [`Options::on_miss`].
    on_miss: OnMiss,
    /// Blobs are streamed from the bucket instead of redirected to it.
    stream_blobs: bool,
    /// See [`Options::proxied_until`].
    proxied_until: Option<SystemTime>,
    metrics: Arc<Metrics>,
}

/// What clients may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Nothing can be pushed or deleted.
    Nothing,
    /// What is pushed stays.
    Pushes,
    /// Things can be pushed and deleted.
    Everything,
}

/// How a [`Registry`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// `storage.redirect.disable`
    pub stream_blobs: bool,
    /// `storage.redirect.expiry`
    pub url_life: Duration,
    /// `validation`
    pub validation: Validation,
    /// `proxy.tagttl`
    pub tag_ttl: Duration,
    /// How long a client of a stored tag waits for the upstream before it gets the stored one.
    pub client_wait: Duration,
    /// `proxy.spool.directory`, or the system's.
    pub spool_directory: PathBuf,
    /// `proxy.spool.maxsize`
    pub spool_max: Option<u64>,
    /// `proxy.prefetch`
    pub prefetch: bool,
    /// `proxy.onmiss`
    pub on_miss: OnMiss,
    /// `proxy.fill.connections`
    pub connections: usize,
    /// `proxy.fill.concurrency`
    pub concurrency: usize,
    /// When distribution last used the bucket as a pull-through cache: the tags that it wrote until then came from
    /// upstream.
    pub proxied_until: Option<SystemTime>,
    /// `storage.maintenance.readonly.enabled`, `storage.delete.enabled`
    pub changes: Changes,
    /// `http.secret`, or a random one: signs the state of uploads.
    pub secret: Secret,
}

impl Options {
    /// Reads them off the configuration. `secret` stands in where none is configured.
    #[must_use]
    pub fn new(config: &Config, secret: impl FnOnce() -> Secret) -> Self {
        let (proxy, storage) = (&config.proxy, &config.storage);
        Self {
            stream_blobs: storage.redirect.disable,
            url_life: storage.redirect.expiry,
            validation: config.validation.clone(),
            tag_ttl: proxy.tagttl,
            client_wait: revalidate::CLIENT_WAIT,
            spool_directory: proxy.spool.directory.clone().unwrap_or_else(std::env::temp_dir),
            spool_max: proxy.spool.maxsize,
            prefetch: proxy.prefetch,
            on_miss: proxy.onmiss,
            connections: proxy.fill.connections,
            concurrency: proxy.fill.concurrency,
            proxied_until: None,
            changes: if storage.maintenance.readonly.enabled {
                Changes::Nothing
            } else if storage.delete.enabled {
                Changes::Everything
            } else {
                Changes::Pushes
            },
            secret: config.http.secret.clone().unwrap_or_else(secret),
        }
    }
}

impl Registry {
    /// A registry over a bucket, and the upstreams that there are.
    #[must_use]
    pub fn new(store: Store, upstreams: Upstreams, options: &Options, metrics: Arc<Metrics>) -> Self {
        let background = Background::new(Arc::clone(&metrics));
        let fills = Fills::new(options, background.clone());
        let cache = Cache::new(options.url_life, store.redirect_min_age());
        let inner = Inner {
            store,
            upstreams,
            cache,
            fills,
            uploads: Uploads::new(options.secret.reveal().as_bytes()),
            background,
            checks: Semaphore::new(CHECKS),
            revalidations: Revalidations::new(options.client_wait),
            readiness: Readiness::default(),
            list_memory: ListMemory::default(),
            changes: options.changes,
            validation: options.validation.clone(),
            tag_ttl: options.tag_ttl,
            prefetch: options.prefetch,
            on_miss: options.on_miss,
            stream_blobs: options.stream_blobs,
            proxied_until: options.proxied_until,
            metrics,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether the URLs that blobs are redirected to depend on how the client reached pounce.
    #[must_use]
    pub fn urls_depend_on_caller(&self) -> bool {
        self.inner.store.presigns_for_callers_host()
    }

    /// The S3 server inside this process, where the bucket is a folder.
    #[must_use]
    pub fn embedded(&self) -> Option<&Embedded> {
        self.inner.store.embedded()
    }

    /// The repository that a client means by `name`, to which it adds, as containerd does with `?ns=`, the host that
    /// its reference begins with.
    ///
    /// # Errors
    /// `NAME_UNKNOWN`: no upstream is configured for that host.
    pub fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Result<RepositoryName, Error> {
        self.inner.upstreams.repository(name, ns).ok_or_else(|| {
            // Only what looks like a host is repeated.
            let host = ns.and_then(|ns| ns.parse().ok());
            let host = host.as_ref().map_or("this host", UpstreamHost::as_str);
            let message = format!(
                "this registry has no upstream for {host}: its operator can add one to proxy.upstreams, or name \
                 the default one in proxy.host"
            );
            Error::new(ErrorCode::NameUnknown, message)
        })
    }

    /// Every host by which clients may name an upstream, in containerd's `?ns=` too.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        self.inner.upstreams.hosts()
    }

    /// The hosts that clients and rules may write before the names of upstreams' repositories.
    #[must_use]
    pub fn host_names(&self) -> &HostNames {
        self.inner.upstreams.host_names()
    }

    /// Where the upstreams are, the default one first.
    #[must_use]
    pub fn upstreams(&self) -> Vec<&str> {
        self.inner.upstreams.all().map(|upstream| upstream.label()).collect()
    }

    /// Greets every upstream in the background, and warns of those that do not answer as registries do.
    pub fn greet_upstreams(&self) {
        let registry = self.clone();
        tokio::spawn(async move { registry.inner.upstreams.greet().await });
    }

    /// The upstream of a repository, if there is one.
    fn upstream(&self, name: &RepositoryName) -> Option<&Arc<Upstream>> {
        self.inner.upstreams.of(name)
    }

    /// Whether anything may be written on a client's behalf.
    fn writable(&self) -> Result<(), Error> {
        if self.inner.changes == Changes::Nothing {
            let message = "this registry is read-only";
            return Err(Error::new(ErrorCode::Unsupported, message));
        }
        Ok(())
    }

    /// Whether anything may be deleted.
    fn deletable(&self) -> Result<(), Error> {
        self.writable()?;
        if self.inner.changes != Changes::Everything {
            let message = "nothing can be deleted from this registry";
            return Err(Error::new(ErrorCode::Unsupported, message));
        }
        Ok(())
    }

    /// Finds out in the background whether the bucket keeps conditions, unless nothing is ever written there. What is
    /// written before that is known waits for it.
    pub fn find_out_conditions(&self) {
        if self.inner.changes == Changes::Nothing && self.upstreams().is_empty() {
            return;
        }
        let store = self.inner.store.clone();
        self.inner.background.own(async move {
            store.keeps_conditions().await;
        });
    }

    /// Waits until fills and other work behind the clients' backs are done, for at most `grace`; then stops what is
    /// left, which aborts its uploads.
    pub async fn drain(&self, grace: Duration) {
        self.inner.background.drain(grace).await;
    }
}
