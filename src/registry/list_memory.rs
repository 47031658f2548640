//! Memory for lists that are being made: of tags and of referrers, of all requests together.
//!
//! How long a list is, pushes and upstreams decide. So each takes memory from one budget as it grows, and fails where
//! there is none: it holds some already, and two that waited for each other would wait for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::oci::{Error, ErrorCode};

/// What all lists take together that are being made, in bytes: three of the longest, and thousands as they are.
const LISTS: usize = 64 << 20;
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
    bytes: AtomicUsize,
    short: AtomicBool,
}

impl Default for ListMemory {
    fn default() -> Self {
        Self {
            lists: Arc::new(Semaphore::new(LISTS)),
            entries: Semaphore::new(ENTRIES),
        }
    }
}

impl ListMemory {
    /// Begins a list.
    pub(super) fn begin(&self) -> Taken {
        Taken {
            lists: Arc::clone(&self.lists),
            bytes: AtomicUsize::new(0),
            short: AtomicBool::new(false),
        }
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
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.lists.try_acquire_many(permits) {
            Ok(permit) => {
                permit.forget();
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                true
            }
            Err(_) => {
                self.short.store(true, Ordering::Relaxed);
                false
            }
        }
    }

    /// # Errors
    /// `UNAVAILABLE`: there was not enough memory for the list.
    pub(super) fn was_enough(&self) -> Result<(), Error> {
        if !self.short.load(Ordering::Relaxed) {
            return Ok(());
        }
        let message = "this registry makes as many long lists at once as its memory allows: try again in a moment";
        Err(Error::new(ErrorCode::Unavailable, message).retry_after(Some(RETRY)))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.lists.add_permits(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_take_what_there_is_and_give_it_back() {
        let memory = ListMemory::default();
        let (first, second) = (memory.begin(), memory.begin());
        assert!(first.take(LISTS - 10) && second.take(10) && !second.take(1));
        assert!(first.was_enough().is_ok());
        let error = second.was_enough().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unavailable);
        drop(first);
        assert!(memory.begin().take(LISTS - 10));
        drop(second);
        assert_eq!(memory.lists.available_permits(), LISTS);
    }
}
