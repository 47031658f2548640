//! Fills: copying a blob from the upstream to the bucket, with any number of clients reading along.
//!
//! A process has at most one fill of a digest. It is a task of its own ([`job`]) that no client can stop:
//!
//! ```text
//! upstream ──(connections)──▶ window of memory ──▶ parts, or chunks ──▶ bucket
//!                                │   └─▶ digest           │
//!                                └─▶ clients, each at its own pace, from memory or chunks
//! ```
//!
//! Connections share the blob by a [`plan`], which begins with what clients wait for ([`readers`]), and each resumes
//! where it broke ([`resuming_reader`]). There are as many as help ([`growth`]). A blob knows which bytes are there
//! ([`intervals`]): a client of a range follows them from where it begins, and the uploader and the digest follow the
//! watermark, up to which there is no gap ([`hashing`]). The bucket shows the blob only after its digest was verified,
//! and only then do clients of the whole get its last bytes. A failure ends the fill for all of them, and the next
//! request begins a new one.
//!
//! All fills share one budget of [`memory`]. A small blob is in memory as a whole, and is sent to the bucket as it comes
//! ([`commit`]). A large one is cut into [`chunks`]: each is stored as an object as soon as it is whole
//! ([`chunk_sender`]), and its memory is then for others ([`window`]); clients that are behind read it from the bucket
//! ([`reader`]). When the digest is verified, the bucket makes the blob of the chunks ([`compose`]).
//!
//! From a size on, the processes of a bucket share a fill ([`shared_fill`]): one has the [`lease`], which says which
//! chunks are in the bucket ([`lease_keeper`]); the others watch it ([`lease_watch`]) and feed their clients from these
//! chunks, and one of them goes on when the owner is gone ([`takeover`]). A client gets the end of a blob only if what it
//! has is what was verified ([`origins`]).
//!
//! What a fill measures ([`meter`]) is in its line of the log, and in the [`status`].
//!
//! Over a folder there are no parts: the file that a blob is downloaded into becomes the blob.

mod blob_file;
mod bucket_chunks;
mod bucket_readers;
mod chunk_queue;
mod chunk_sender;
mod chunks;
mod commit;
mod compose;
mod connections;
mod counted;
mod directory;
mod download;
mod filled_blob;
mod growth;
mod hashing;
mod held_lease;
mod intervals;
mod job;
mod join;
mod lease;
mod lease_codec;
mod lease_keeper;
mod lease_object;
mod lease_watch;
mod memory;
mod meter;
mod origins;
mod pieces;
mod plan;
mod pool;
mod prefetch_queue;
mod reader;
mod readers;
mod resuming_reader;
mod running;
mod runs;
mod shared_fill;
mod shared_state;
mod status;
mod sweep;
mod takeover;
mod task;
mod upstream_blob;
mod wants;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cache::Cache;
use super::links::Links;
use super::options::Options;
use super::runtime::Background;
use crate::config::{Compose, FillTuning};
use crate::oci::Digest;
use crate::store::{Embedded, Store};
use crate::telemetry::Metrics;

use chunk_queue::ChunkQueue;
use directory::Directory;
use lease_codec::LeaseCodec;
use memory::Memory;
use prefetch_queue::PrefetchQueue;
use running::Fill;

#[cfg(feature = "internals")]
pub(crate) use lease_codec::fuzz as fuzz_lease;

pub(super) use filled_blob::{FilledBlob, HELD_BACK, Reading};
pub(super) use join::ColdBlob;
pub use status::{FillStatus, FillsStatus};

pub(super) use sweep::SweptFills;
pub(super) use upstream_blob::UpstreamBlob;

/// How many fills run at once; the next one waits. Each has a connection to the upstream, at times a thread that hashes
/// and a few parts under way; more would not be faster.
const MAX_FILLS: usize = 128;
/// How many connections all fills have, beyond all other bounds, for single segments that clients have waited for.
const URGENT_CONNECTIONS: usize = 16;

/// The size in bytes from which a blob is cut into chunks in any case, where no replicas share fills.
const SMALL: u64 = 64 << 20;

/// The fills of one process.
#[derive(Debug)]
pub(super) struct Fills {
    store: Store,
    cache: Arc<Cache>,
    links: Arc<Links>,
    background: Arc<Background>,
    metrics: Arc<Metrics>,
    running: Mutex<Running>,
    permits: Arc<Semaphore>,
    memory: Arc<Memory>,
    directory: Directory,
    /// Blobs of less than so many bytes are in memory as a whole, if there is room for them.
    small: u64,
    chunk_queue: Arc<ChunkQueue>,
    /// From this size on, the processes of a bucket share fills.
    shared_size: Option<u64>,
    codec: Arc<LeaseCodec>,
    /// `proxy.fill.compose`
    compose: Compose,
    tuning: FillTuning,
    /// `proxy.fill.connections`
    connections: usize,
    /// `proxy.fill.concurrency`
    concurrency: usize,
    /// `proxy.fill.maxconnections`
    extra: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Running {
    fills: HashMap<Digest, Arc<Fill>>,
    /// Blobs that no client has asked for yet.
    prefetch: PrefetchQueue,
}

impl Fills {
    pub(super) fn new(
        store: &Store,
        cache: &Arc<Cache>,
        links: &Arc<Links>,
        metrics: &Arc<Metrics>,
        options: &Options,
    ) -> Self {
        // Over a folder, where a file can become the stored blob.
        let of_folder = || store.embedded().map(Embedded::spool_directory);
        let directory = options.spool_directory.clone().or_else(of_folder);
        Self {
            store: store.clone(),
            cache: Arc::clone(cache),
            links: Arc::clone(links),
            background: Arc::clone(&links.background),
            metrics: Arc::clone(metrics),
            running: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_FILLS)),
            memory: Memory::new(options.fill_memory, metrics.fill_memory()),
            directory: Directory::new(directory, metrics.spool(), store.embedded().is_none()),
            small: options.shared_size.unwrap_or(SMALL),
            shared_size: options.shared_size,
            codec: Arc::new(LeaseCodec::new(options.signing.as_ref(), options.tuning.chunk)),
            chunk_queue: Arc::new(ChunkQueue::new(metrics)),
            compose: options.compose,
            tuning: options.tuning,
            connections: options.connections,
            concurrency: options.concurrency,
            extra: Arc::new(Semaphore::new(options.max_connections)),
            urgent: Arc::new(Semaphore::new(URGENT_CONNECTIONS)),
        }
    }

    /// Logs why replicas do not share fills, where they are meant to.
    pub(super) async fn log_sharing(&self) {
        if self.shared_size.is_none() || self.store.embedded().is_some() {
            return;
        }
        let cause = if self.directory.is_used() {
            Some("proxy.spool.directory is set".to_owned())
        } else {
            self.store.lack_of_conditions_of_writes().await
        };
        if let Some(cause) = cause {
            tracing::info!(cause, "replicas do not share the copies of large blobs: each costs the upstream one");
        }
    }

    /// A permit for one more connection of a fill, if there is one. The first of a fill does without, so that no blob
    /// waits for another.
    fn extra_connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.extra).try_acquire_owned().ok()
    }

    /// A permit for a connection that fetches a segment for which a client has waited, if there is one.
    fn urgent_connection(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.urgent).try_acquire_owned().ok()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
