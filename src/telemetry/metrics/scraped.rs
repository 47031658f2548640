//! What is looked at when the metrics are read, because to count it all the time would cost more: caches, fills that
//! wait, requests in flight, and for how long the bucket or an upstream has not answered.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{CacheName, OfUpstream};
use super::register::register;

/// How full a cache is.
#[derive(Clone, Copy, Debug)]
pub struct CacheUsage {
    /// The cache's name.
    pub name: &'static str,
    /// How many entries it has.
    pub entries: u64,
    /// How many bytes they have, where the cache is bounded by them.
    pub bytes: Option<u64>,
    /// How many entries it gave up since the process began, because it was full or they were old.
    pub evictions: u64,
}

/// What the layers say when the metrics are read.
#[derive(Debug, Default)]
pub struct Levels<'a> {
    /// Its caches.
    pub caches: Vec<CacheUsage>,
    /// Blobs whose fills wait for others to end.
    pub fills_waiting: usize,
    /// For how long the bucket has given no good answer.
    pub bucket_failing: Duration,
    /// The same for each upstream, by the name of [`Metrics::of_upstream`](super::Metrics::of_upstream).
    pub upstreams_failing: Vec<(&'a str, Duration)>,
    /// Bytes that are free on the disk of the folder, where the bucket is one.
    pub folder_free: Option<u64>,
    /// The same for `proxy.spool.directory`, where it is set.
    pub spool_free: Option<u64>,
}

/// A count that another layer keeps.
#[derive(Clone, Default)]
pub(super) struct Source(Arc<OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>>);

impl Source {
    pub(super) fn set(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        // The first listener's, which is the only one that counts.
        let _ = self.0.set(Box::new(count));
    }

    fn get(&self) -> u64 {
        self.0.get().map_or(0, |count| count())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.get()).finish()
    }
}

impl EncodeMetric for Source {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

/// A gauge that is not there before it is set.
#[derive(Clone, Debug)]
struct IfKnown(Gauge);

impl Default for IfKnown {
    fn default() -> Self {
        let gauge = Gauge::default();
        gauge.set(-1);
        Self(gauge)
    }
}

impl EncodeMetric for IfKnown {
    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.0.get() < 0
    }
}

type Float = Gauge<f64, AtomicU64>;

#[derive(Debug)]
pub(super) struct Scraped {
    cache_entries: Family<CacheName, Gauge>,
    cache_bytes: Family<CacheName, Gauge>,
    cache_evictions: Family<CacheName, Counter>,
    fills_waiting: Gauge,
    bucket_failing: Float,
    upstreams_failing: Family<OfUpstream, Float>,
    folder_free: IfKnown,
    spool_free: IfKnown,
    tasks: Gauge,
}

impl Scraped {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            cache_entries: register(registry, "cache_entries", "Entries of a cache in memory"),
            cache_bytes: register(
                registry,
                "cache_bytes",
                "Bytes of a cache in memory, where the cache is bounded by them",
            ),
            cache_evictions: register(
                registry,
                "cache_evictions",
                "Entries that a cache gave up, because it was full or they were old",
            ),
            fills_waiting: register(registry, "fills_waiting", "Blobs whose fills wait for others to end"),
            bucket_failing: register(
                registry,
                "bucket_failing_seconds",
                "For how long the bucket has given no good answer; 0 if its last answer was good",
            ),
            upstreams_failing: register(
                registry,
                "upstream_failing_seconds",
                "For how long an upstream has given no good answer; 0 if its last answer was good",
            ),
            folder_free: register(
                registry,
                "folder_free_bytes",
                "Bytes that are free on the disk of the folder, where the bucket is one",
            ),
            spool_free: register(
                registry,
                "spool_free_bytes",
                "Bytes that are free on the disk of proxy.spool.directory, where it is set",
            ),
            tasks: register(registry, "tasks", "Live tokio tasks"),
        }
    }

    pub(super) fn set(&self, levels: &Levels<'_>) {
        let level = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        for cache in &levels.caches {
            let label = CacheName { cache: cache.name };
            self.cache_entries.get_or_create(&label).set(level(cache.entries));
            if let Some(bytes) = cache.bytes {
                self.cache_bytes.get_or_create(&label).set(level(bytes));
            }
            self.cache_evictions.get_or_create(&label).inner().fetch_max(cache.evictions, Ordering::Relaxed);
        }
        self.fills_waiting.set(level(levels.fills_waiting as u64));
        self.bucket_failing.set(levels.bucket_failing.as_secs_f64());
        for (upstream, failing) in &levels.upstreams_failing {
            let label = OfUpstream { upstream: (*upstream).to_owned() };
            self.upstreams_failing.get_or_create(&label).set(failing.as_secs_f64());
        }
        for (gauge, free) in [(&self.folder_free, levels.folder_free), (&self.spool_free, levels.spool_free)] {
            if let Some(free) = free {
                gauge.0.set(level(free));
            }
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.tasks.set(level(runtime.metrics().num_alive_tasks() as u64));
        }
    }
}
