//! Metrics of fills.

use std::sync::atomic::{AtomicI64, Ordering};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::histogram::Histogram;
use super::labels::Ended;
use super::register::register;

/// The memory of fills.
#[derive(Clone, Debug, Default)]
pub struct FillMemory {
    in_use: Gauge,
    limit: Gauge,
}

impl FillMemory {
    /// The bytes in use, and the most.
    pub(super) fn levels(&self) -> (u64, u64) {
        let level = |gauge: &Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        (level(&self.in_use), level(&self.limit))
    }

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

/// The bytes of temporary files.
#[derive(Clone, Debug, Default)]
pub struct SpoolUsage(Gauge);

/// The bytes of one temporary file, until it is dropped.
#[derive(Debug)]
pub struct FileUsage {
    all: Gauge,
    own: AtomicI64,
}

impl SpoolUsage {
    /// Those of a new file.
    #[must_use]
    pub fn of_file(&self) -> FileUsage {
        FileUsage { all: self.0.clone(), own: AtomicI64::new(0) }
    }
}

impl FileUsage {
    /// So many bytes more were written.
    pub fn add(&self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.all.inc_by(bytes);
    }
}

impl Drop for FileUsage {
    fn drop(&mut self) {
        self.all.dec_by(*self.own.get_mut());
    }
}

/// How many fills ended with each result.
#[derive(Clone, Copy, Debug)]
pub struct FillTotals {
    /// This process stored the blob.
    pub stored: u64,
    /// Another process stored it.
    pub followed: u64,
    /// Another process fills it, and no client needs it here.
    pub left: u64,
    /// The others.
    pub failed: u64,
}

/// The metrics of fills.
#[derive(Debug)]
pub(super) struct Fills {
    pub(super) ended: Family<Ended, Counter>,
    pub(super) active: Gauge,
    pub(super) memory: FillMemory,
    pub(super) spool: SpoolUsage,
    pub(super) chunks: Counter,
    pub(super) chunk_bytes: Counter,
    pub(super) takeovers: Counter,
    pub(super) robbed: Counter,
    pub(super) bytes: Counter,
    pub(super) first_byte: Histogram,
}

impl Fills {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            ended: register(registry, "fills", "Fills, which copy a blob from an upstream to the bucket, by result"),
            active: register(registry, "fills_active", "Fills in progress"),
            memory: FillMemory {
                in_use: register(registry, "fill_memory_bytes", "Bytes of blobs that fills keep in memory"),
                limit: register(
                    registry,
                    "fill_memory_limit_bytes",
                    "The most bytes that fills keep in memory (proxy.fill.memory, and a little for small blobs)",
                ),
            },
            spool: SpoolUsage(register(
                registry,
                "spool_used_bytes",
                "Bytes of blobs that are being copied in temporary files",
            )),
            chunks: register(registry, "fill_chunks", "Chunks of large blobs that fills wrote to the bucket"),
            chunk_bytes: register(registry, "fill_chunk_bytes", "Bytes of these chunks"),
            takeovers: register(
                registry,
                "fill_takeovers",
                "Shared fills that this process took over from one that ended, or was silent for too long",
            ),
            robbed: register(
                registry,
                "fills_robbed",
                "Shared fills that another process took over from this one: it shuts down, was paused, or lost the \
                 bucket",
            ),
            bytes: register(registry, "filled_bytes", "Bytes of blobs read from upstreams"),
            first_byte: register(
                registry,
                "cold_blob_first_byte_seconds",
                "From a client's request for a blob that is not in the bucket to the first byte of its body",
            ),
        }
    }

    pub(super) fn totals(&self) -> FillTotals {
        let ended = |result| self.ended.get_or_create(&Ended { result }).get();
        FillTotals {
            stored: ended("stored"),
            followed: ended("followed"),
            left: ended("left"),
            failed: ended("failed"),
        }
    }
}
