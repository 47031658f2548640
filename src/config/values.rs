//! Secrets, numbers and choices, each checked when it is read.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that shows itself to nobody: neither Debug nor Serialize tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// A value of another type is not repeated in the error, as serde would do.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            _ => Err(custom::<D>("a secret is a text: put it in quotes")),
        }
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// A number of bytes that may be left out. From a variable it comes as text.
pub(super) fn optional_bytes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    let bytes = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => return Ok(None),
        serde_json::Value::Number(number) => number.as_u64(),
        serde_json::Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let wrong = || custom::<D>("not a number of bytes, write it in digits");
    bytes.ok_or_else(wrong).map(Some)
}

/// Yes, no, or left out. From a variable it comes as text.
pub(super) fn optional_bool<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Bool(bool),
        Text(String),
    }
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Bool(value)) => Ok(Some(value)),
        Some(Written::Text(text)) => text
            .parse()
            .map(Some)
            .map_err(|_| custom::<D>("write true or false")),
    }
}

/// The name of a header, in any case.
pub(super) mod header_name {
    use http::HeaderName;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::custom;

    pub fn serialize<S: Serializer>(name: &HeaderName, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(name.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|_| custom::<D>("not the name of a header, as in X-Forwarded-For"))
    }
}

/// S3's limits for a part: 5 MiB to 5 GiB.
pub(super) fn chunk_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if (5 << 20..=5 << 30).contains(&value) {
        Ok(value)
    } else {
        Err(custom::<D>(
            "a part has from 5242880 (5 MiB) to 5368709120 (5 GiB) bytes",
        ))
    }
}

/// The connections of one fill.
pub(super) fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, 1..=16, "a fill has from 1 to 16 connections")
}

/// The fills that run before further ones wait.
pub(super) fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, 1..=64, "from 1 to 64 fills can run at once")
}

/// The connections of all clients.
pub(super) fn open_connections<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<usize, D::Error> {
    let message = "from 16 to 1000000 connections can be open at once";
    number(deserializer, 16..=1_000_000, message)
}

fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<usize>,
    message: &str,
) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(custom::<D>(message))
    }
}

pub(super) fn custom<'de, D: Deserializer<'de>>(message: &str) -> D::Error {
    D::Error::custom(message)
}
