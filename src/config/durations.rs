//! The types of settings that are lengths of time, each with its bounds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::values::custom;

/// A year and more; a point in time that far away can still be told.
const LONGEST: Duration = Duration::from_hours(10_000);

/// Durations as distribution writes them: `60s`, `20m`, `1h30m`, `168h`, and `0`.
pub(super) mod duration {
    use super::{Deserialize, Deserializer, Duration, LONGEST, Serializer, custom};

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(0) => Ok(Duration::ZERO),
            Written::Number(_) => Err(custom::<D>(
                "a duration needs a unit, as in 60s, 20m or 168h",
            )),
            Written::Text(text) if text == "0" => Ok(Duration::ZERO),
            Written::Text(text) => humantime::parse_duration(&text)
                .ok()
                .filter(|value| *value <= LONGEST)
                .ok_or_else(|| custom::<D>("not a duration, write it as 60s, 20m, 1h30m or 168h")),
        }
    }
}

/// A duration that may be left out.
pub(super) mod optional_duration {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, duration};

    #[derive(Deserialize, Serialize)]
    struct Written(#[serde(with = "duration")] Duration);

    #[expect(clippy::ref_option, reason = "serde passes a reference to the field")]
    pub fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Written).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
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
    /// How long an upstream may be silent. No less than what a slow one needs between two packets; no
    /// more than the half minute after which containerd gives up.
    stall_timeout,
    Duration::from_millis(100)..=Duration::from_secs(30),
    "an upstream may be silent from 100ms to 30s"
);

bounded!(
    /// The life of a presigned URL: Signature V4 knows no longer ones than seven days, and a client
    /// needs some time to follow a redirect.
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
