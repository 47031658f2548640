//! Memory for lists that are being made: of tags and of referrers, of all requests together.
//!
//! How long a list is, pushes and upstreams decide. So each takes memory from one budget as it grows. Where there is
//! none, it cannot wait, because it holds some already, and two would wait for each other: it is given up, waits for as
//! much as the longest list takes while it holds nothing, and is made anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::oci::{Error, ErrorCode};

/// What all lists take together that are being made, in bytes: two of the longest, and thousands as they are.
const LISTS: usize = 48 << 20;
/// What the longest list takes: a hundred thousand long tags, or all referrers.
const LONGEST: usize = 24 << 20;
/// How long a list waits for memory: less than the 30 s after which clients give up.
const WAIT: Duration = Duration::from_secs(10);
/// What entries take together while they are read, in bytes: some are manifests of 4 MiB.
const ENTRIES: usize = 32 << 20;
/// When it is worth trying again: lists are made within seconds.
const RETRY: Duration = Duration::from_secs(5);

/// What there is for all lists.
#[derive(Debug)]
pub(super) struct ListMemory {
    lists: Arc<Semaphore>,
    entries: Semaphore,
}

/// What one list takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    lists: Arc<Semaphore>,
    /// What it has, and what of that is not used yet.
    bytes: AtomicUsize,
    spare: AtomicUsize,
    short: AtomicBool,
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
    /// Those of `make`, which has to ask [`Taken::was_enough`]. `UNAVAILABLE` too: there was no memory for a while.
    pub(super) async fn make<T, F>(&self, make: impl Fn(Arc<Taken>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let taken = self.begin(0);
        let result = make(Arc::clone(&taken)).await;
        if taken.was_enough().is_ok() {
            return result;
        }
        drop((taken, result));
        let longest = u32::try_from(LONGEST).unwrap_or(u32::MAX);
        let memory = self.lists.acquire_many(longest);
        match tokio::time::timeout(WAIT, memory).await {
            Ok(Ok(memory)) => memory.forget(),
            Ok(Err(_)) | Err(_) => return Err(exhausted()),
        }
        make(self.begin(LONGEST)).await
    }

    /// A list that has so many bytes already.
    fn begin(&self, bytes: usize) -> Arc<Taken> {
        Arc::new(Taken {
            lists: Arc::clone(&self.lists),
            bytes: AtomicUsize::new(bytes),
            spare: AtomicUsize::new(bytes),
            short: AtomicBool::new(false),
        })
    }

    /// Waits until an entry of at most so many bytes may be read. One that is being read waits for nothing else.
    pub(super) async fn read(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let permits = u32::try_from(bytes.min(ENTRIES)).unwrap_or(u32::MAX);
        // It is never closed.
        self.entries.acquire_many(permits).await.ok()
    }
}

impl Taken {
    /// Takes so many bytes more; `false` if there are none.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let relaxed = Ordering::Relaxed;
        let spent = self.spare.fetch_update(relaxed, relaxed, |spare| spare.checked_sub(bytes));
        if spent.is_ok() {
            return true;
        }
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(permit) = self.lists.try_acquire_many(permits) else {
            self.short.store(true, Ordering::Relaxed);
            return false;
        };
        permit.forget();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        true
    }

    /// # Errors
    /// `UNAVAILABLE`: there was not enough memory for the list.
    pub(super) fn was_enough(&self) -> Result<(), Error> {
        if self.short.load(Ordering::Relaxed) {
            return Err(exhausted());
        }
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.lists.add_permits(*self.bytes.get_mut());
    }
}

fn exhausted() -> Error {
    let message = "this registry makes as many long lists at once as its memory allows: try again in a moment";
    Error::new(ErrorCode::Unavailable, message).retry_after(Some(RETRY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_without_memory_waits_and_is_made_anew() {
        let memory = ListMemory::default();
        let (first, second) = (memory.begin(0), memory.begin(0));
        assert!(first.take(LISTS - 10) && second.take(10) && !second.take(1));
        assert!(first.was_enough().is_ok());
        let error = second.was_enough().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        drop(second);
        let attempts = AtomicUsize::new(0);
        let list = memory.make(|taken| {
            attempts.fetch_add(1, Ordering::Relaxed);
            async move {
                taken.take(20);
                taken.was_enough()
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
