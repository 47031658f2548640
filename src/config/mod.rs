//! What the operator wrote, as a value that is valid by construction.
//!
//! The tree below is distribution's YAML schema with pounce's additions; `config/registry.yml` shows it with every
//! default. Field types check single values, [`load`](Config::load) checks what concerns several of them, so nobody
//! further in checks anything again.

mod auth;
mod check;
mod document;
mod durations;
mod error;
mod host_names;
mod hosts;
mod http;
mod keys;
mod lists;
mod load;
mod network;
mod origins;
mod overrides;
mod pages;
mod patterns;
mod proxy;
mod remote;
mod rules;
mod scalars;
mod service_links;
mod storage;
mod validation;
mod values;
mod yaml;

use serde::{Deserialize, Serialize};

pub use auth::{Auth, Htpasswd, Scheme, SigningAlgorithm, Token};
pub use error::ConfigError;
pub use host_names::{HostNames, Place};
pub use hosts::{ListenAddr, UpstreamHost, WebUrl, is_local};
pub use http::{ClientAuth, Debug, Http, Limits, MinimumTls, Prometheus, Tls};
pub use load::{Environment, Loaded};
pub use origins::{Origin, Origins};
pub use pages::{Catalog, Tags};
pub use patterns::{RepositoryPattern, UserPattern};
pub use proxy::{Exec, Fill, OnMiss, Proxy, Remote, Spool};
pub use remote::RemoteUrl;
pub use rules::{ANONYMOUS, Rule};
pub use storage::{Delete, Driver, Filesystem, Maintenance, ReadOnly, Redirect, S3, Storage, UploadPurging};
pub use validation::{IndexValidation, ManifestValidation, Platforms, RequiredPlatform, Validation};
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
    /// Who may do what.
    pub auth: Auth,
    /// How clients reach pounce.
    pub http: Http,
    /// The registries that pounce fronts.
    pub proxy: Proxy,
    /// How long a page of `/v2/_catalog` is.
    pub catalog: Catalog,
    /// How long a page of `/v2/<name>/tags/list` is.
    pub tags: Tags,
    /// What a manifest that is pushed must fulfil.
    pub validation: Validation,
}

/// `log`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The least severe events that are logged.
    #[serde(deserialize_with = "values::any_case")]
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
