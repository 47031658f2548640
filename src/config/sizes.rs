//! Settings that are sizes, with their units: `2TiB`.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::{scalars, values};

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

/// The units that a size is written in, each with its bytes.
const UNITS: [(&str, u64); 12] = [
    ("PiB", 1 << 50),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("PB", 1_000_000_000_000_000),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// A size of so many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = &'static str;

    /// Reads a whole number of bytes, or a number, perhaps with a fraction, and a unit: `2TiB`, `1.5 TB`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let message = "not a size, write it as 500GiB, 2TiB or a number of bytes";
        if let Some(bytes) = scalars::integer(text) {
            return bytes.as_u64().map(Self).ok_or(message);
        }
        let text = text.trim();
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text[number.len()..];
        let unit = UNITS.iter().find(|(name, _)| *name == unit).ok_or(message)?.1;
        let (whole, fraction) = number.trim_end().split_once('.').unwrap_or((number.trim_end(), "0"));
        let is_number = |digits: &str| (1..=18).contains(&digits.len()) && digits.bytes().all(|it| it.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(message);
        }
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| message)?);
        let digits: u128 = format!("{whole}{fraction}").parse().map_err(|_| message)?;
        let bytes = digits.checked_mul(unit.into()).map(|bytes| bytes / scale);
        bytes.and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(message)
    }
}

impl fmt::Display for ByteSize {
    /// As it is written: the largest unit of which it is a whole number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = UNITS.iter().filter(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        let (name, unit) = whole.max_by_key(|(_, unit)| *unit).unwrap_or(&("B", 1));
        write!(f, "{}{name}", self.0 / unit)
    }
}

values::deserialize_from_str!(ByteSize);

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_numbers_of_bytes() {
        let cases = [
            ("2TiB", 2 << 40),
            ("2 TiB", 2 << 40),
            (" 500GiB ", 500 << 30),
            ("1.5TiB", 3 << 39),
            ("0.001kB", 1),
            ("10GB", 10_000_000_000),
            ("10MB", 10_000_000),
            ("3kB", 3_000),
            ("3KB", 3_000),
            ("7B", 7),
            ("1099511627776", 1 << 40),
            ("1_000", 1_000),
            ("0", 0),
        ];
        for (text, bytes) in cases {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "x", "-1", "-2TiB", "2TB2", "2 T", "2tib", "2Ti", "1.TiB", ".5TiB", "1.5", "TiB", "1e3GB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        assert!("99999999999PiB".parse::<ByteSize>().is_err());
        assert!("18446744073709551616".parse::<ByteSize>().is_err());
    }

    #[test]
    fn a_size_is_shown_as_it_is_written() {
        for text in ["2TiB", "500GiB", "1536GiB", "10GB", "1MB", "5kB", "7B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
    }
}
