//! `http`: the listeners, and the limits of clients.

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
    /// The address of the listener.
    pub addr: ListenAddr,
    /// The base URL of clients; it wins over the hosts of their requests.
    pub host: Option<WebUrl>,
    /// Whether `Location`s are relative: always or never; by default unless `host` or a trusted proxy says which URL
    /// clients use.
    pub relativeurls: Option<bool>,
    /// Networks of proxies, whose forwarding headers are trusted.
    #[serde(deserialize_with = "lists::list")]
    pub trustedproxies: Vec<IpNet>,
    /// The header in which they name the client's address.
    #[serde(with = "values::header_name")]
    pub forwardedfor: HeaderName,
    /// The header in which they name the host of the client's request.
    #[serde(with = "values::header_name")]
    pub forwardedhost: HeaderName,
    /// The header in which they say whether the client uses `http` or `https`.
    #[serde(with = "values::header_name")]
    pub forwardedproto: HeaderName,
    /// A path in front of `/v2/`.
    pub prefix: String,
    /// The key that signs uploads' states and tokens; the same on all replicas. By default a random one.
    pub secret: Option<Secret>,
    /// How long requests and fills may run after SIGTERM.
    #[serde(with = "durations")]
    pub draintimeout: Duration,
    /// Headers that are added to every response.
    pub headers: BTreeMap<String, Vec<String>>,
    /// HTTPS, if there is a certificate.
    pub tls: Tls,
    /// The limits of clients.
    pub limits: Limits,
    /// A second listener, for the operator.
    pub debug: Debug,
    /// The page for browsers.
    pub page: Page,
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
            page: Page::default(),
        }
    }
}

/// `http.page`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// Whether `/` is a page for browsers, which shows what the user may pull.
    pub enabled: bool,
}

impl Default for Page {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `http.tls`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// A PEM file with the server's certificate and its intermediates.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key: Option<PathBuf>,
    /// The lowest version of the protocol.
    pub minimumtls: MinimumTls,
    /// PEM files with the roots of clients' certificates; without any, clients need no certificate.
    #[serde(deserialize_with = "lists::list")]
    pub clientcas: Vec<PathBuf>,
    /// Whether a client must have a certificate, if there are `clientcas`.
    pub clientauth: ClientAuth,
}

/// `http.tls.minimumtls`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum MinimumTls {
    /// TLS 1.2, the lowest that pounce supports, also if a lower one is allowed.
    #[default]
    #[serde(rename = "tls1.2", alias = "tls1.0", alias = "tls1.1")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "tls1.3")]
    Tls13,
}

/// `http.tls.clientauth`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// A client needs a valid certificate.
    #[default]
    RequireAndVerifyClientCert,
    /// A client may have no certificate; one that it has must be valid.
    VerifyClientCertIfGiven,
}

/// `http.limits`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// The most open connections, 16 to 1,000,000. A further one closes an idle one.
    pub connections: usize,
    /// The most open connections of an address, of IPv6 a /64; 0 is no bound, and the default a quarter of all. Those
    /// of `trustedproxies` are not bounded. A further one closes an idle or stalled one.
    pub connectionsperaddress: Option<usize>,
    /// How long a TLS handshake, and how long a request's header, may take, 1s to 5m.
    #[serde(with = "durations")]
    pub headertimeout: Duration,
    /// How long a connection may be idle, 1s to 1h; no shorter than the timeout of proxies in front.
    #[serde(with = "durations")]
    pub idletimeout: Duration,
    /// How long a client may read nothing of a response, 1s to 1h.
    #[serde(with = "durations")]
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
    /// The most open connections of an address; 0 is no bound. A quarter of all is more than the nodes of a data center
    /// need behind one address, and leaves the rest to others. It is at least 64.
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
    /// Its address; without one, there is no debug listener.
    pub addr: Option<ListenAddr>,
    /// Prometheus metrics.
    pub prometheus: Prometheus,
}

/// `http.debug.prometheus`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Prometheus {
    /// Whether the debug listener serves metrics.
    pub enabled: bool,
    /// Their path.
    pub path: String,
    /// Whether there are distribution's names beside pounce's.
    pub names: MetricNames,
}

/// `http.debug.prometheus.names`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricNames {
    /// pounce's own.
    #[default]
    Pounce,
    /// distribution's beside them, for dashboards that exist.
    Distribution,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { enabled: false, path: "/metrics".into(), names: MetricNames::default() }
    }
}
