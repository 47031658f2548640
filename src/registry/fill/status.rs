//! Which fills run, and how far they are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Fills;
use super::filled_blob::{BlobState, FilledBlob};
use super::running::{Fill, Role};
use crate::oci::{Digest, RepositoryName};

/// The fills of a process.
#[derive(Clone, Debug, Default)]
pub struct FillsStatus {
    /// How many run.
    pub running: usize,
    /// How many wait for one to end, those of blobs that no client has asked for yet included.
    pub waiting: usize,
    /// Those that run, the oldest first, as many as were asked for.
    pub fills: Vec<FillStatus>,
}

/// A fill that runs.
#[derive(Clone, Debug)]
pub struct FillStatus {
    /// The repository whose request began it.
    pub repository: RepositoryName,
    /// The repositories for which it runs, that one included.
    pub repositories: BTreeSet<RepositoryName>,
    /// The blob.
    pub digest: Digest,
    /// Its size in bytes, if it is known.
    pub size: Option<u64>,
    /// How many bytes of it are here, or in the bucket's chunks.
    pub received: u64,
    /// How many came lately.
    pub bytes_per_second: u64,
    /// Clients that read along.
    pub readers: usize,
    /// Connections to the upstream.
    pub connections: usize,
    /// How often a connection was replaced.
    pub retries: u64,
    /// The address of the upstream.
    pub upstream: String,
    /// The part of this process in the fill: `alone`, `owner` or `follower`.
    pub shared: &'static str,
    /// Since when it is in the list.
    pub age: Duration,
}

impl Fills {
    /// The fills, and of those that run the `most` oldest.
    pub(in crate::registry) fn status(&self, most: usize) -> FillsStatus {
        let running = self.running();
        let queued = running.prefetch.len();
        // Not looked at under the lock, which requests wait for.
        let all: Vec<_> = running.fills.values().cloned().collect();
        drop(running);
        let (mut begun, waiting): (Vec<_>, Vec<_>) = all.into_iter().partition(|fill| fill.role() != Role::Waiting);
        let (running, waiting) = (begun.len(), waiting.len() + queued);
        begun.sort_unstable_by_key(|fill| fill.began);
        begun.truncate(most);
        let fills = begun.iter().map(status).collect();
        FillsStatus { running, waiting, fills }
    }
}

fn status(fill: &Arc<Fill>) -> FillStatus {
    let filled = fill.filled_now();
    let (mut received, mut bytes_per_second, mut meter) = (0, 0, (0, 0, 0));
    if let Some(filled) = &filled {
        received = filled.bytes_there();
        bytes_per_second = filled.meter.bytes_per_second(received);
        let FilledBlob { meter: of, .. } = &**filled;
        let connections = of.connections.load(Ordering::Relaxed);
        meter = (of.readers.load(Ordering::Relaxed), connections, of.retries.load(Ordering::Relaxed));
    }
    let (readers, connections, retries) = meter;
    FillStatus {
        repository: fill.blob.name.clone(),
        repositories: fill.names(),
        digest: fill.blob.digest,
        size: filled.and_then(|filled| filled.size()).or(fill.announced),
        received,
        bytes_per_second,
        readers,
        connections,
        retries,
        upstream: fill.blob.upstream.label().to_owned(),
        shared: fill.role().as_str(),
        age: fill.began.elapsed(),
    }
}

impl FilledBlob {
    /// How many bytes are there.
    pub(super) fn bytes_there(&self) -> u64 {
        let watermark = self.watermark();
        if watermark.state == BlobState::Stored { watermark.written } else { self.there().len() }
    }
}
