//! Settings that are lengths of time.

use std::fmt::Write as _;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Over a year. A point in time that far away can still be calculated.
const LONGEST: Duration = Duration::from_hours(10_000);

pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&written(*value))
}

/// A duration as operators write it: `20m`, `168h`, `1m30s`, `100ms`.
pub(super) fn written(value: Duration) -> String {
    let (seconds, nanoseconds) = (value.as_secs(), u64::from(value.subsec_nanos()));
    let (milliseconds, microseconds) = (nanoseconds / 1_000_000, nanoseconds / 1_000 % 1_000);
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (milliseconds, "ms"),
        (microseconds, "us"),
        (nanoseconds % 1_000, "ns"),
    ];
    let mut text = String::new();
    for (count, unit) in parts.into_iter().filter(|(count, _)| *count > 0) {
        // Writing to a String does not fail.
        let _ = write!(text, "{count}{unit}");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Reads durations as distribution writes them: `60s`, `20m`, `1h30m`, `168h`, `0`, and numbers of nanoseconds.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let parsed = parse(&String::deserialize(deserializer)?).filter(|value| *value <= LONGEST);
    parsed.ok_or_else(|| D::Error::custom("not a duration, write it as 60s, 20m, 1h30m or 168h"))
}

/// A duration that may be left out.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize, Serialize)]
    struct Written(#[serde(with = "crate::config::durations")] Duration);

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Written).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
    }
}

/// Parses what Go's `time.ParseDuration` does, and humantime's days and longer units.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" || is_in_nanoseconds(text) {
        return text.parse().ok().map(Duration::from_nanos);
    }
    humantime::parse_duration(text).ok().or_else(|| with_fractions(text))
}

/// Parses Go's fractions, as in `1.5h`, which humantime does not know.
fn with_fractions(text: &str) -> Option<Duration> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c| !is_number(c))?);
        let (unit, behind) = behind.split_at(behind.find(is_number).unwrap_or(behind.len()));
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let seconds = number.parse::<f64>().ok()? * unit;
        total = total.checked_add(Duration::try_from_secs_f64(seconds).ok()?)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(total)
}

/// Whether a default is a duration.
pub(super) fn is_duration(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && humantime::parse_duration(text).is_ok()
}

/// Whether a duration has no unit: Go's `time.Duration` is a number of nanoseconds.
pub(super) fn is_in_nanoseconds(text: &str) -> bool {
    text != "0" && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["0s", "100ms", "20s", "1m", "20m", "1m30s", "1h", "168h", "1h30m", "1s500ms", "5us", "1ns"] {
            assert_eq!(written(parse(text).unwrap()), text);
            assert!(is_duration(text), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        let cases = [
            ("0", 0),
            ("60s", 60_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("1h0.5m", 3_630_000_000_000),
            (".5s", 500_000_000),
            ("+2ms", 2_000_000),
            ("3\u{b5}s", 3_000),
            ("3600", 3_600),
        ];
        for (text, nanoseconds) in cases {
            assert_eq!(parse(text), Some(Duration::from_nanos(nanoseconds)), "{text}");
        }
        for text in ["", "-1s", "x", "1.5", "s", ".s", "1..5s", "99999999999999999999h", "1e3s"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
