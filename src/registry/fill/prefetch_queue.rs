//! Blobs that clients are going to need, in the order in which manifests named them.

use std::collections::{HashSet, VecDeque};

use super::upstream_blob::UpstreamBlob;
use crate::oci::Digest;
use crate::telemetry::Scope;

/// How many blobs may wait. Further ones are fetched when a client asks for them.
const MAX_WAITING: usize = 4096;

/// A queue in which each blob stands once.
#[derive(Debug, Default)]
pub(super) struct PrefetchQueue {
    queue: VecDeque<Prefetch>,
    digests: HashSet<Digest>,
}

/// A blob that waits.
#[derive(Debug)]
pub(super) struct Prefetch {
    pub(super) blob: UpstreamBlob,
    /// The size that a manifest gives it, in bytes.
    pub(super) announced: u64,
    /// The request that named it.
    pub(super) scope: Scope,
}

impl PrefetchQueue {
    /// Adds a blob, unless it waits already or too many do.
    pub(super) fn push(&mut self, blob: UpstreamBlob, announced: u64) {
        if self.queue.len() < MAX_WAITING && self.digests.insert(blob.digest) {
            self.queue.push_back(Prefetch { blob, announced, scope: Scope::current() });
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn pop(&mut self) -> Option<Prefetch> {
        let first = self.queue.pop_front()?;
        self.digests.remove(&first.blob.digest);
        Some(first)
    }
}
