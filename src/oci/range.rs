//! `Range` requests for bytes (RFC 9110, section 14).

use http_range_header::RangeUnsatisfiableError::Rejected;
use http_range_header::{ParsedRanges, RangeRejected, parse_range_header};

/// What a `Range` header asks for, before the size of the blob is known.
#[derive(Clone, Debug)]
pub enum RangeRequest {
    /// Nothing that a server has to honour: no header, or a unit other than bytes.
    Whole,
    /// One or several ranges.
    Bytes(ByteRange),
    /// The header says `bytes=` and then makes no sense.
    Malformed,
}

/// The ranges of a well-formed `bytes=` header.
#[derive(Clone, Debug)]
pub struct ByteRange {
    ranges: ParsedRanges,
    is_open_ended: bool,
}

/// Positions `start..end` in a blob, never empty, never beyond its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The first byte's position.
    pub start: u64,
    /// One behind the last byte's position.
    pub end: u64,
}

/// The `Content-Range` of a chunk, as end-5 writes it: `start-end`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    /// The first byte's position in the blob.
    pub start: u64,
    /// How many bytes the chunk has, one or more.
    pub len: u64,
}

impl ChunkRange {
    /// Reads the value of the header, also in RFC 9110's form, `bytes start-end/size`.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let value = value.trim();
        let range = match value.strip_prefix("bytes ") {
            Some(rest) => rest.split_once('/')?.0,
            None => value,
        };
        let (start, end) = range.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        if !digits(start) || !digits(end) {
            return None;
        }
        let (start, end): (u64, u64) = (start.parse().ok()?, end.parse().ok()?);
        let len = end.checked_sub(start)?.checked_add(1)?;
        Some(Self { start, len })
    }
}

impl RangeRequest {
    /// Reads the value of a `Range` header.
    #[must_use]
    pub fn parse(value: &str) -> Self {
        let value = value.trim();
        if !value.starts_with("bytes=") {
            return Self::Whole;
        }
        // Empty elements of a list have no meaning (RFC 9110, section 5.6.1).
        let is_open_ended = value.trim_end_matches([',', ' ', '\t']).ends_with('-');
        match parse_range_header(value) {
            Ok(ranges) => Self::Bytes(ByteRange { ranges, is_open_ended }),
            // Over 100: RFC 9110, section 14.2, lets a server ignore many ranges.
            Err(Rejected(RangeRejected::TooMany)) => Self::Whole,
            Err(_) => Self::Malformed,
        }
    }

    /// Whether the (last) range has no end, as in `bytes=5-`: its client reads up to the end of the blob, or closes the
    /// connection when it has enough.
    #[must_use]
    pub const fn is_open_ended(&self) -> bool {
        matches!(self, Self::Bytes(ByteRange { is_open_ended: true, .. }))
    }

    /// A request for just this part of a blob of `size` bytes; one without an end if the blob ends there.
    #[must_use]
    pub fn of(slice: Slice, size: u64) -> Self {
        let Slice { start, end } = slice;
        Self::parse(&if end == size { format!("bytes={start}-") } else { format!("bytes={start}-{}", end - 1) })
    }

    /// The most parts that are sent in one response. Each is an open of its own, in the bucket or at the upstream.
    pub const MAX_SLICES: usize = 32;

    /// The part of a blob of `size` bytes that the request asks for, or the first one of several (see
    /// [`slices`](Self::slices)). `Ok(None)` is the whole blob.
    ///
    /// # Errors
    /// Those of [`slices`](Self::slices).
    #[expect(clippy::result_unit_err, reason = "there is one way to fail and the caller knows the size")]
    pub fn resolve(&self, size: u64) -> Result<Option<Slice>, ()> {
        Ok(self.slices(size)?.first().copied())
    }

    /// The parts of a blob of `size` bytes that the request asks for, in its order, without those that lie outside of
    /// the blob. Parts that overlap or touch each other are one (RFC 9110, section 15.3.7.2).
    ///
    /// None is the whole blob, which is also the answer to more than [`MAX_SLICES`](Self::MAX_SLICES) parts and to more
    /// than two that overlap: section 14.2 lets a server ignore such requests. `Err(())` is a `416`.
    ///
    /// # Errors
    /// Nothing of what was asked for lies within the blob, or the header was malformed.
    #[expect(clippy::result_unit_err, reason = "there is one way to fail and the caller knows the size")]
    pub fn slices(&self, size: u64) -> Result<Vec<Slice>, ()> {
        let ranges = match self {
            Self::Whole => return Ok(Vec::new()),
            Self::Malformed => return Err(()),
            Self::Bytes(ByteRange { ranges, .. }) => match ranges.validate(size) {
                // A suffix of an empty blob.
                Ok(ranges) if ranges.is_empty() => return Err(()),
                Ok(ranges) => ranges,
                Err(Rejected(_)) => return Ok(Vec::new()),
                Err(_) => return Err(()),
            },
        };
        let slices = ranges.iter().map(|range| Slice { start: *range.start(), end: range.end() + 1 });
        let mut slices: Vec<(usize, Slice)> = slices.enumerate().collect();
        slices.sort_unstable_by_key(|(_, slice)| slice.start);
        slices.dedup_by(|(next_at, next), (at, slice)| {
            let touches = next.start <= slice.end;
            if touches {
                slice.end = slice.end.max(next.end);
                *at = (*at).min(*next_at);
            }
            touches
        });
        slices.sort_unstable_by_key(|(at, _)| *at);
        if slices.len() > Self::MAX_SLICES {
            return Ok(Vec::new());
        }
        Ok(slices.into_iter().map(|(_, slice)| slice).collect())
    }
}

impl Slice {
    /// How many bytes it has.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never: a slice has at least one byte.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_slice_is_what_was_asked_for_as_far_as_it_is_there(first in 0..30_u64, last in 0..30_u64, size in 0..20_u64) {
            let resolved = RangeRequest::parse(&format!("bytes={first}-{last}")).resolve(size);
            let expected = (first <= last && first < size)
                .then(|| Slice { start: first, end: size.min(last + 1) });
            prop_assert_eq!(resolved, expected.map(Some).ok_or(()));
            let suffix = RangeRequest::parse(&format!("bytes=-{last}")).resolve(size);
            let expected = (last > 0 && size > 0)
                .then(|| Slice { start: size.saturating_sub(last), end: size });
            prop_assert_eq!(suffix, expected.map(Some).ok_or(()));
        }

        #[test]
        fn a_chunk_says_where_it_begins_and_how_long_it_is(start: u64, len in 1..u64::MAX) {
            if let Some(end) = start.checked_add(len - 1) {
                prop_assert_eq!(ChunkRange::parse(&format!("{start}-{end}")), Some(ChunkRange { start, len }));
            }
        }

        #[test]
        fn any_text_can_be_tried_for_a_range(text in "(bytes[= ])?[0-9*/, -]{0,30}|.{0,30}", size: u64) {
            for slice in RangeRequest::parse(&text).slices(size).unwrap_or_default() {
                prop_assert!(slice.start < slice.end && slice.end <= size);
            }
            let _ = ChunkRange::parse(&text);
        }
    }

    fn of_ten(value: &str) -> Result<Option<(u64, u64)>, ()> {
        Ok(RangeRequest::parse(value).resolve(10)?.map(|slice| (slice.start, slice.end)))
    }

    #[test]
    fn single_ranges_are_measured_against_the_size() {
        assert_eq!(of_ten("bytes=0-3"), Ok(Some((0, 4))));
        assert_eq!(of_ten("bytes=4-"), Ok(Some((4, 10))));
        assert_eq!(of_ten("bytes=4-400"), Ok(Some((4, 10))));
        assert_eq!(of_ten("bytes=-3"), Ok(Some((7, 10))));
        assert_eq!(of_ten("bytes=-30"), Ok(Some((0, 10))));
    }

    #[test]
    fn chunks_are_written_without_a_unit() {
        let range = |start, len| Some(ChunkRange { start, len });
        assert_eq!(ChunkRange::parse("0-0"), range(0, 1));
        assert_eq!(ChunkRange::parse("5-9"), range(5, 5));
        assert_eq!(ChunkRange::parse("bytes 5-9/*"), range(5, 5));
        for value in [
            "",
            "-",
            "5",
            "5-",
            "-5",
            "9-5",
            "a-b",
            "+1-2",
            "0-18446744073709551615",
            "0-1-2",
            "bytes 0-1",
            "items 0-1/2",
        ] {
            assert_eq!(ChunkRange::parse(value), None, "{value}");
        }
    }

    #[test]
    fn what_a_server_may_ignore_is_the_whole() {
        assert_eq!(of_ten("items=0-3"), Ok(None));
        assert_eq!(all_of_ten(&[(0, 1); 101]), Ok(Vec::new()));
        assert_eq!(all_of_ten(&[(0, 3), (1, 4), (2, 5)]), Ok(Vec::new()));
        let of_many = |count: u64| {
            let ranges: Vec<String> = (0..count).map(|at| format!("{}-{}", 2 * at, 2 * at)).collect();
            RangeRequest::parse(&format!("bytes={}", ranges.join(","))).slices(1000).map(|slices| slices.len())
        };
        assert_eq!([of_many(32), of_many(33), of_many(100)], [Ok(32), Ok(0), Ok(0)]);
    }

    fn all_of_ten(ranges: &[(u64, u64)]) -> Result<Vec<(u64, u64)>, ()> {
        let ranges: Vec<String> = ranges.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        let slices = RangeRequest::parse(&format!("bytes={}", ranges.join(", "))).slices(10)?;
        Ok(slices.into_iter().map(|slice| (slice.start, slice.end)).collect())
    }

    #[test]
    fn several_ranges_are_several_parts() {
        assert_eq!(all_of_ten(&[(0, 1), (4, 5)]), Ok(vec![(0, 2), (4, 6)]));
        // In the order of the request.
        assert_eq!(all_of_ten(&[(4, 5), (0, 1)]), Ok(vec![(4, 6), (0, 2)]));
        // One beyond the end is left out.
        assert_eq!(all_of_ten(&[(10, 12), (4, 5), (0, 1)]), Ok(vec![(4, 6), (0, 2)]));
        assert_eq!(all_of_ten(&[(10, 12), (4, 5)]), Ok(vec![(4, 6)]));
        assert_eq!(all_of_ten(&[(10, 12), (13, 14)]), Err(()));
        // Those that touch each other are one.
        assert_eq!(all_of_ten(&[(6, 8), (0, 3), (2, 4)]), Ok(vec![(6, 9), (0, 5)]));
        assert_eq!(all_of_ten(&[(4, 5), (8, 8), (0, 3)]), Ok(vec![(0, 6), (8, 9)]));
        assert_eq!(of_ten("bytes=4-5, 0-1"), Ok(Some((4, 6))));
        for end in [4, 10] {
            let (slice, request) = (Slice { start: 3, end }, RangeRequest::of(Slice { start: 3, end }, 10));
            assert_eq!((request.resolve(10), request.is_open_ended()), (Ok(Some(slice)), end == 10));
        }
        assert!(RangeRequest::parse("bytes=0-0, 2-, ").is_open_ended());
    }

    #[test]
    fn what_cannot_be_satisfied_is_refused() {
        for value in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=", "bytes=a-b", "bytes=5-2", "bytes=--1"] {
            assert_eq!(of_ten(value), Err(()), "{value}");
        }
        assert_eq!(RangeRequest::parse("bytes=0-0").resolve(0), Err(()));
    }
}
