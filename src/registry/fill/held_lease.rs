//! A lease as its owner last wrote it, and what it writes next. No I/O.

use std::time::Instant;

use uuid::Uuid;

use super::lease::{Hashed, Head, Lease, LeaseState};
use super::runs::{self, Run};

/// How far the owner is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The chunks that are in the bucket, in order, each with its generation.
    pub(super) chunks: Vec<(u64, Uuid)>,
    /// Those of this process.
    pub(super) heads: Vec<Head>,
    pub(super) hashed: Hashed,
}

/// A lease that this process owns.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// As this process last wrote it.
    pub(super) lease: Lease,
    pub(super) etag: String,
    pub(super) written: Instant,
}

impl Held {
    /// The next lease.
    pub(super) fn next(&self, state: LeaseState, progress: Option<&Progress>) -> Lease {
        debug_assert!(state.may_follow(self.lease.state), "{state:?} after {:?}", self.lease.state);
        let mut next = self.lease.clone();
        next.write += 1;
        next.state = state;
        if let Some(Progress { chunks, heads, hashed }) = progress {
            next.stored = runs::runs(chunks.iter().copied(), &next.generations);
            next.heads.clone_from(heads);
            next.hashed = hashed.clone();
        }
        next
    }

    /// Whether another lease says the same.
    pub(super) fn is_like(&self, other: &Lease) -> bool {
        let of = |lease: &Lease| -> (LeaseState, Vec<Run>, Vec<Head>, u64) {
            (lease.state, lease.stored.clone(), lease.heads.clone(), lease.hashed.chunks)
        };
        of(&self.lease) == of(other)
    }

    pub(super) fn put(&mut self, lease: Lease, etag: String) {
        *self = Self { lease, etag, written: Instant::now() };
    }
}
