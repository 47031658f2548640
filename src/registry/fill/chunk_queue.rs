//! The way of chunks to the bucket: how many of all fills are on it at once, and whether the bucket takes them at all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::store::StoreError;
use crate::telemetry::Metrics;

/// How many chunks are on their way at once at first: few enough for a slow uplink, where each must come through within
/// a minute, and more than one, so that a request that hangs does not hold up all others.
const FIRST: usize = 2;
/// How many at most.
const MOST: usize = 8;
/// A chunk that needs less shows that there is room for one more.
const FAST: Duration = Duration::from_secs(10);
/// One that needs more shows that there are too many: half of what it may take.
const SLOW: Duration = Duration::from_secs(30);
/// How long large blobs are refused after the bucket denied the right to write chunks.
const DENIED: Duration = Duration::from_mins(5);

/// The chunks of all fills on their way.
#[derive(Debug)]
pub(super) struct ChunkQueue {
    metrics: Arc<Metrics>,
    permits: Semaphore,
    known: Mutex<Known>,
    /// The log says that the bucket denies keys of fills.
    has_warned: AtomicBool,
}

/// What was seen of the bucket.
#[derive(Debug)]
struct Known {
    /// How many chunks may be on their way.
    limit: usize,
    /// When the bucket denied a chunk last, and what it said.
    denied: Option<(Instant, Arc<str>)>,
}

impl ChunkQueue {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        let known = Mutex::new(Known { limit: FIRST, denied: None });
        Self { metrics: Arc::clone(metrics), permits: Semaphore::new(FIRST), known, has_warned: AtomicBool::new(false) }
    }

    /// Sends a chunk of `len` bytes to this key, as soon as no more are on their way than can be.
    ///
    /// # Errors
    /// Why the bucket did not take it.
    pub(super) async fn send(
        &self,
        (key, len): (&str, u64),
        put: impl Future<Output = Result<(), StoreError>>,
    ) -> Result<(), String> {
        // The semaphore is never closed.
        let permit = self.permits.acquire().await.map_err(|error| error.to_string())?;
        let began = Instant::now();
        let sent = put.await;
        let mut known = self.known();
        match known.after(&sent, began.elapsed()) {
            Change::More => self.permits.add_permits(1),
            Change::Fewer => permit.forget(),
            Change::None => {}
        }
        let Err(error) = sent else {
            known.denied = None;
            self.metrics.fill_chunk(len);
            return Ok(());
        };
        drop(known);
        let cause = format!("{key} cannot be written: {error}");
        if matches!(error, StoreError::Denied { .. }) {
            self.deny(&cause);
        }
        Err(cause)
    }

    /// The bucket denied an object of a fill.
    pub(super) fn deny(&self, cause: &str) {
        self.known().denied = Some((Instant::now(), Arc::from(cause)));
        self.warn(cause);
    }

    /// Logs once a process what is not possible without a right to the keys of fills.
    pub(super) fn warn(&self, cause: &str) {
        if !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                cause,
                "the bucket denies keys below pounce/fills/: blobs that memory (proxy.fill.memory) has no room for \
                 cannot be pulled through, and replicas do not share the copies of large blobs; allow GetObject, \
                 PutObject and DeleteObject of pounce/fills/*, and ListBucket, as of docker/registry/v2/*"
            );
        }
    }

    /// Why the bucket takes no chunks, if it denied one a short time ago.
    pub(super) fn denied(&self) -> Option<Arc<str>> {
        let known = self.known();
        let denied = known.denied.as_ref().filter(|(since, _)| since.elapsed() < DENIED);
        denied.map(|(_, cause)| Arc::clone(cause))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many chunks may be on their way from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    More,
    Fewer,
}

impl Known {
    fn after(&mut self, sent: &Result<(), StoreError>, took: Duration) -> Change {
        let is_failed = matches!(sent, Err(StoreError::Unavailable { .. }));
        if (is_failed || took > SLOW) && self.limit > 1 {
            self.limit -= 1;
            Change::Fewer
        } else if sent.is_ok() && took < FAST && self.limit < MOST {
            self.limit += 1;
            Change::More
        } else {
            Change::None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_uplink_gets_fewer_chunks_at_once() {
        let mut known = Known { limit: FIRST, denied: None };
        let failed = || Err(StoreError::Unavailable { operation: "PutObject", cause: String::new() });
        for _ in 0..2 * MOST {
            known.after(&Ok(()), Duration::ZERO);
        }
        assert_eq!(known.limit, MOST);
        assert_eq!(known.after(&Ok(()), FAST), Change::None);
        assert_eq!(known.after(&Ok(()), 2 * SLOW), Change::Fewer);
        for _ in 0..2 * MOST {
            known.after(&failed(), Duration::ZERO);
        }
        assert_eq!((known.limit, known.after(&failed(), 2 * SLOW)), (1, Change::None));
        assert_eq!(known.after(&Ok(()), Duration::ZERO), Change::More);
    }
}
