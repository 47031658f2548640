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

/// The name by which clients know an upstream: `ghcr.io`, `registry.internal:5000`, `localhost`.
///
/// Invariants: a host name in lower case or an IPv4 address, with a port or not; and it has a dot or a
/// port or is `localhost`, which is how image references tell a host from a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UpstreamHost(String);

impl UpstreamHost {
    /// Docker Hub's names, which are all taken for the first: the one in references, and those of its API.
    pub const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a component of repository names, which have no colon. No host name has an
    /// underscore, so two hosts never share one.
    #[must_use]
    pub fn component(&self) -> String {
        self.0.replace(':', "_")
    }
}

impl FromStr for UpstreamHost {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.to_ascii_lowercase();
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (&text[..], None),
        };
        let edge = |label: &str| {
            label.starts_with(|c: char| c.is_ascii_alphanumeric())
                && label.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let is_name = host
            .split('.')
            .all(|label| edge(label) && label.chars().all(inside));
        let is_port = |port: &str| {
            port.parse::<u16>()
                .is_ok_and(|number| number.to_string() == port)
        };
        if !is_name || port.is_some_and(|port| !is_port(port)) || text.len() > 128 {
            return Err("not a host, write it as ghcr.io or registry.internal:5000");
        }
        if !host.contains('.') && port.is_none() && host != "localhost" {
            return Err("a host has a dot or a port, as in ghcr.io or registry:5000");
        }
        if Self::DOCKER_HUB.contains(&text.as_str()) {
            return Ok(Self(Self::DOCKER_HUB[0].to_owned()));
        }
        Ok(Self(text))
    }
}

impl<'de> Deserialize<'de> for UpstreamHost {
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

/// How long an upstream may be silent. No less than what a slow one needs between two packets; no
/// more than the half minute after which containerd gives up.
pub(super) mod stall_timeout {
    use super::{Deserializer, Duration, custom, duration};

    pub use super::duration::serialize;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = duration::deserialize(deserializer)?;
        if (Duration::from_millis(100)..=Duration::from_secs(30)).contains(&value) {
            Ok(value)
        } else {
            Err(custom::<D>("an upstream may be silent from 100ms to 30s"))
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

/// The connections of one fill.
pub(super) fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, 16, "a fill has from 1 to 16 connections")
}

/// The fills that run before further ones wait.
pub(super) fn concurrency<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    number(deserializer, 64, "from 1 to 64 fills can run at once")
}

fn number<'de, D: Deserializer<'de>>(
    deserializer: D,
    most: usize,
    message: &str,
) -> Result<usize, D::Error> {
    let value = usize::deserialize(deserializer)?;
    if (1..=most).contains(&value) {
        Ok(value)
    } else {
        Err(custom::<D>(message))
    }
}

fn custom<'de, D: Deserializer<'de>>(message: &str) -> D::Error {
    D::Error::custom(message)
}
