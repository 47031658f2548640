//! How a registry behaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::changes::Changes;
use crate::config::{Compose, Config, FillTuning, GcTiming, OnMiss, Secret, Validation};
use crate::machine_memory;

/// How long a client of a stored tag waits for the upstream.
pub(super) const CLIENT_WAIT: Duration = Duration::from_secs(2);

/// How a [`Registry`](super::Registry) behaves.
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
    /// `proxy.spool.directory`
    pub spool_directory: Option<PathBuf>,
    /// `proxy.prefetch`
    pub prefetch: bool,
    /// `proxy.onmiss`
    pub on_miss: OnMiss,
    /// `proxy.fill.connections`
    pub connections: usize,
    /// `proxy.fill.maxconnections`
    pub max_connections: usize,
    /// `proxy.fill.concurrency`
    pub concurrency: usize,
    /// `proxy.fill.sharedsize`, in bytes; `None` if no fill is shared.
    pub shared_size: Option<u64>,
    /// `proxy.fill.memory`, in bytes.
    pub fill_memory: u64,
    /// `proxy.fill.compose`
    pub compose: Compose,
    /// How replicas share fills: no setting.
    pub tuning: FillTuning,
    /// When distribution last used the bucket as a pull-through cache: the tags that it wrote until then came from
    /// upstream.
    pub proxied_until: Option<SystemTime>,
    /// How long the steps of garbage collection take: no setting.
    pub gc_timing: GcTiming,
    /// The whole of it, by which rounds of garbage collection go.
    pub(super) config: Arc<Config>,
    /// `storage.maintenance.readonly.enabled`, `storage.delete.enabled`
    pub changes: Changes,
    /// `http.secret`, or a random one: signs the state of uploads.
    pub secret: Secret,
    /// `http.secret`: signs leases of fills, which other replicas read.
    pub signing: Option<Secret>,
}

impl Options {
    /// Reads them off the configuration. `secret` makes one where none is configured.
    #[must_use]
    pub fn new(config: &Config, secret: impl FnOnce() -> Secret) -> Self {
        let (proxy, storage) = (&config.proxy, &config.storage);
        Self {
            stream_blobs: storage.redirect.disable,
            url_life: storage.redirect.expiry,
            validation: config.validation.clone(),
            tag_ttl: proxy.tagttl,
            client_wait: CLIENT_WAIT,
            spool_directory: proxy.spool.directory.clone(),
            prefetch: proxy.prefetch,
            on_miss: proxy.onmiss,
            connections: proxy.fill.connections,
            max_connections: proxy.fill.maxconnections,
            concurrency: proxy.fill.concurrency,
            shared_size: proxy.fill.sharedsize.bytes(),
            fill_memory: proxy.fill.memory.unwrap_or_else(default_fill_memory),
            compose: proxy.fill.compose,
            tuning: proxy.fill.tuning,
            proxied_until: None,
            gc_timing: storage.gc_timing,
            config: Arc::new(config.clone()),
            changes: if storage.maintenance.readonly.enabled {
                Changes::Nothing
            } else if storage.delete.enabled {
                Changes::Everything
            } else {
                Changes::Pushes
            },
            secret: config.http.secret.clone().unwrap_or_else(secret),
            signing: config.http.secret.clone(),
        }
    }
}

/// 3/8 of this machine's memory, so that a machine of 512 MB has 192 for fills: at least the chunks that a fill needs
/// to go on, and no more than makes fills faster.
fn default_fill_memory() -> u64 {
    (machine_memory::total().unwrap_or_default() / 8 * 3).clamp(64 << 20, 1 << 30)
}
