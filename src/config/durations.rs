//! The types of settings that are lengths of time, each with its bounds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::custom;

/// A year and more; a point in time that far away can still be told.
const LONGEST: Duration = Duration::from_hours(10_000);

/// Durations as distribution writes them: `60s`, `20m`, `1h30m`, `168h`, `0`, and numbers of nanoseconds.
pub(super) mod duration {
    use super::{Deserialize, Deserializer, Duration, LONGEST, Serializer, custom};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = super::parse(&text).filter(|value| *value <= LONGEST);
        parsed.ok_or_else(|| custom::<D>("not a duration, write it as 60s, 20m, 1h30m or 168h"))
    }
}

/// As Go's `time.ParseDuration`, with days and more besides.
fn parse(text: &str) -> Option<Duration> {
    if text == "0" || is_in_nanoseconds(text) {
        return text.parse().ok().map(Duration::from_nanos);
    }
    let known = humantime::parse_duration(text).ok();
    known.or_else(|| with_fractions(text))
}

/// `1.5h`
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

/// Whether a default is a length of time.
pub(super) fn is_one(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && humantime::parse_duration(text).is_ok()
}

/// Whether a length of time has no unit: it is a number of Go's `time.Duration`.
pub(super) fn is_in_nanoseconds(text: &str) -> bool {
    text != "0" && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A duration that may be left out.
pub(super) mod optional_duration {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, duration};

    #[derive(Deserialize, Serialize)]
    struct Written(#[serde(with = "duration")] Duration);

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Written).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Written>::deserialize(deserializer)?.map(|written| written.0))
    }
}

/// A duration between two others: what serde needs to read it, and to say so when it is not.
macro_rules! bounded {
    ($(#[$doc:meta])* $name:ident, $range:expr, $message:literal) => {
        $(#[$doc])*
        pub(super) mod $name {
            use super::{Deserializer, Duration, custom, duration};

            pub use super::duration::serialize;

            pub fn deserialize<'de, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<Duration, D::Error> {
                let value = duration::deserialize(deserializer)?;
                if ($range).contains(&value) {
                    Ok(value)
                } else {
                    Err(custom::<D>($message))
                }
            }
        }
    };
}

bounded!(
    /// How long an upstream may be silent. No less than what a slow one needs between two packets; no more than the
    /// half minute after which containerd gives up.
    stall_timeout,
    Duration::from_millis(100)..=Duration::from_secs(30),
    "an upstream may be silent from 100ms to 30s"
);

bounded!(
    /// The life of a presigned URL: Signature V4 knows no longer ones than seven days, and a client needs some time to
    /// follow a redirect.
    redirect_expiry,
    Duration::from_mins(1)..=Duration::from_hours(7 * 24),
    "a presigned URL lives from 1m to 168h"
);

bounded!(
    /// How long a client may take to say what it wants.
    patience,
    Duration::from_secs(1)..=Duration::from_mins(5),
    "a header may take from 1s to 5m"
);

bounded!(
    /// How long a connection may lie idle.
    idleness,
    Duration::from_secs(1)..=Duration::from_hours(1),
    "a client may do nothing from 1s to 1h"
);

#[cfg(test)]
mod tests {
    use super::*;

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
