//! The types of single settings, each checked when it is read.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

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

/// Where to listen: `host:port`, or `:port` for every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    host: String,
    port: u16,
}

impl ListenAddr {
    /// It names no host.
    #[must_use]
    pub fn is_every_address(&self) -> bool {
        self.host.is_empty()
    }

    /// The address in the form that `bind` resolves.
    #[must_use]
    pub fn to_bind(&self) -> (&str, u16) {
        (
            if self.host.is_empty() {
                "::"
            } else {
                &self.host
            },
            self.port,
        )
    }
}

impl Default for ListenAddr {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 5000,
        }
    }
}

impl FromStr for ListenAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an address to listen on is written host:port or :port";
        let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            host,
            port: port.parse().map_err(|_| wrong)?,
        })
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Serialize for ListenAddr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// An `http` or `https` URL with a host, and without credentials, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct WebUrl(Url);

impl WebUrl {
    /// The URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for WebUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url =
            Url::parse(text).map_err(|_| "not a URL, write https://host or http://host:port")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("the URL must begin with http:// or https:// and name a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL must not contain credentials, they have settings of their own");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("the URL must not have a query or a fragment");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for WebUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl<'de> Deserialize<'de> for WebUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

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

/// The life of a presigned URL: Signature V4 knows no longer ones than seven days, and a client
/// needs some time to follow a redirect.
pub(super) mod redirect_expiry {
    use super::{Deserializer, Duration, custom, duration};

    pub use super::duration::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = duration::deserialize(deserializer)?;
        if (Duration::from_mins(1)..=Duration::from_hours(7 * 24)).contains(&value) {
            Ok(value)
        } else {
            Err(custom::<D>("a presigned URL lives from 1m to 168h"))
        }
    }
}

/// A number of bytes that may be left out. From a variable it comes as text.
pub(super) fn optional_bytes<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Number(bytes)) => Ok(Some(bytes)),
        Some(Written::Text(text)) => text
            .parse()
            .map(Some)
            .map_err(|_| custom::<D>("not a number of bytes, write it in digits")),
    }
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

fn custom<'de, D: Deserializer<'de>>(message: &str) -> D::Error {
    D::Error::custom(message)
}
