//! What the operator wrote, as a value that is valid by construction.
//!
//! The tree below is distribution's YAML schema with pounce's additions; `config/registry.yml` shows
//! it with every default. Field types check single values, [`load`](Config::load) checks what
//! concerns several of them, so nobody further in checks anything again.

mod durations;
mod error;
mod hosts;
mod keys;
mod load;
mod overrides;
mod proxy;
mod storage;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use hosts::{ListenAddr, UpstreamHost, WebUrl};
pub use load::{Environment, Loaded};
pub use proxy::{Exec, Fill, OnMiss, Proxy, Remote, Spool};
pub use storage::{
    Delete, Driver, Filesystem, Maintenance, ReadOnly, Redirect, S3, Storage, UploadPurging,
};
pub use values::Secret;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Of the schema, as distribution writes it; any value is accepted.
    pub version: serde_json::Value,
    /// What is logged.
    pub log: Log,
    /// Where blobs and manifests are kept.
    pub storage: Storage,
    /// How clients reach pounce.
    pub http: Http,
    /// The registries that pounce fronts.
    pub proxy: Proxy,
}

/// `log`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe events that are logged.
    pub level: LogLevel,
    /// How a line looks.
    pub formatter: LogFormatter,
    /// The line that every request gets.
    pub accesslog: AccessLog,
}

/// `log.level`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// `log.formatter`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormatter {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    #[serde(alias = "logstash")]
    Json,
}

/// `log.accesslog`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessLog {
    /// Requests are not logged.
    pub disabled: bool,
}

/// `http`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where pounce listens.
    pub addr: ListenAddr,
    /// The base URL that clients use, where it cannot be told from their requests.
    pub host: Option<WebUrl>,
    /// A path in front of `/v2/`.
    pub prefix: String,
    /// Signs the state of uploads; the same on all replicas. Without it, one is made at start.
    pub secret: Option<Secret>,
    /// How long requests and fills may go on after SIGTERM.
    #[serde(with = "durations::duration")]
    pub draintimeout: Duration,
    /// Added to every response.
    pub headers: BTreeMap<String, Vec<String>>,
    /// A second listener, for the operator.
    pub debug: Debug,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            addr: ListenAddr::default(),
            host: None,
            prefix: String::new(),
            secret: None,
            draintimeout: Duration::from_secs(30),
            headers: BTreeMap::new(),
            debug: Debug::default(),
        }
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
        Self {
            enabled: false,
            path: "/metrics".into(),
        }
    }
}
