//! Metrics of garbage collection: rounds of this process.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::Ended;
use super::register::register;

/// How a round ends.
const RESULTS: [&str; 4] = ["done", "incomplete", "busy", "failed"];

/// The metrics of the rounds of this process.
#[derive(Clone, Debug)]
pub struct GcMetrics {
    rounds: Family<Ended, Counter>,
    deleted: Counter,
    deleted_bytes: Counter,
    condemned: Counter,
    kept: Counter,
    bucket_bytes: Gauge,
}

impl GcMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
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
        };
        for result in RESULTS {
            drop(metrics.rounds.get_or_create(&Ended { result }));
        }
        metrics
    }

    /// Counts a round: `done`, `incomplete`, `busy`, where another process collects, or `failed`.
    pub fn round_ends(&self, result: &'static str) {
        self.rounds.get_or_create(&Ended { result }).inc();
    }

    /// Counts keys that a round deleted, and their bytes.
    pub fn deleted(&self, keys: u64, bytes: u64) {
        self.deleted.inc_by(keys);
        self.deleted_bytes.inc_by(bytes);
    }

    /// Counts keys that a round condemned, and condemned ones that a write kept.
    pub fn condemned(&self, condemned: u64, kept: u64) {
        self.condemned.inc_by(condemned);
        self.kept.inc_by(kept);
    }

    /// So many bytes are in the bucket after a round.
    pub fn bucket(&self, bytes: u64) {
        self.bucket_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
