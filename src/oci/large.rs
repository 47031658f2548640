//! Memory for large manifests: what this process keeps of them, in caches, answers and writes together.
//!
//! Bytes that are held have their memory with them, until nothing refers to them any more. A reader of a manifest
//! reserves its memory first, so that many that come at once wait for one another.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::MAX_MANIFEST_BYTES;

/// A manifest of so many bytes needs no memory of this budget: most have less.
const SMALL: usize = 64 << 10;
/// What large manifests take together: what the cache keeps (32 MiB), and eight of the largest that are read, answered
/// or written.
const ALL: usize = 64 << 20;
/// How long a manifest waits for memory: less than the 30 s after which clients give up. It may be part of what holds
/// some, as that of an index is: then none must wait for ever.
const WAIT: Duration = Duration::from_secs(20);

static MEMORY: Semaphore = Semaphore::const_new(ALL);

/// Memory for the bytes of one manifest that is about to be read.
#[derive(Debug)]
pub struct LargeMemory(Option<SemaphorePermit<'static>>);

/// Bytes with their memory.
struct Held {
    bytes: Bytes,
    _memory: SemaphorePermit<'static>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl LargeMemory {
    /// Waits for the memory of so many bytes, or of the largest manifest where that is not known; `None` if there is
    /// none for a while.
    pub async fn reserve(bytes: Option<u64>) -> Option<Self> {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.unwrap_or(MAX_MANIFEST_BYTES);
        if bytes <= SMALL {
            return Some(Self(None));
        }
        let permits = u32::try_from(bytes.min(ALL)).unwrap_or(u32::MAX);
        let memory = tokio::time::timeout(WAIT, MEMORY.acquire_many(permits)).await;
        Some(Self(Some(memory.ok()?.ok()?)))
    }

    /// The bytes that were read, which keep as much of the memory as they take.
    #[must_use]
    pub fn hold(self, bytes: Bytes) -> Bytes {
        let Some(mut memory) = self.0.filter(|_| bytes.len() > SMALL) else {
            return bytes;
        };
        drop(memory.num_permits().checked_sub(bytes.len()).and_then(|more| memory.split(more)));
        Bytes::from_owner(Held { bytes, _memory: memory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_keep_what_they_take_and_give_it_back() {
        let small = LargeMemory::reserve(Some(1000)).await.unwrap();
        let small = small.hold(Bytes::from(vec![1; 1000]));
        assert_eq!((small.len(), MEMORY.available_permits()), (1000, ALL));
        let unknown = LargeMemory::reserve(None).await.unwrap();
        assert_eq!(MEMORY.available_permits(), ALL - MAX_MANIFEST_BYTES);
        let large = unknown.hold(Bytes::from(vec![1; 100_000]));
        let other = large.clone();
        drop(large);
        assert_eq!(MEMORY.available_permits(), ALL - other.len());
        drop(other);
        assert_eq!(MEMORY.available_permits(), ALL);
    }
}
