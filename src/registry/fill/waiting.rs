//! Blobs that are going to be needed, in the order in which they were named.

use std::collections::{HashSet, VecDeque};

use tracing::Span;

use super::Wanted;
use crate::oci::Digest;

/// How many may wait. What comes then is fetched when it is asked for.
const MAX_WAITING: usize = 4096;

/// A queue in which each blob stands once.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queue: VecDeque<Next>,
    digests: HashSet<Digest>,
}

/// A blob that waits.
#[derive(Debug)]
pub(super) struct Next {
    pub(super) wanted: Wanted,
    /// The size that a manifest gives it, in bytes.
    pub(super) announced: u64,
    /// The request that named it.
    pub(super) span: Span,
}

impl Waiting {
    /// Adds a blob, unless it is there or there are too many.
    pub(super) fn push(&mut self, wanted: Wanted, announced: u64) {
        if self.queue.len() < MAX_WAITING && self.digests.insert(wanted.digest) {
            let span = Span::current();
            self.queue.push_back(Next { wanted, announced, span });
        }
    }

    pub(super) fn pop(&mut self) -> Option<Next> {
        let first = self.queue.pop_front()?;
        self.digests.remove(&first.wanted.digest);
        Some(first)
    }
}
