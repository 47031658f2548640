//! `Range` requests for one range of bytes (RFC 9110, section 14).

use http_range_header::{ParsedRanges, parse_range_header};

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
        let is_open_ended = value.ends_with('-');
        parse_range_header(value).map_or(Self::Malformed, |ranges| Self::Bytes(ByteRange { ranges, is_open_ended }))
    }

    /// Whether the (last) range has no end, as in `bytes=5-`: its client reads up to the end of the blob, or closes the
    /// connection when it has enough.
    #[must_use]
    pub const fn is_open_ended(&self) -> bool {
        matches!(self, Self::Bytes(ByteRange { is_open_ended: true, .. }))
    }

    /// The part of a blob of `size` bytes that the request asks for.
    ///
    /// `Ok(None)` is the whole blob, which is also the answer to several ranges: RFC 9110 lets a server ignore them.
    /// `Err(())` is a `416`.
    ///
    /// # Errors
    /// Nothing of what was asked for lies within the blob, or the header was malformed.
    #[expect(clippy::result_unit_err, reason = "there is one way to fail and the caller knows the size")]
    pub fn resolve(&self, size: u64) -> Result<Option<Slice>, ()> {
        let ranges = match self {
            Self::Whole => return Ok(None),
            Self::Malformed => return Err(()),
            Self::Bytes(ByteRange { ranges, .. }) => ranges,
        };
        if ranges.len() > 1 {
            return Ok(None);
        }
        match ranges.validate(size).map_err(|_| ())?.as_slice() {
            [range] => Ok(Some(Slice { start: *range.start(), end: range.end() + 1 })),
            _ => Err(()),
        }
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
            if let Ok(Some(slice)) = RangeRequest::parse(&text).resolve(size) {
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
        assert_eq!(of_ten("bytes=0-1, 4-5"), Ok(None));
    }

    #[test]
    fn what_cannot_be_satisfied_is_refused() {
        for value in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=", "bytes=a-b", "bytes=5-2", "bytes=--1"] {
            assert_eq!(of_ten(value), Err(()), "{value}");
        }
        assert_eq!(RangeRequest::parse("bytes=0-0").resolve(0), Err(()));
    }
}
