//! Prometheus metrics.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use super::output::COUNTERS;
use crate::oci::Outcome;

/// A kind of request to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamCall {
    HeadManifest,
    GetManifest,
    HeadBlob,
    GetBlob,
    ListTags,
    ListReferrers,
    Support,
    Token,
}

impl UpstreamCall {
    const fn as_str(self) -> &'static str {
        match self {
            Self::HeadManifest => "head_manifest",
            Self::GetManifest => "get_manifest",
            Self::HeadBlob => "head_blob",
            Self::GetBlob => "get_blob",
            Self::ListTags => "list_tags",
            Self::ListReferrers => "list_referrers",
            Self::Support => "support",
            Self::Token => "token",
        }
    }
}

macro_rules! label_value {
    ($kind:ty) => {
        impl EncodeLabelValue for $kind {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_value!(Outcome);
label_value!(UpstreamCall);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    kind: &'static str,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    call: UpstreamCall,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

/// A counter for each outcome, created once, because a look-up takes a lock.
#[derive(Debug)]
struct Outcomes([Counter; Outcome::ALL.len()]);

impl Outcomes {
    fn new(answers: &Family<Answer, Counter>, kind: &'static str) -> Self {
        Self(Outcome::ALL.map(|outcome| answers.get_or_create_owned(&Answer { kind, outcome })))
    }

    fn count(&self, outcome: Outcome) {
        self.0[outcome as usize].inc();
    }

    fn totals(&self) -> OutcomeTotals {
        Outcome::ALL.map(|outcome| (outcome, self.0[outcome as usize].get()))
    }
}

/// How many responses there were with each outcome.
pub type OutcomeTotals = [(Outcome, u64); Outcome::ALL.len()];

/// What the status says of the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Responses with manifests.
    pub manifests: OutcomeTotals,
    /// Responses with blobs.
    pub blobs: OutcomeTotals,
    /// Fills that ended, with the results of [`fill_ends`](Metrics::fill_ends).
    pub stored: u64,
    /// See `stored`.
    pub followed: u64,
    /// See `stored`.
    pub left: u64,
    /// See `stored`.
    pub failed: u64,
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

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    manifests: Outcomes,
    blobs: Outcomes,
    upstream: Family<Asked, Counter>,
    fills: Family<Ended, Counter>,
    filling: Gauge,
    fill_memory: FillMemory,
    chunks: Counter,
    chunk_bytes: Counter,
    takeovers: Counter,
    robbed: Counter,
    redirected_bytes: Counter,
    blob_bytes: Counter,
    filled_bytes: Counter,
    passwords: Family<Ended, Counter>,
    unknown_hosts: Counter,
    gc: GcMetrics,
    connections: Gauge,
    tasks: Gauge,
    background: Gauge,
}

/// Rounds of garbage collection of this process.
#[derive(Debug)]
struct GcMetrics {
    rounds: Family<Ended, Counter>,
    deleted: Counter,
    deleted_bytes: Counter,
    condemned: Counter,
    kept: Counter,
    bucket_bytes: Gauge,
}

impl GcMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            rounds: register(registry, "gc_rounds", "Rounds of garbage collection that this process began, by result"),
            deleted: register(registry, "gc_deleted_keys", "Keys that they deleted"),
            deleted_bytes: register(registry, "gc_deleted_bytes", "Bytes of these keys"),
            condemned: register(registry, "gc_condemned_keys", "Keys that they condemned"),
            kept: register(registry, "gc_kept_keys", "Condemned keys that stayed because a write needed them"),
            bucket_bytes: register(
                registry,
                "gc_bucket_bytes",
                "Bytes of all blobs and manifests in the bucket, after the last round of this process",
            ),
        }
    }
}

/// Counts a background task until it is dropped.
#[derive(Debug)]
pub struct InBackground(Gauge);

impl Drop for InBackground {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The memory of fills.
#[derive(Clone, Debug, Default)]
pub struct FillMemory {
    in_use: Gauge,
    limit: Gauge,
}

impl FillMemory {
    /// So many bytes may be in use.
    pub fn limit(&self, bytes: u64) {
        self.limit.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many more bytes are in use.
    pub fn take(&self, bytes: usize) {
        self.in_use.inc_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// So many bytes that were [taken](Self::take) are free again.
    pub fn give_back(&self, bytes: usize) {
        self.in_use.dec_by(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("pounce");
        let passwords = register(
            &mut registry,
            "password_checks",
            "Comparisons of a password with a user's hash; cached results are not counted",
        );
        let unknown_hosts = register(
            &mut registry,
            "unknown_host_requests",
            "Requests whose ?ns= names a host without an upstream: these clients pull from that host directly",
        );
        let connections = register(&mut registry, "connections", "Open connections of clients");
        let tasks = register(&mut registry, "tasks", "Live tokio tasks");
        let background = register(
            &mut registry,
            "background_tasks",
            "Tasks that may outlive their requests: fills, writes and revalidations",
        );
        let answers = register(&mut registry, "answers", "Responses with manifests and blobs, by outcome");
        let upstream = register(&mut registry, "upstream_requests", "Requests to upstreams, by kind");
        let fills =
            register(&mut registry, "fills", "Fills, which copy a blob from an upstream to the bucket, by result");
        let filling = register(&mut registry, "fills_active", "Fills in progress");
        let fill_memory = FillMemory {
            in_use: register(&mut registry, "fill_memory_bytes", "Bytes of blobs that fills keep in memory"),
            limit: register(
                &mut registry,
                "fill_memory_limit_bytes",
                "The most bytes that fills keep in memory (proxy.fill.memory, and a little for small blobs)",
            ),
        };
        let chunks = register(&mut registry, "fill_chunks", "Chunks of large blobs that fills wrote to the bucket");
        let chunk_bytes = register(&mut registry, "fill_chunk_bytes", "Bytes of these chunks");
        let takeovers = register(
            &mut registry,
            "fill_takeovers",
            "Shared fills that this process took over from one that ended, or was silent for too long",
        );
        let robbed = register(
            &mut registry,
            "fills_robbed",
            "Shared fills that another process took over from this one: it shuts down, was paused, or lost the bucket",
        );
        let redirected_bytes = register(
            &mut registry,
            "redirected_bytes",
            "Bytes of blobs that clients were redirected to the bucket for",
        );
        let blob_bytes = register(&mut registry, "blob_bytes", "Bytes of blobs that pounce itself sent to clients");
        let filled_bytes = register(&mut registry, "filled_bytes", "Bytes of blobs read from upstreams");
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
        let gc = GcMetrics::new(&mut registry);
        Self {
            registry,
            manifests: Outcomes::new(&answers, "manifest"),
            blobs: Outcomes::new(&answers, "blob"),
            upstream,
            fills,
            filling,
            fill_memory,
            chunks,
            chunk_bytes,
            takeovers,
            robbed,
            redirected_bytes,
            blob_bytes,
            filled_bytes,
            passwords,
            unknown_hosts,
            gc,
            connections,
            tasks,
            background,
        }
    }
}

fn register<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts a response with a manifest.
    pub fn manifest(&self, outcome: Outcome) {
        self.manifests.count(outcome);
    }

    /// Counts a response with a blob.
    pub fn blob(&self, outcome: Outcome) {
        self.blobs.count(outcome);
    }

    /// Counts a request to an upstream.
    pub fn upstream(&self, call: UpstreamCall) {
        self.upstream.get_or_create(&Asked { call }).inc();
    }

    /// Counts a fill that starts.
    pub fn fill_begins(&self) {
        self.filling.inc();
    }

    /// Counts a fill that ends: `stored`, `followed`, where another process stored the blob, `left`, where another
    /// process fills the blob and no client needs it here, or `failed`.
    pub fn fill_ends(&self, result: &'static str) {
        self.filling.dec();
        self.fills.get_or_create(&Ended { result }).inc();
    }

    /// The memory of fills, which they count.
    #[must_use]
    pub fn fill_memory(&self) -> FillMemory {
        self.fill_memory.clone()
    }

    /// Counts a chunk of so many bytes that a fill wrote to the bucket.
    pub fn fill_chunk(&self, bytes: u64) {
        self.chunks.inc();
        self.chunk_bytes.inc_by(bytes);
    }

    /// Counts a shared fill that this process took over from another.
    pub fn fill_taken_over(&self) {
        self.takeovers.inc();
    }

    /// Counts a shared fill that another process took over from this one.
    pub fn fill_robbed(&self) {
        self.robbed.inc();
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

    /// Counts a round of garbage collection: `done`, `incomplete`, `busy`, where another process collects, or `failed`.
    pub fn gc_round_ends(&self, result: &'static str) {
        self.gc.rounds.get_or_create(&Ended { result }).inc();
    }

    /// Counts keys that a round deleted, and their bytes.
    pub fn gc_deleted(&self, keys: u64, bytes: u64) {
        self.gc.deleted.inc_by(keys);
        self.gc.deleted_bytes.inc_by(bytes);
    }

    /// Counts keys that a round condemned, and condemned ones that a write kept.
    pub fn gc_condemned(&self, condemned: u64, kept: u64) {
        self.gc.condemned.inc_by(condemned);
        self.gc.kept.inc_by(kept);
    }

    /// So many bytes are in the bucket after a round.
    pub fn gc_bucket(&self, bytes: u64) {
        self.gc.bucket_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Counts a new connection.
    pub fn connection_opens(&self) {
        self.connections.inc();
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
        self.filled_bytes.inc_by(bytes);
    }

    /// The metrics that the status is made of.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let ended = |result| self.fills.get_or_create(&Ended { result }).get();
        let level = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        Totals {
            manifests: self.manifests.totals(),
            blobs: self.blobs.totals(),
            stored: ended("stored"),
            followed: ended("followed"),
            left: ended("left"),
            failed: ended("failed"),
            fill_memory: level(&self.fill_memory.in_use),
            fill_memory_limit: level(&self.fill_memory.limit),
            redirected_bytes: self.redirected_bytes.get(),
            streamed_bytes: self.blob_bytes.get(),
            fetched_bytes: self.filled_bytes.get(),
            connections: level(&self.connections),
        }
    }

    /// All metrics, in the `OpenMetrics` text format.
    #[must_use]
    pub fn render(&self) -> String {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let alive = runtime.metrics().num_alive_tasks();
            self.tasks.set(i64::try_from(alive).unwrap_or(i64::MAX));
        }
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => text,
            // Writing to a String does not fail.
            Err(std::fmt::Error) => String::new(),
        }
    }
}
