//! The metrics that the status is made of.

use std::time::SystemTime;

use super::Metrics;
use super::fills::FillTotals;
use super::savings::{Savings, Traffic};
use super::upstreams::OutcomeTotals;

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

impl Metrics {
    /// What the cache saves its upstreams.
    #[must_use]
    pub fn savings(&self, now: SystemTime) -> Savings {
        self.day.savings(now, self.totals().traffic())
    }

    /// The day of `now` (UTC) has begun, for [`savings`](Self::savings), if it has not before.
    pub fn day_turns(&self, now: SystemTime) {
        self.day.turns(now, &self.totals().traffic());
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
}
