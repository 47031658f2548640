//! Blobs that are going to be needed, in the order in which they were named.

use std::collections::{HashSet, VecDeque};

use super::Wanted;
use crate::oci::Digest;

/// How many may wait. What comes then is fetched when it is asked for.
const MAX_WAITING: usize = 4096;

/// A queue in which each blob stands once.
#[derive(Debug, Default)]
pub(in crate::registry) struct Waiting {
    queue: VecDeque<(Wanted, u64)>,
    digests: HashSet<Digest>,
}

impl Waiting {
    /// Adds a blob of so many bytes, unless it is there or there are too many.
    pub(super) fn push(&mut self, wanted: Wanted, announced: u64) {
        if self.queue.len() < MAX_WAITING && self.digests.insert(wanted.digest) {
            self.queue.push_back((wanted, announced));
        }
    }

    pub(super) fn pop(&mut self) -> Option<(Wanted, u64)> {
        let first = self.queue.pop_front()?;
        self.digests.remove(&first.0.digest);
        Some(first)
    }
}
