//! How clients reach pounce, and what they can take from one another.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::hosts::{ListenAddr, WebUrl};
use super::values::{self, Secret};
use super::{durations, lists};

/// `http`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where pounce listens.
    pub addr: ListenAddr,
    /// The base URL that clients use; it wins over what their requests say.
    pub host: Option<WebUrl>,
    /// Whether `Location`s are relative: always, never, or, left out, unless `host` or a trusted proxy tells how
    /// clients reach pounce.
    pub relativeurls: Option<bool>,
    /// Networks whose `X-Forwarded-Proto`, `-Host` and `-For` are believed.
    #[serde(deserialize_with = "lists::list")]
    pub trustedproxies: Vec<IpNet>,
    /// The header in which these say whose request it is.
    #[serde(with = "values::header_name")]
    pub forwardedfor: HeaderName,
    /// The header in which these say what host the client called.
    #[serde(with = "values::header_name")]
    pub forwardedhost: HeaderName,
    /// The header in which these say whether the client uses `http` or `https`.
    #[serde(with = "values::header_name")]
    pub forwardedproto: HeaderName,
    /// A path in front of `/v2/`.
    pub prefix: String,
    /// Signs the state of uploads; the same on all replicas. Without it, one is made at start.
    pub secret: Option<Secret>,
    /// How long requests and fills may go on after SIGTERM.
    #[serde(with = "durations::duration")]
    pub draintimeout: Duration,
    /// Added to every response.
    pub headers: BTreeMap<String, Vec<String>>,
    /// HTTPS; without a certificate, there is none.
    pub tls: Tls,
    /// What one client can take from others.
    pub limits: Limits,
    /// A second listener, for the operator.
    pub debug: Debug,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: ListenAddr::default(),
            host: None,
            relativeurls: None,
            trustedproxies: Vec::new(),
            forwardedfor: HeaderName::from_static("x-forwarded-for"),
            forwardedhost: HeaderName::from_static("x-forwarded-host"),
            forwardedproto: HeaderName::from_static("x-forwarded-proto"),
            prefix: String::new(),
            secret: None,
            draintimeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            tls: Tls::default(),
            limits: Limits::default(),
            debug: Debug::default(),
        }
    }
}

/// `http.tls`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the server's certificate, and those that lead to its root.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key: Option<PathBuf>,
    /// The lowest version that is spoken.
    pub minimumtls: MinimumTls,
    /// PEM files with the roots of the clients' certificates; without any, clients need none.
    #[serde(deserialize_with = "lists::list")]
    pub clientcas: Vec<PathBuf>,
    /// Whether a client must show a certificate, where there are `clientcas`.
    pub clientauth: ClientAuth,
}

/// `http.tls.minimumtls`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum MinimumTls {
    /// The lowest that pounce speaks, also where a lower one is allowed.
    #[default]
    #[serde(rename = "tls1.2", alias = "tls1.0", alias = "tls1.1")]
    Tls12,
    /// Nothing older than that.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// `http.tls.clientauth`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// Without a certificate there is no connection.
    #[default]
    RequireAndVerifyClientCert,
    /// A client may have none; one that it has must be right.
    VerifyClientCertIfGiven,
}

/// `http.limits`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How many connections are open at once: 16 to 1,000,000. Over it, one that is idle makes room.
    #[serde(deserialize_with = "values::open_connections")]
    pub connections: usize,
    /// How many of them one address may have open, of IPv6 one /64; 0 is no bound, and left out a quarter of all. Those
    /// of `trustedproxies` are not bounded. Over it, one that is idle or stalled makes room.
    pub connectionsperaddress: Option<usize>,
    /// How long a TLS handshake, and how long a request's header, may take: 1s to 5m.
    #[serde(with = "durations::patience")]
    pub headertimeout: Duration,
    /// How long a connection may be idle: 1s to 1h. No shorter than that of the proxies in front.
    #[serde(with = "durations::idleness")]
    pub idletimeout: Duration,
    /// How long a client may take nothing of an answer: 1s to 1h.
    #[serde(with = "durations::idleness")]
    pub writetimeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connectionsperaddress: None,
            headertimeout: Duration::from_secs(20),
            idletimeout: Duration::from_mins(3),
            writetimeout: Duration::from_mins(2),
        }
    }
}

impl Limits {
    /// How many connections one address may have open; 0: as many as there are. A quarter of all is more than the nodes
    /// of a data center need behind one address, and a fourth of what could lock others out; few are not shared.
    #[must_use]
    pub fn connections_per_address(&self) -> usize {
        let share = (self.connections / 4).max(64);
        self.connectionsperaddress.unwrap_or(share)
    }
}

/// `http.debug`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Debug {
    /// Where it listens; without it, there is none.
    pub addr: Option<ListenAddr>,
    /// Metrics.
    pub prometheus: Prometheus,
}

/// `http.debug.prometheus`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// Metrics are served on the debug listener.
    pub enabled: bool,
    /// Where.
    pub path: String,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { enabled: false, path: "/metrics".into() }
    }
}
