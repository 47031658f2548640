//! The lease of a fill: which process fills, and how far it is. No I/O.
//!
//! One object in the bucket for each blob and upstream. The process that fills, the *owner*, writes it again and again,
//! each time only if it is unchanged since; the others, which follow, read it. An owner that stops writing is replaced:
//! another process appends a *generation* of its own to the list and goes on. Every generation has a directory of its
//! own in the bucket, so that an owner that was paused and wakes up cannot touch a chunk that its successor relies on.
//!
//! ```text
//! asking ──▶ filling ──▶ verified ──▶ done ──▶ (deleted)
//!              │  ▲          │
//!              │  └──────────┘ a chunk was lost before it was copied
//!              ├──▶ leaving ──▶ released     the owner shuts down, its chunks stay
//!              │◀──────┘ no other process had a better way to the upstream
//!              └──▶ failed ──▶ (deleted)     the bytes are not the blob's
//! ```

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunks::{Layout, MOST};
use super::runs::{self, Run};
use crate::oci::{Algorithm, Hasher};
use crate::registry::parts_digest::PartsDigest;

/// The most generations of a lease. The next one adopts nothing, and begins a list of one.
pub(super) const MAX_GENERATIONS: usize = 16;
/// The most heads of a lease.
pub(super) const MAX_HEADS: usize = 4;
/// The largest chunk in bytes: of the largest objects of S3, 5 TiB.
const MAX_CHUNK: u64 = 2 << 30;
/// The longest `ETag` of a head, in bytes; stores have up to 70.
const MAX_ETAG_BYTES: usize = 256;

/// How far a fill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LeaseState {
    /// The owner waits for the upstream's headers: the size is the manifest's, and no client is answered with it yet.
    Asking,
    /// Chunks come.
    Filling,
    /// The owner shuts down, or its upstream sends next to nothing; another process may take over at once.
    Leaving,
    /// The owner is gone; another process may take over at once.
    Released,
    /// The digest is right, and all chunks are in the bucket.
    Verified,
    /// The blob is in the bucket; its chunks will be deleted.
    Done,
    /// The bytes were not the blob's, and will be deleted.
    Failed,
}

impl LeaseState {
    /// Whether the owner itself may write this state after another.
    pub(super) fn may_follow(self, before: Self) -> bool {
        use LeaseState::{Asking, Done, Failed, Filling, Leaving, Released, Verified};
        match before {
            Asking => matches!(self, Asking | Filling | Leaving | Released | Failed),
            // `Done` without `Verified` where the bucket took no lease for a while.
            Filling | Leaving | Verified => !matches!(self, Asking),
            Released | Done | Failed => false,
        }
    }
}

/// The beginning of a chunk that is not whole yet, or a part of it: an object of the newest generation. Heads are read
/// until the bucket has the chunk, and never hashed, copied or adopted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64, String)", into = "(u64, u64, String)")]
pub(super) struct Head {
    /// The position of its first byte in the blob.
    pub(super) start: u64,
    /// The position behind its last one.
    pub(super) end: u64,
    /// Its `ETag`, as the bucket spells it.
    pub(super) etag: String,
}

impl From<(u64, u64, String)> for Head {
    fn from((start, end, etag): (u64, u64, String)) -> Self {
        Self { start, end, etag }
    }
}

impl From<Head> for (u64, u64, String) {
    fn from(head: Head) -> Self {
        (head.start, head.end, head.etag)
    }
}

/// How far the chunks are hashed: a number of chunks, all of them stored, from the first on without a gap.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    /// How many chunks.
    pub(super) chunks: u64,
    /// After them.
    pub(super) hasher: Hasher,
    /// Over them.
    pub(super) chain: PartsDigest,
}

impl Hashed {
    /// Nothing yet.
    pub(super) fn nothing(algorithm: Algorithm) -> Self {
        Self { chunks: 0, hasher: Hasher::new(algorithm), chain: PartsDigest::default() }
    }
}

/// A lease.
///
/// Invariants ([`is_valid`](Self::is_valid)): there are 1 to [`MAX_GENERATIONS`] generations; runs are in order, do not
/// overlap, and lie in the blob; hashed chunks are stored, and in `Verified` and `Done` they are all.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    /// Grows with each write, so that no two writes have equal bytes and with them equal `ETag`s.
    pub(super) write: u64,
    pub(super) state: LeaseState,
    /// The oldest first; the last one is the owner's.
    pub(super) generations: Vec<Uuid>,
    /// The size of the blob in bytes.
    pub(super) size: u64,
    /// The size of its chunks but the last, in bytes.
    pub(super) chunk: u64,
    /// The chunks that are in the bucket.
    pub(super) stored: Vec<Run>,
    /// At most [`MAX_HEADS`].
    pub(super) heads: Vec<Head>,
    pub(super) hashed: Hashed,
}

impl Lease {
    /// The first lease of a process that is about to ask its upstream.
    pub(super) fn asking(generation: Uuid, size: u64, chunk: u64, algorithm: Algorithm) -> Self {
        Self {
            write: 0,
            state: LeaseState::Asking,
            generations: vec![generation],
            size,
            chunk,
            stored: Vec::new(),
            heads: Vec::new(),
            hashed: Hashed::nothing(algorithm),
        }
    }

    /// The lease with which a process takes over from the owner of this one, under a new generation: with all its
    /// chunks, unless the owner's bytes were wrong, its size was only a manifest's, or the list of generations is full.
    pub(super) fn taken_over(&self, generation: Uuid) -> Self {
        let algorithm = self.hashed.hasher.algorithm();
        let is_new = matches!(self.state, LeaseState::Asking | LeaseState::Failed | LeaseState::Done);
        if is_new || self.generations.len() >= MAX_GENERATIONS {
            return Self { write: self.write + 1, ..Self::asking(generation, self.size, self.chunk, algorithm) };
        }
        let mut taken = Self { write: self.write + 1, state: LeaseState::Filling, heads: Vec::new(), ..self.clone() };
        taken.generations.push(generation);
        taken
    }

    /// The generation of the process that fills.
    pub(super) fn owner(&self) -> Uuid {
        self.generations.last().copied().unwrap_or_default()
    }

    /// How the blob is cut.
    pub(super) const fn layout(&self) -> Layout {
        Layout { size: Some(self.size), chunk: self.chunk }
    }

    /// The chunks that are in the bucket, each with its generation.
    pub(super) fn chunks(&self) -> impl Iterator<Item = (u64, Uuid)> {
        runs::chunks(&self.stored, &self.generations)
    }

    /// How many chunks the blob has.
    pub(super) const fn count(&self) -> u64 {
        self.layout().count(self.size)
    }

    /// Whether all invariants hold. `least` is the least size of a chunk.
    pub(super) fn is_valid(&self, least: u64) -> bool {
        let has_chunks = self.chunk.is_power_of_two() && (least..=MAX_CHUNK).contains(&self.chunk);
        let is_cut = has_chunks && self.size > 0 && self.count() <= MOST;
        let has_generations = (1..=MAX_GENERATIONS).contains(&self.generations.len());
        is_cut
            && has_generations
            && self.has_valid_runs()
            && self.has_valid_heads()
            && self.hashed.chunks <= runs::prefix(&self.stored)
            && (!matches!(self.state, LeaseState::Verified | LeaseState::Done) || self.hashed.chunks == self.count())
    }

    fn has_valid_runs(&self) -> bool {
        let mut next = 0;
        self.stored.iter().all(|run| {
            let is_next = next <= run.from && run.from < run.to && run.to <= self.count();
            next = run.to;
            is_next && usize::from(run.generation) < self.generations.len()
        })
    }

    fn has_valid_heads(&self) -> bool {
        let is_valid = |head: &Head| {
            let is_in_one = head.start < head.end
                && head.end <= self.size
                && self.layout().number(head.start) == self.layout().number(head.end - 1);
            is_in_one && head.etag.len() <= MAX_ETAG_BYTES
        };
        self.heads.len() <= MAX_HEADS && self.heads.iter().all(is_valid)
    }
}

/// What a process that does not own a lease may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Follow.
    Alive,
    /// Take over now: the owner left, or its bytes were wrong.
    Free,
    /// Take over: the owner has not written for too long.
    Dead,
    /// Read the blob, which is stored.
    Done,
    /// Fill alone, and touch nothing: the object is no lease, or one under another secret.
    Foreign,
}

/// A look at a lease: what of it says whether its owner lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// When this process first saw the present `ETag`.
    pub(super) since: Instant,
    /// `Date` less `Last-Modified` of one response of the bucket, if both were there and it is not negative.
    pub(super) age: Option<Duration>,
}

impl Look {
    /// Whether the owner has been silent for too long by the bucket's clock, which needs a second look.
    pub(super) fn is_old(self, death: Duration) -> bool {
        // Both dates are cut to whole seconds.
        self.age.is_some_and(|age| age >= death + Duration::from_secs(1))
    }
}

/// Judges a lease; `None` is an object that is none. `death` is how long an owner may be silent.
///
/// The age by the bucket's clock needs a second look, and the time that this process itself saw nothing change needs no
/// clock but its own: nodes of a bucket whose clocks differ would otherwise make live owners look dead for ever.
pub(super) fn judge(lease: Option<&Lease>, look: Look, now: Instant, death: Duration) -> Verdict {
    match lease.map(|lease| lease.state) {
        Some(LeaseState::Done) => return Verdict::Done,
        Some(LeaseState::Leaving | LeaseState::Released | LeaseState::Failed) => return Verdict::Free,
        _ => {}
    }
    let seen = now.saturating_duration_since(look.since);
    if seen >= death || (seen >= death / 3 && look.is_old(death)) {
        return Verdict::Dead;
    }
    if lease.is_some() { Verdict::Alive } else { Verdict::Foreign }
}

#[cfg(test)]
pub(super) mod tests;
