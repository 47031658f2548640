//! One budget for the bytes of large manifests in this process: in caches, answers and writes.
//!
//! Bytes carry their permits until nothing refers to them. A reader of a manifest reserves its memory first, so that
//! manifests that come at once wait for each other.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::oci::MAX_MANIFEST_BYTES;

/// Manifests up to this size, in bytes, are not counted: most are smaller.
const SMALL: usize = 64 << 10;
/// The bytes of all large manifests: those of the cache (32 MiB), and eight of the largest that are read, answered or
/// written.
const ALL: usize = 64 << 20;
/// How long a manifest waits for memory: less than the 30 s after which clients give up. A request may hold memory of
/// one manifest (an index) while it waits for another, so none may wait for ever.
const TIMEOUT: Duration = Duration::from_secs(20);

static MEMORY: Semaphore = Semaphore::const_new(ALL);

/// Memory for the bytes of one manifest that is about to be read.
#[derive(Debug)]
pub(crate) struct ManifestMemory(Option<SemaphorePermit<'static>>);

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

impl ManifestMemory {
    /// Waits for the memory of so many bytes, or of the largest manifest where that is not known; `None` if there is
    /// none for a while.
    pub(crate) async fn reserve(bytes: Option<u64>) -> Option<Self> {
        let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
        let bytes = bytes.unwrap_or(MAX_MANIFEST_BYTES);
        if bytes <= SMALL {
            return Some(Self(None));
        }
        let permits = u32::try_from(bytes.min(ALL)).unwrap_or(u32::MAX);
        let memory = tokio::time::timeout(TIMEOUT, MEMORY.acquire_many(permits)).await;
        Some(Self(Some(memory.ok()?.ok()?)))
    }

    /// The bytes that were read, which keep as much of the memory as they take.
    pub(crate) fn hold(self, bytes: Bytes) -> Bytes {
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
        let small = ManifestMemory::reserve(Some(1000)).await.unwrap();
        let small = small.hold(Bytes::from(vec![1; 1000]));
        assert_eq!((small.len(), MEMORY.available_permits()), (1000, ALL));
        let unknown = ManifestMemory::reserve(None).await.unwrap();
        assert_eq!(MEMORY.available_permits(), ALL - MAX_MANIFEST_BYTES);
        let large = unknown.hold(Bytes::from(vec![1; 100_000]));
        let other = large.clone();
        drop(large);
        assert_eq!(MEMORY.available_permits(), ALL - other.len());
        drop(other);
        assert_eq!(MEMORY.available_permits(), ALL);
    }
}
