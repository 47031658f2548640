//! Settings that are addresses, URLs and hosts.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use url::Url;

use super::values::deserialize_from_str;

/// Whether a host is loopback or link-local, as the metadata service of a cloud instance is. Requests to it never use a
/// proxy; Go's clients, distribution among them, have this rule for loopback.
#[must_use]
pub fn is_local(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => bare.eq_ignore_ascii_case("localhost"),
    }
}

/// An address to listen on: `host:port`, or `:port` for every address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    host: String,
    port: u16,
}

impl ListenAddr {
    /// Whether it is every address of the machine.
    #[must_use]
    pub fn is_every_address(&self) -> bool {
        self.host.is_empty()
    }

    /// The address at which a process on the same machine connects to this one.
    #[must_use]
    pub fn to_reach(&self) -> String {
        if self.is_every_address() { format!("127.0.0.1{self}") } else { self.to_string() }
    }

    /// Host and port, for `bind`.
    #[must_use]
    pub fn to_bind(&self) -> (&str, u16) {
        (if self.host.is_empty() { "::" } else { &self.host }, self.port)
    }
}

impl Default for ListenAddr {
    fn default() -> Self {
        Self { host: String::new(), port: 5000 }
    }
}

impl FromStr for ListenAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "an address to listen on is written host:port or :port";
        let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: port.parse().map_err(|_| wrong)? })
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
        let url = Url::parse(text).map_err(|_| "not a URL, write https://host or http://host:port")?;
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

/// The host by which clients name an upstream: `ghcr.io`, `registry.internal:5000`, `localhost`.
///
/// Invariants: it is a host name in lower case or an IPv4 address, with or without a port; and it has a dot or a port
/// or is `localhost`, which is how image references tell a host from a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct UpstreamHost(String);

impl UpstreamHost {
    /// Docker Hub's hosts: the one in references, which stands for all, and those of its API.
    pub const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

    /// The host as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without its port.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(name, _)| name)
    }

    /// The host as a component of repository names, with `_` for the colon. Host names have no underscore, so the
    /// component is unique.
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
        let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number.to_string() == port);
        if !is_host_name(host) || port.is_some_and(|port| !is_port(port)) || text.len() > 128 {
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

/// A name of pounce itself, by which clients call it: `ollama.example.com`, `hub`.
///
/// Invariant: it is a host name in lower case or an IPv4 address, without a port, of at most 253 characters (the limit
/// of the DNS).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ServerName(String);

impl ServerName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a client that calls this host, with a port or without, calls pounce by this name. Case has no meaning in
    /// host names, nor has the dot that may end them.
    #[must_use]
    pub fn is_called_by(&self, host: &str) -> bool {
        let bare = host.split_once(':').map_or(host, |(bare, _)| bare);
        bare.strip_suffix('.').unwrap_or(bare).eq_ignore_ascii_case(&self.0)
    }
}

impl FromStr for ServerName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !is_host_name(text) || text.len() > 253 {
            return Err("not the name of a host, write it as ollama.example.com, without a port: any port fits");
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

/// Whether a text is a host name (RFC 1123, section 2.1), in any case, or an IPv4 address.
fn is_host_name(text: &str) -> bool {
    text.split('.').all(|label| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    })
}

deserialize_from_str!(ListenAddr, WebUrl, UpstreamHost, ServerName);
