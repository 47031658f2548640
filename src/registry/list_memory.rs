//! What bounds the lists of tags and of referrers: the memory of those that are being made, of all requests together,
//! and the time that an upstream has.
//!
//! Pushes and upstreams decide how long a list is, so each reserves memory from one budget as it grows. Where there is
//! none, a list cannot wait: it holds some already, and two would wait for each other. It is given up, waits for as
//! much as the longest list takes while it holds nothing, and is made anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::oci::{Error, ErrorCode, Referrer};
use crate::upstream::UpstreamError;

/// What all lists take together that are being made, in bytes: two of the longest, and thousands of the usual length.
const LISTS: usize = 48 << 20;
/// What the longest list takes, in bytes: a hundred thousand long tags, or all referrers.
const LONGEST: usize = 24 << 20;
/// How long a list waits for memory: less than the 30 s after which clients give up.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(10);
/// What entries take together while they are read, in bytes: some are manifests of 4 MiB.
const ENTRIES: usize = 32 << 20;
/// For a client whose list found no memory: lists are made within seconds.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the upstream may take to list what the bucket has a list of, too: more than what a pull waits for, because
/// a list that lacks something is worse than one that is late, and less than the 30 s after which clients give up.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(20);

/// The memory of all lists.
#[derive(Debug)]
pub(super) struct ListMemory {
    lists: Arc<Semaphore>,
    entries: Semaphore,
}

/// The memory of one list, until it is dropped.
#[derive(Debug)]
pub(super) struct ListReservation {
    lists: Arc<Semaphore>,
    /// The reserved bytes, and those of them that are not used yet.
    bytes: AtomicUsize,
    spare: AtomicUsize,
    exhausted: AtomicBool,
}

impl Default for ListMemory {
    fn default() -> Self {
        Self { lists: Arc::new(Semaphore::new(LISTS)), entries: Semaphore::new(ENTRIES) }
    }
}

impl ListMemory {
    /// Makes a list; where there is not enough memory, once more when there is.
    ///
    /// # Errors
    /// Those of `make`, which has to call [`ListReservation::check`]; and `UNAVAILABLE` when there was no memory for a
    /// while.
    pub(super) async fn make<T, F>(&self, make: impl Fn(Arc<ListReservation>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let reservation = self.reservation(0);
        let result = make(Arc::clone(&reservation)).await;
        if reservation.check().is_ok() {
            return result;
        }
        drop((reservation, result));
        let longest = u32::try_from(LONGEST).unwrap_or(u32::MAX);
        match tokio::time::timeout(MEMORY_TIMEOUT, self.lists.acquire_many(longest)).await {
            Ok(Ok(memory)) => memory.forget(),
            Ok(Err(_)) | Err(_) => return Err(exhausted()),
        }
        make(self.reservation(LONGEST)).await
    }

    /// A list that has `bytes` reserved already.
    fn reservation(&self, bytes: usize) -> Arc<ListReservation> {
        Arc::new(ListReservation {
            lists: Arc::clone(&self.lists),
            bytes: AtomicUsize::new(bytes),
            spare: AtomicUsize::new(bytes),
            exhausted: AtomicBool::new(false),
        })
    }

    /// Waits until an entry of at most `bytes` may be read. An entry that is being read waits for nothing else.
    pub(super) async fn reserve_entry(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let permits = u32::try_from(bytes.min(ENTRIES)).unwrap_or(u32::MAX);
        // The semaphore is never closed.
        self.entries.acquire_many(permits).await.ok()
    }
}

impl ListReservation {
    /// Reserves so many bytes more; `false` if there are none.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let relaxed = Ordering::Relaxed;
        let spent = self.spare.fetch_update(relaxed, relaxed, |spare| spare.checked_sub(bytes));
        if spent.is_ok() {
            return true;
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = self.lists.try_acquire_many(permits) else {
            self.exhausted.store(true, relaxed);
            return false;
        };
        permit.forget();
        self.bytes.fetch_add(bytes, relaxed);
        true
    }

    /// # Errors
    /// `UNAVAILABLE`: there was not enough memory for the list.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.exhausted.load(Ordering::Relaxed) {
            return Err(exhausted());
        }
        Ok(())
    }
}

impl Drop for ListReservation {
    fn drop(&mut self) {
        self.lists.add_permits(*self.bytes.get_mut());
    }
}

fn exhausted() -> Error {
    let message = "this registry makes as many long lists at once as its memory allows: try again in a moment";
    Error::new(ErrorCode::Unavailable, message).with_retry_after(Some(RETRY_AFTER))
}

/// An upstream's list, if it comes in time.
pub(super) async fn in_time<T>(list: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, UpstreamError> {
    let late = || UpstreamError::Unavailable(format!("no list came in {} s", UPSTREAM_TIMEOUT.as_secs()));
    tokio::time::timeout(UPSTREAM_TIMEOUT, list).await.unwrap_or_else(|_| Err(late()))
}

/// Roughly what a descriptor adds to an index, in bytes.
pub(super) fn referrer_bytes(referrer: &Referrer) -> usize {
    let annotations = referrer.annotations.as_ref();
    annotations.map_or(0, |raw| raw.get().len()) + referrer.artifact_type.as_ref().map_or(0, String::len) + 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_without_memory_waits_and_is_made_anew() {
        let memory = ListMemory::default();
        let (first, second) = (memory.reservation(0), memory.reservation(0));
        assert!(first.reserve(LISTS - 10) && second.reserve(10) && !second.reserve(1));
        assert!(first.check().is_ok());
        let error = second.check().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        drop(second);
        let attempts = AtomicUsize::new(0);
        let list = memory.make(|reservation| {
            attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                reservation.reserve(20);
                reservation.check()
            }
        });
        let (made, ()) = tokio::join!(list, async {
            tokio::task::yield_now().await;
            drop(first);
        });
        made.unwrap();
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
        assert_eq!(memory.lists.available_permits(), LISTS);
    }
}
