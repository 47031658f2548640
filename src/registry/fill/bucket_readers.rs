//! How many connections to the bucket there are for clients of fills: each buffers up to a MiB, however slowly its
//! client reads.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many connections wait for their clients.
const STREAMS: usize = 48;
/// How many connections bring [`TURN_BYTES`], and do not wait for their clients.
const TURNS: usize = 16;
/// How many bytes a client gets at once when there are no streams left: what it is admitted for.
pub(super) const TURN_BYTES: u64 = 64 << 10;

/// The permits to read from the bucket.
#[derive(Debug)]
pub(super) struct BucketReaders {
    streams: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

/// Permission for one connection.
#[derive(Debug)]
pub(super) struct BucketRead {
    /// For [`TURN_BYTES`], which are taken off the connection at once; otherwise for as long as the client takes.
    pub(super) is_turn: bool,
    _permit: OwnedSemaphorePermit,
}

impl Default for BucketReaders {
    fn default() -> Self {
        Self { streams: Arc::new(Semaphore::new(STREAMS)), turns: Arc::new(Semaphore::new(TURNS)) }
    }
}

impl BucketReaders {
    /// A stream, if there is one left.
    pub(super) fn stream(&self) -> Option<BucketRead> {
        Arc::clone(&self.streams).try_acquire_owned().ok().map(|permit| BucketRead { is_turn: false, _permit: permit })
    }

    /// A stream, or else a turn, for which clients wait in the order in which they came. Slow clients keep no turn, so
    /// each ends as soon as the bucket answers.
    pub(super) async fn acquire(&self) -> Option<BucketRead> {
        if let Some(stream) = self.stream() {
            return Some(stream);
        }
        // The semaphore is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await.ok()?;
        Some(BucketRead { is_turn: true, _permit: permit })
    }
}
