//! Prometheus metrics: their names are the operator's interface, which docs/operations.md describes.
//!
//! What every request counts is sharded by thread and takes no lock.

mod distribution;
mod events;
mod fills;
mod gc;
mod histogram;
mod labels;
mod process;
mod register;
mod requests;
mod savings;
mod scraped;
mod shards;
mod upstreams;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::output::COUNTERS;
use crate::config::{Driver, MetricNames};
use distribution::{Distribution, Proxied};
use events::EventMetrics;
use fills::Fills;
use gc::GcMetrics;
use histogram::Histogram;
use labels::{Asked, Ended, Kind, status};
use process::Process;
use register::register;
use requests::{Authorizations, RequestDurations};
use savings::Day;
use scraped::{Scraped, Source};
use upstreams::UpstreamList;

pub use distribution::AnsweredRequest;
pub use events::EventCounters;
pub use fills::{FillMemory, FillTotals};
pub use labels::UpstreamCall;
pub use requests::{Authorized, RequestKind};
pub use savings::{Savings, Traffic, until_tomorrow};
pub use scraped::{CacheUsage, Levels};
pub use upstreams::{OutcomeTotals, RateLimit, UpstreamMetrics, UpstreamServer};

/// What sweeps delete.
const SWEPT: [&str; 4] = ["multipart", "upload", "lease", "stray"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct S3Request {
    operation: String,
    status: &'static str,
}

/// What the status says of the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Responses with manifests.
    pub manifests: OutcomeTotals,
    /// Responses with blobs.
    pub blobs: OutcomeTotals,
    /// Fills that ended.
    pub fills: FillTotals,
    /// Bytes of memory that fills have.
    pub fill_memory: u64,
    /// The most that they have.
    pub fill_memory_limit: u64,
    /// Bytes that clients were redirected to the bucket for.
    pub redirected_bytes: u64,
    /// Bytes that pounce itself sent.
    pub streamed_bytes: u64,
    /// Bytes that came from upstreams.
    pub fetched_bytes: u64,
    /// Open connections of clients.
    pub connections: u64,
}

impl Totals {
    /// The traffic since the start.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let mut traffic = Traffic {
            sent: self.redirected_bytes.saturating_add(self.streamed_bytes),
            fetched: self.fetched_bytes,
            ..Traffic::default()
        };
        for (outcome, count) in self.manifests.iter().chain(&self.blobs) {
            traffic.answers += count;
            traffic.hits += if outcome.is_hit() { *count } else { 0 };
        }
        traffic
    }
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: RequestDurations,
    authorizations: Authorizations,
    active: Source,
    distribution: Option<Distribution>,
    upstreams: UpstreamList,
    /// Of repositories without an upstream.
    no_upstream: Arc<UpstreamMetrics>,
    scraped: Scraped,
    s3: Family<S3Request, Histogram>,
    manifest_bytes: Counter,
    fetched_manifest_bytes: Counter,
    pushed_bytes: Counter,
    sweeps: Family<Ended, Counter>,
    swept: Family<Kind, Counter>,
    last_sweep: Gauge,
    upstream: Family<Asked, Counter>,
    fills: Fills,
    redirected_bytes: Counter,
    blob_bytes: Counter,
    passwords: Family<Ended, Counter>,
    unknown_hosts: Counter,
    connections: Gauge,
    opened: Counter,
    refused: Counter,
    evicted: Counter,
    background: Gauge,
    events: EventMetrics,
    gc: GcMetrics,
    day: Day,
}

/// Counts a background task until it is dropped.
#[derive(Debug)]
pub struct InBackground(Gauge);

impl Drop for InBackground {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(MetricNames::Pounce, Driver::Filesystem)
    }
}

impl Metrics {
    /// With these names, over such a bucket.
    #[must_use]
    pub fn new(names: MetricNames, driver: Driver) -> Self {
        let mut all = Registry::default();
        let requests = RequestDurations::default();
        all.register(
            "http_server_request_duration_seconds",
            "Requests of clients, from the end of the request's header to that of the response",
            requests.clone(),
        );
        let active = Source::default();
        let help = "Requests of clients whose response has not left whole";
        all.register("http_server_active_requests", help, active.clone());
        all.register_collector(Box::new(Process::begins()));
        let registry = all.sub_registry_with_prefix("pounce");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of this program", build);
        registry.register(
            "access_log_dropped",
            "Lines of the access log and of the log that were dropped, because they were not read or written fast enough",
            COUNTERS.dropped.clone(),
        );
        registry.register(
            "access_log_errors",
            "Failures to write lines of the access log and the log, or to open a file for them anew",
            COUNTERS.errors.clone(),
        );
        let authorizations = Authorizations::default();
        let help = "Requests under /v2/, by how they were authorized";
        registry.register("authorizations", help, authorizations.clone());
        let upstreams = UpstreamList::new(registry);
        let mut metrics = Self {
            events: EventMetrics::register(registry),
            gc: GcMetrics::new(registry),
            day: Day::begins(SystemTime::now()),
            no_upstream: upstreams.of(None),
            upstreams,
            scraped: Scraped::new(registry),
            fills: Fills::new(registry),
            upstream: register(registry, "upstream_requests", "Requests to upstreams, by kind"),
            s3: register(
                registry,
                "s3_request_duration_seconds",
                "Attempts of requests to the bucket, until the response's header; of writes, with their body",
            ),
            manifest_bytes: register(registry, "manifest_bytes", "Bytes of manifests that pounce sent to clients"),
            fetched_manifest_bytes: register(
                registry,
                "fetched_manifest_bytes",
                "Bytes of manifests that were read from upstreams for clients",
            ),
            pushed_bytes: register(registry, "pushed_bytes", "Bytes of blobs that clients sent"),
            redirected_bytes: register(
                registry,
                "redirected_bytes",
                "Bytes of blobs that clients were redirected to the bucket for",
            ),
            blob_bytes: register(registry, "blob_bytes", "Bytes of blobs that pounce itself sent to clients"),
            passwords: register(
                registry,
                "password_checks",
                "Comparisons of a password with a user's hash; cached results are not counted",
            ),
            unknown_hosts: register(
                registry,
                "unknown_host_requests",
                "Requests whose ?ns= names a host without an upstream: these clients pull from that host directly",
            ),
            connections: register(registry, "connections", "Open connections of clients"),
            opened: register(registry, "connections_opened", "Connections of clients that were opened"),
            refused: register(
                registry,
                "connections_refused",
                "Connections that were refused, because their address had as many as it may",
            ),
            evicted: register(registry, "connections_evicted", "Connections that were closed to make room for others"),
            background: register(
                registry,
                "background_tasks",
                "Tasks that may outlive their requests: fills, writes and revalidations",
            ),
            sweeps: register(registry, "sweeps", "Sweeps of abandoned uploads and fills, by result"),
            swept: register(registry, "swept", "What sweeps deleted, by kind"),
            last_sweep: register(
                registry,
                "last_sweep_timestamp_seconds",
                "When a sweep last ended well, since 1970; 0 before the first",
            ),
            distribution: None,
            registry: Registry::default(),
            requests,
            authorizations,
            active,
        };
        metrics.begin_at_zero();
        if names == MetricNames::Distribution {
            let proxied = metrics.proxied();
            let driver = if driver == Driver::S3 { "s3aws" } else { "filesystem" };
            metrics.distribution = Some(Distribution::new(&mut all, metrics.active.clone(), proxied, driver));
        }
        metrics.registry = all;
        metrics
    }

    /// The metrics of the events for an endpoint of this name.
    #[must_use]
    pub fn events(&self, endpoint: &str) -> EventCounters {
        self.events.of(endpoint)
    }

    /// The metrics of garbage collection.
    #[must_use]
    pub fn gc(&self) -> &GcMetrics {
        &self.gc
    }

    /// Counters whose labels are known begin at 0, because Prometheus sees no increase where a series begins at 1.
    fn begin_at_zero(&self) {
        self.fills.totals();
        for call in UpstreamCall::ALL {
            drop(self.upstream.get_or_create(&Asked { call }));
        }
        for result in ["right", "wrong"] {
            drop(self.passwords.get_or_create(&Ended { result }));
        }
        for result in ["ok", "failed"] {
            drop(self.sweeps.get_or_create(&Ended { result }));
        }
        for kind in SWEPT {
            drop(self.swept.get_or_create(&Kind { kind }));
        }
    }

    fn proxied(&self) -> Proxied {
        Proxied {
            upstreams: self.upstreams.clone(),
            pulled: [self.fills.bytes.clone(), self.fetched_manifest_bytes.clone()],
            pushed: [self.redirected_bytes.clone(), self.blob_bytes.clone(), self.manifest_bytes.clone()],
        }
    }

    /// The metrics of the upstream with this host.
    #[must_use]
    pub fn of_upstream(&self, host: &str) -> Arc<UpstreamMetrics> {
        self.upstreams.of(Some(host))
    }

    /// The metrics of repositories without an upstream.
    #[must_use]
    pub fn of_no_upstream(&self) -> &UpstreamMetrics {
        &self.no_upstream
    }

    /// Counts a client's request that was answered.
    pub fn request(&self, request: AnsweredRequest<'_>) {
        self.requests.observe(request.kind, request.status, request.took);
        if let Some(distribution) = &self.distribution {
            distribution.request(request);
        }
    }

    /// The source of the number of requests in flight.
    pub fn count_active_requests_by(&self, count: impl Fn() -> u64 + Send + Sync + 'static) {
        self.active.set(count);
    }

    /// Counts how a request was authorized.
    pub fn authorized(&self, authorized: Authorized) {
        self.authorizations.count(authorized);
    }

    /// Counts an attempt of a request to the bucket, which took so long until there was a response with this status, or
    /// none. `operation` is S3's name.
    pub fn s3_request(&self, operation: &str, code: Option<u16>, took: Duration) {
        let label = S3Request { operation: operation.to_owned(), status: status(code) };
        self.s3.get_or_create(&label).observe(took);
        if let Some(distribution) = &self.distribution {
            distribution.action(operation, took);
        }
    }

    /// Counts the time from a request for a cold blob to its first byte.
    pub fn first_byte(&self, took: Duration) {
        self.fills.first_byte.observe(took);
    }

    /// Counts bytes of a manifest that were sent to a client; `fetched`: they came from an upstream for it.
    pub fn manifest_bytes(&self, bytes: u64, fetched: bool) {
        self.manifest_bytes.inc_by(bytes);
        if fetched {
            self.fetched_manifest_bytes.inc_by(bytes);
        }
    }

    /// Counts bytes of a blob that came from a client.
    pub fn pushed_bytes(&self, bytes: u64) {
        self.pushed_bytes.inc_by(bytes);
    }

    /// Counts a sweep that ended: how many multipart uploads, uploads, leases and strays it deleted; `None`: it failed.
    pub fn swept(&self, swept: Option<[usize; SWEPT.len()]>) {
        let result = if swept.is_some() { "ok" } else { "failed" };
        self.sweeps.get_or_create(&Ended { result }).inc();
        for (kind, count) in SWEPT.into_iter().zip(swept.unwrap_or_default()) {
            self.swept.get_or_create(&Kind { kind }).inc_by(count as u64);
        }
        if swept.is_some() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_sweep.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Counts a connection that was refused.
    pub fn connection_refused(&self) {
        self.refused.inc();
    }

    /// Counts a connection that was closed to make room for others.
    pub fn connection_evicted(&self) {
        self.evicted.inc();
    }

    /// Counts a request to an upstream.
    pub fn upstream(&self, call: UpstreamCall) {
        self.upstream.get_or_create(&Asked { call }).inc();
    }

    /// Counts a fill that starts.
    pub fn fill_begins(&self) {
        self.fills.active.inc();
    }

    /// Counts a fill that ends: `stored`, `followed`, where another process stored the blob, `left`, where another
    /// process fills the blob and no client needs it here, or `failed`.
    pub fn fill_ends(&self, result: &'static str) {
        self.fills.active.dec();
        self.fills.ended.get_or_create(&Ended { result }).inc();
    }

    /// The memory of fills, which they count.
    #[must_use]
    pub fn fill_memory(&self) -> FillMemory {
        self.fills.memory.clone()
    }

    /// Counts a chunk of so many bytes that a fill wrote to the bucket.
    pub fn fill_chunk(&self, bytes: u64) {
        self.fills.chunks.inc();
        self.fills.chunk_bytes.inc_by(bytes);
    }

    /// Counts a shared fill that this process took over from another.
    pub fn fill_taken_over(&self) {
        self.fills.takeovers.inc();
    }

    /// Counts a shared fill that another process took over from this one.
    pub fn fill_robbed(&self) {
        self.fills.robbed.inc();
    }

    /// Counts a comparison of a password.
    pub fn password(&self, right: bool) {
        let result = if right { "right" } else { "wrong" };
        self.passwords.get_or_create(&Ended { result }).inc();
    }

    /// Counts a request whose `?ns=` names a host without an upstream.
    pub fn unknown_host(&self) {
        self.unknown_hosts.inc();
    }

    /// Counts a new connection.
    pub fn connection_opens(&self) {
        self.connections.inc();
        self.opened.inc();
    }

    /// Counts the end of a connection.
    pub fn connection_ends(&self) {
        self.connections.dec();
    }

    /// Counts a background task until the returned value is dropped.
    #[must_use]
    pub fn in_background(&self) -> InBackground {
        self.background.inc();
        InBackground(self.background.clone())
    }

    /// Counts bytes of a blob that a client was redirected to the bucket for.
    pub fn redirected_bytes(&self, bytes: u64) {
        self.redirected_bytes.inc_by(bytes);
    }

    /// Counts bytes of a blob that pounce itself sent to a client.
    pub fn blob_bytes(&self, bytes: u64) {
        self.blob_bytes.inc_by(bytes);
    }

    /// Counts bytes of a blob that came from an upstream.
    pub fn filled_bytes(&self, bytes: u64) {
        self.fills.bytes.inc_by(bytes);
    }

    /// The metrics that the status is made of.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let (manifests, blobs) = self.upstreams.totals();
        let (fill_memory, fill_memory_limit) = self.fills.memory.levels();
        Totals {
            manifests,
            blobs,
            fills: self.fills.totals(),
            fill_memory,
            fill_memory_limit,
            redirected_bytes: self.redirected_bytes.get(),
            streamed_bytes: self.blob_bytes.get(),
            fetched_bytes: self.fills.bytes.get(),
            connections: u64::try_from(self.connections.get()).unwrap_or(0),
        }
    }

    /// What the cache saves its upstreams.
    #[must_use]
    pub fn savings(&self, now: SystemTime) -> Savings {
        self.day.savings(now, self.totals().traffic())
    }

    /// The day of `now` (UTC) has begun, for [`savings`](Self::savings), if it has not before.
    pub fn day_turns(&self, now: SystemTime) {
        self.day.turns(now, &self.totals().traffic());
    }

    /// All metrics, in the `OpenMetrics` text format. `levels` are those that the layers say now.
    #[must_use]
    pub fn render(&self, levels: &Levels<'_>) -> String {
        self.scraped.set(levels);
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
