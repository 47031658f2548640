//! The metrics that the status is made of.

use super::Metrics;
use super::fills::FillTotals;
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

impl Metrics {
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
