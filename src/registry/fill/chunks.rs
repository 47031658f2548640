//! How a blob is cut into chunks. No I/O.

use uuid::Uuid;

use crate::oci::Slice;

/// The smallest chunk: two segments of a connection, and large enough for a part of any store.
const SMALLEST: u64 = 16 << 20;
/// How many chunks a blob has at most.
pub(super) const MOST: u64 = 4096;
/// The largest chunk of which memory needs not have three, but one: of blobs up to 256 GiB.
const LARGEST: u64 = 64 << 20;

/// The size of the chunks of a blob of `size` bytes, of which memory may hold `memory` bytes at once. All but the last
/// are equal, because some stores take only equal parts (Cloudflare R2). `None`: it is too large for this memory.
pub(super) fn chunk_size(size: u64, memory: u64) -> Option<u64> {
    let mut chunk = SMALLEST;
    while size.div_ceil(chunk) > MOST {
        chunk = chunk.checked_mul(2)?;
    }
    let least = if chunk <= LARGEST { chunk } else { chunk.checked_mul(3)? };
    (least <= memory).then_some(chunk)
}

/// A blob in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The size of the blob in bytes, if it is known.
    pub(super) size: Option<u64>,
    /// The size of all chunks but the last, in bytes; at least 1.
    pub(super) chunk: u64,
}

/// A chunk in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The generation whose process stored it.
    pub(super) generation: Uuid,
    /// As the bucket gave it; `None` for a chunk of another process, which is read by its name: it has one content for
    /// ever.
    pub(super) etag: Option<String>,
}

impl Layout {
    /// The chunk that a position is in; the first is 0.
    pub(super) const fn number(self, position: u64) -> u64 {
        position / self.chunk
    }

    /// The positions of a chunk. That the last one ends before is known only with the size.
    pub(super) fn slice(self, number: u64) -> Slice {
        let start = number.saturating_mul(self.chunk);
        let end = start.saturating_add(self.chunk).min(self.size.unwrap_or(u64::MAX));
        Slice { start, end: end.max(start) }
    }

    /// How many chunks a blob of `size` bytes has.
    pub(super) const fn count(self, size: u64) -> u64 {
        size.div_ceil(self.chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_grow_with_the_blob() {
        let memory = 192 << 20;
        for (gib, mib) in [(1, 16), (64, 16), (65, 32), (128, 32), (256, 64)] {
            assert_eq!(chunk_size(gib << 30, memory), Some(mib << 20));
        }
        assert_eq!(chunk_size(257 << 30, memory), None);
        assert_eq!((chunk_size(128 << 30, 48 << 20), chunk_size(129 << 30, 48 << 20)), (Some(32 << 20), None));
        assert_eq!(chunk_size(257 << 30, 2 * memory), Some(128 << 20));
        assert_eq!(chunk_size(u64::MAX, u64::MAX), Some(1 << 52));
    }

    #[test]
    fn the_last_chunk_is_shorter() {
        let layout = Layout { size: Some(25), chunk: 10 };
        let slices = [0, 1, 2, 3].map(|number| layout.slice(number));
        assert_eq!(slices.map(|slice| (slice.start, slice.end)), [(0, 10), (10, 20), (20, 25), (30, 30)]);
        assert_eq!((layout.number(19), layout.number(20), layout.count(25)), (1, 2, 3));
    }
}
