//! How large the parts of a multipart upload are, so that the 10,000 that S3 allows are enough for any blob.

/// S3's limit for the number of parts.
pub const MAX_PARTS: u64 = 10_000;

/// S3's limit for one part, in bytes.
pub const MAX_PART_BYTES: u64 = 5 << 30;

const MIB: u64 = 1 << 20;

/// The last part before parts of a blob of unknown size double for the first time.
const DOUBLE_AFTER: u32 = 5_000;

/// After so many more parts they double again.
const DOUBLE_EVERY: u32 = 500;

/// The sizes of the parts of one blob, in bytes. The last part may be smaller.
///
/// Some stores demand that all parts but the last are equal (Cloudflare R2). Only parts of a blob of unknown size ever
/// differ, and only after number 5,000: 48 GiB with the default of `storage.s3.chunksize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSizes {
    first: u64,
    largest: u64,
    doubles: bool,
}

impl PartSizes {
    /// Equal parts for a blob of `size` bytes: at least `configured`, at most `largest`.
    #[must_use]
    pub fn equal(configured: u64, size: u64, largest: u64) -> Self {
        // In whole MiB. 9,000 parts leave space for a size that was announced a little too small.
        let needed = size.div_ceil(MAX_PARTS - 1_000).div_ceil(MIB) * MIB;
        Self { first: configured.max(needed).min(largest), largest, doubles: false }
    }

    /// Parts for a blob of unknown size, of which the client announced `announced` bytes (0: none). Those are sent
    /// before parts double, unless `largest` forbids it.
    #[must_use]
    pub fn doubling(configured: u64, announced: u64, largest: u64) -> Self {
        // Twice the bytes in 9,000 parts: these bytes in fewer than DOUBLE_AFTER.
        Self { doubles: true, ..Self::equal(configured, announced.saturating_mul(2), largest) }
    }

    /// Parts for an upload of unknown size that has begun, with a part of `first` bytes.
    #[must_use]
    pub fn resumed(first: u64, largest: u64) -> Self {
        Self { first: first.min(largest), largest, doubles: true }
    }

    /// The size of the first part.
    #[must_use]
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The size of part `number`, counted from 1.
    #[must_use]
    pub fn of(self, number: i32) -> u64 {
        let behind = number.unsigned_abs().checked_sub(DOUBLE_AFTER + 1);
        let doublings = behind.filter(|_| self.doubles).map_or(0, |behind| 1 + behind / DOUBLE_EVERY);
        self.first.saturating_mul(2_u64.saturating_pow(doublings)).min(self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest object that S3 takes.
    const MAX_OBJECT_BYTES: u64 = 5 << 40;

    #[test]
    fn equal_parts_grow_with_the_blob() {
        let first = |configured, size| PartSizes::equal(configured, size, MAX_PART_BYTES).first();
        assert_eq!(first(10 * MIB, 0), 10 * MIB);
        assert_eq!(first(10 * MIB, 50 << 30), 10 * MIB);
        assert_eq!(first(5 * MIB, 50 << 30), 6 * MIB);
        for size in [50 << 30, 1 << 40, MAX_OBJECT_BYTES] {
            let sizes = PartSizes::equal(5 * MIB, size, MAX_PART_BYTES);
            assert!(size.div_ceil(sizes.first()) <= MAX_PARTS);
            assert_eq!(sizes.of(10_000), sizes.first());
        }
    }

    #[test]
    fn doubling_parts_are_enough_for_the_largest_object() {
        let sizes = PartSizes::doubling(10 * MIB, 0, MAX_PART_BYTES);
        assert_eq!([1, 5_000, 5_001, 5_500, 5_501].map(|number| sizes.of(number) / MIB), [10, 10, 20, 20, 40]);
        assert!((1..=10_000).map(|number| sizes.of(number)).sum::<u64>() >= MAX_OBJECT_BYTES);
    }

    #[test]
    fn announced_bytes_are_sent_before_parts_double() {
        let largest = 64 * MIB;
        for announced in [0, 1, 10 * MIB, 48 << 30, 100 << 30, 312 << 30] {
            let sizes = PartSizes::doubling(10 * MIB, announced, largest);
            assert!((10 * MIB..=largest).contains(&sizes.first()), "{announced}");
            assert!(announced.div_ceil(sizes.first()) <= DOUBLE_AFTER.into(), "{announced}");
        }
        let sizes = PartSizes::doubling(10 * MIB, 600 << 30, largest);
        assert_eq!((sizes.first(), sizes.of(9_000)), (largest, largest));
    }

    #[test]
    fn a_resumed_upload_goes_on_as_it_began() {
        let sizes = PartSizes::resumed(20 * MIB, 64 * MIB);
        assert_eq!([4_999, 5_001, 5_501, 10_000].map(|number| sizes.of(number) / MIB), [20, 40, 64, 64]);
    }
}
