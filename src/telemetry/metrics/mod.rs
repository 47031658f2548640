//! Prometheus metrics: their names are the operator's interface, which docs/metrics.md describes.
//!
//! What every request counts is sharded by thread and takes no lock.

mod counting;
mod distribution;
mod events;
mod fills;
mod gc;
mod histogram;
mod labels;
mod logins;
mod process;
mod register;
mod requests;
mod savings;
mod scraped;
mod shards;
mod totals;
mod upstreams;

use std::sync::Arc;
use std::time::SystemTime;

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
use labels::{Asked, Ended, Kind, S3Request, SWEPT};
use logins::LoginMetrics;
use process::Process;
use register::register;
use requests::{Authorizations, RequestDurations};
use savings::Day;
use scraped::{Scraped, Source};
use upstreams::UpstreamList;

pub use distribution::AnsweredRequest;
pub use events::EventCounters;
pub use fills::{FileUsage, FillMemory, SpoolUsage};
pub use labels::UpstreamCall;
pub use logins::CredentialsCheck;
pub use requests::{Authorized, RequestKind};
pub use savings::{Savings, until_tomorrow};
pub use scraped::{CacheUsage, Levels};
pub use upstreams::{OutcomeTotals, RateLimit, UpstreamMetrics, UpstreamServer};

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
    logins: LoginMetrics,
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
            logins: LoginMetrics::new(registry),
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
