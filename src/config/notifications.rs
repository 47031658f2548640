//! `notifications`: the endpoints that get events of what clients push, pull and delete.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use super::values::{self, deserialize_from_str};
use super::{durations, lists};

/// How long an endpoint may take to answer, where it is not set, as in distribution.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often in a row it may fail before pounce waits.
const THRESHOLD: u32 = 10;
/// How long pounce then waits.
const BACKOFF: Duration = Duration::from_secs(1);

/// Headers that say how long a request is and where it goes, or belong to the connection.
const NOT_SETTABLE: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// `notifications`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notifications {
    /// What events are about, and how they are written.
    pub events: EventSettings,
    /// Where they are sent.
    pub endpoints: Vec<EventEndpoint>,
}

impl Notifications {
    /// The endpoints that are not disabled, with their indexes.
    pub fn enabled(&self) -> impl Iterator<Item = (usize, &EventEndpoint)> {
        self.endpoints.iter().enumerate().filter(|(_, endpoint)| !endpoint.disabled)
    }
}

/// `notifications.events`
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventSettings {
    /// Whether an event of a manifest lists what that refers to.
    pub includereferences: bool,
    /// Whether there are events of pulls of blobs.
    pub blobpulls: bool,
    /// The version of the envelope.
    #[serde(deserialize_with = "values::any_case")]
    pub format: EventFormat,
}

/// `notifications.events.format`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EventFormat {
    /// `application/vnd.docker.distribution.events.v1+json`, which distribution sends up to version 2.8.
    #[default]
    V1,
    /// `application/vnd.docker.distribution.events.v2+json`, which it sends from version 3.0 on.
    V2,
}

impl EventFormat {
    /// The media type of an envelope.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::V1 => "application/vnd.docker.distribution.events.v1+json",
            Self::V2 => "application/vnd.docker.distribution.events.v2+json",
        }
    }
}

/// An element of `notifications.endpoints`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventEndpoint {
    /// What log and metrics call it; see [`name`](Self::name).
    pub name: Option<String>,
    /// It gets nothing.
    pub disabled: bool,
    /// Where envelopes are posted to.
    pub url: Option<EventUrl>,
    /// Further headers of these requests.
    pub headers: EventHeaders,
    /// How long a request may take; see [`timeout`](Self::timeout).
    #[serde(with = "durations")]
    pub timeout: Duration,
    /// After how many failures in a row pounce waits; see [`threshold`](Self::threshold).
    pub threshold: u32,
    /// How long it waits; see [`backoff`](Self::backoff).
    #[serde(with = "durations")]
    pub backoff: Duration,
    /// More of `ignore.mediatypes`.
    #[serde(deserialize_with = "lists::list")]
    pub ignoredmediatypes: Vec<String>,
    /// Which events it does not get.
    pub ignore: Ignore,
}

impl Default for EventEndpoint {
    fn default() -> Self {
        Self {
            name: None,
            disabled: false,
            url: None,
            headers: EventHeaders::default(),
            timeout: TIMEOUT,
            threshold: THRESHOLD,
            backoff: BACKOFF,
            ignoredmediatypes: Vec::new(),
            ignore: Ignore::default(),
        }
    }
}

impl EventEndpoint {
    /// Its name, or the host of its URL.
    #[must_use]
    pub fn name(&self) -> &str {
        let host = || self.url.as_ref().and_then(|url| url.as_url().host_str());
        self.name.as_deref().or_else(host).unwrap_or_default()
    }

    /// `timeout`; 0 is the default, as in distribution.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        if self.timeout.is_zero() { TIMEOUT } else { self.timeout }
    }

    /// `threshold`; 0 is the default, as in distribution.
    #[must_use]
    pub const fn threshold(&self) -> u32 {
        if self.threshold == 0 { THRESHOLD } else { self.threshold }
    }

    /// `backoff`; 0 is the default, as in distribution.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        if self.backoff.is_zero() { BACKOFF } else { self.backoff }
    }

    /// Whether it does not get events of this action, whatever they are about.
    #[must_use]
    pub fn ignores_action(&self, action: EventAction) -> bool {
        self.ignore.actions.contains(&action)
    }

    /// Whether it does not get events of content of this media type. Deletes have none.
    #[must_use]
    pub fn ignores_media_type(&self, media_type: &str) -> bool {
        self.ignore.mediatypes.iter().chain(&self.ignoredmediatypes).any(|ignored| ignored == media_type)
    }
}

/// `notifications.endpoints.N.ignore`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ignore {
    /// The media types of content whose events are not sent.
    #[serde(deserialize_with = "lists::list")]
    pub mediatypes: Vec<String>,
    /// The actions whose events are not sent.
    #[serde(deserialize_with = "lists::list")]
    pub actions: Vec<EventAction>,
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum EventAction {
    Push,
    Pull,
    Mount,
    Delete,
}

impl FromStr for EventAction {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "push" => Self::Push,
            "pull" => Self::Pull,
            "mount" => Self::Mount,
            "delete" => Self::Delete,
            _ => return Err("an action is push, pull, mount or delete"),
        })
    }
}

/// The URL of an endpoint. Debug and Serialize show neither its credentials nor its query, which may be a secret.
///
/// Invariant: it is `http` or `https`, has a host, and no fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct EventUrl(Url);

impl EventUrl {
    /// The URL.
    #[must_use]
    pub const fn as_url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for EventUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut url = Url::parse(text).map_err(|_| "not a URL, write https://host/path")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("the URL must begin with http:// or https:// and name a host");
        }
        url.set_fragment(None);
        Ok(Self(url))
    }
}

impl fmt::Display for EventUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        let has_credentials = !shown.username().is_empty() || shown.password().is_some();
        // A URL with a host can have both.
        let _ = shown.set_password(None);
        let _ = shown.set_username(if has_credentials { "***" } else { "" });
        if shown.query().is_some() {
            shown.set_query(Some("***"));
        }
        f.write_str(shown.as_str())
    }
}

impl fmt::Debug for EventUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EventUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Headers for an endpoint. Debug and Serialize do not show their values, because one of them is often a token.
#[derive(Clone, Debug, Default)]
pub struct EventHeaders {
    /// The names as they are written.
    names: Vec<String>,
    map: HeaderMap,
}

impl EventHeaders {
    /// The headers.
    #[must_use]
    pub const fn map(&self) -> &HeaderMap {
        &self.map
    }
}

impl<'de> Deserialize<'de> for EventHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
        let mut map = HeaderMap::new();
        for (name, values) in &written {
            let invalid = || D::Error::custom(format_args!("{name} is not a header with a valid value"));
            let parsed = HeaderName::try_from(name.as_str()).map_err(|_| invalid())?;
            if NOT_SETTABLE.contains(&parsed) {
                return Err(D::Error::custom(format_args!("{name} is not for a setting: pounce sends its own")));
            }
            for value in values {
                let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
                value.set_sensitive(true);
                map.append(&parsed, value);
            }
        }
        Ok(Self { names: written.into_keys().collect(), map })
    }
}

impl Serialize for EventHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.names.len()))?;
        for name in &self.names {
            let count = self.map.get_all(name).iter().count();
            map.serialize_entry(name, &vec!["***"; count])?;
        }
        map.end()
    }
}

deserialize_from_str!(EventAction, EventUrl);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_shows_no_secret() {
        let cases = [
            ("https://a.example.com/x", "https://a.example.com/x"),
            ("https://user:pw@a.example.com/x?token=t#f", "https://***@a.example.com/x?***"),
            ("http://token@127.0.0.1:1", "http://***@127.0.0.1:1/"),
        ];
        for (text, shown) in cases {
            let url: EventUrl = text.parse().unwrap();
            assert_eq!((url.to_string(), format!("{url:?}")), (shown.to_owned(), shown.to_owned()));
        }
        for wrong in ["", "a.example.com", "ftp://a.example.com", "https://"] {
            assert!(wrong.parse::<EventUrl>().is_err(), "{wrong}");
        }
    }
}
