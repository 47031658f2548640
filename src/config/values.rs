//! Secrets, numbers and choices, each checked when it is read.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{DeserializeOwned, Error as _};
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
    /// Of a text: what has another form was refused before, since serde would repeat it in the error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// One of several words, in any case.
pub(super) fn any_case<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let word = String::deserialize(deserializer)?.to_ascii_lowercase();
    T::deserialize(serde_json::Value::String(word)).map_err(D::Error::custom)
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
        text.parse().map_err(|_| custom::<D>("not the name of a header, as in X-Forwarded-For"))
    }
}

/// S3's limits for a part: 5 MiB to 5 GiB.
pub(super) fn chunk_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if (5 << 20..=5 << 30).contains(&value) {
        Ok(value)
    } else {
        Err(custom::<D>("a part has from 5242880 (5 MiB) to 5368709120 (5 GiB) bytes"))
    }
}

/// S3 copies up to 5 GiB at once; 0 has every object copied in parts.
pub(super) fn copy_threshold<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if value <= 5 << 30 { Ok(value) } else { Err(custom::<D>("it is from 0 to 5368709120 (5 GiB) bytes")) }
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
pub(super) fn open_connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let message = "from 16 to 1000000 connections can be open at once";
    number(deserializer, 16..=1_000_000, message)
}

fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    range: RangeInclusive<usize>,
    message: &str,
) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if range.contains(&value) { Ok(value) } else { Err(custom::<D>(message)) }
}

pub(super) fn custom<'de, D: Deserializer<'de>>(message: &str) -> D::Error {
    D::Error::custom(message)
}
