//! Fills: copying a blob from the upstream to the bucket, with any number of clients reading along.
//!
//! A process has at most one fill of a digest. It is a task of its own ([`job`]) that no client can stop:
//!
//! ```text
//! upstream ──(connections)──▶ spool file ──▶ parts ──▶ bucket
//!                                │   └─▶ digest
//!                                └─▶ every client, each at its own pace
//! ```
//!
//! Connections share the blob by a [`plan`], which begins with what clients wait for ([`readers`]), and each resumes
//! where it broke ([`resuming_reader`]). There are as many as help ([`growth`]). The spool knows which bytes it has
//! ([`intervals`]): a client of a range follows them from where it begins, and the uploader and the digest follow the
//! watermark, up to which there is no gap. The bucket shows the blob only after its digest was verified, and only then
//! do clients of the whole get its last bytes. A failure ends the fill for all of them, and the next request begins a
//! new one.
//!
//! Over a folder there are no parts: the spool file becomes the blob.
//!
//! A blob for which the spool has no room is copied through memory ([`tee`]).

mod connections;
mod counted;
mod download;
mod growth;
mod intervals;
mod job;
mod join;
mod pieces;
mod plan;
mod prefetch_queue;
mod readers;
mod resuming_reader;
mod running;
mod spool;
mod spooled_blob;
mod tail_buffer;
mod tee;
mod upload;
mod upstream_blob;
mod verify_stream;
mod writer;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::cache::Cache;
use super::ingest::BlobWriter;
use super::links::Links;
use super::options::Options;
use super::runtime::Background;
use crate::oci::Digest;
use crate::store::{Embedded, Store};
use crate::telemetry::Metrics;

use prefetch_queue::PrefetchQueue;
use running::Fill;
use spool::Budget;
use tail_buffer::TailBytes;

pub(super) use join::ColdBlob;
pub(super) use resuming_reader::ResumingReader;
pub(super) use running::FillRefusal;
pub(super) use spooled_blob::{HELD_BACK, Reading, SpooledBlob};
pub(super) use tee::Tee;
pub(super) use upstream_blob::UpstreamBlob;
pub(super) use verify_stream::verify_stream;

/// How many connections all fills have, beyond all other bounds, for single segments that clients have waited for.
const URGENT_CONNECTIONS: usize = 16;

/// The fills of one process.
#[derive(Debug)]
pub(super) struct Fills {
    store: Store,
    cache: Arc<Cache>,
    links: Arc<Links>,
    writer: Arc<BlobWriter>,
    background: Arc<Background>,
    metrics: Arc<Metrics>,
    running: Mutex<Running>,
    spool: Arc<Budget>,
    /// `proxy.fill.connections`
    connections: usize,
    /// `proxy.fill.concurrency`
    concurrency: usize,
    /// `proxy.fill.maxconnections`
    extra: Arc<Semaphore>,
    urgent: Arc<Semaphore>,
    tails: Arc<TailBytes>,
}

#[derive(Debug, Default)]
struct Running {
    fills: HashMap<Digest, Arc<Fill>>,
    /// Blobs that no client has asked for yet.
    prefetch: PrefetchQueue,
    /// Blobs that are copied without a spool.
    unspooled: HashSet<Digest>,
}

impl Fills {
    pub(super) fn new(
        store: &Store,
        cache: &Arc<Cache>,
        links: &Arc<Links>,
        writer: &Arc<BlobWriter>,
        metrics: &Arc<Metrics>,
        options: &Options,
    ) -> Self {
        // Over a folder, where a blob in the spool can become the stored one.
        let spool_directory = options.spool_directory.clone();
        let spool_directory = spool_directory.or_else(|| store.embedded().map(Embedded::spool_directory));
        let spool_directory = spool_directory.unwrap_or_else(std::env::temp_dir);
        Self {
            store: store.clone(),
            cache: Arc::clone(cache),
            links: Arc::clone(links),
            writer: Arc::clone(writer),
            background: Arc::clone(&links.background),
            metrics: Arc::clone(metrics),
            running: Mutex::default(),
            spool: Arc::new(Budget::new(spool_directory, options.spool_max)),
            connections: options.connections,
            concurrency: options.concurrency,
            extra: Arc::new(Semaphore::new(options.max_connections)),
            urgent: Arc::new(Semaphore::new(URGENT_CONNECTIONS)),
            tails: Arc::default(),
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
