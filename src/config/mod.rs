//! The configuration, as a value that is valid by construction.
//!
//! The schema is distribution's with pounce's additions; `config/registry.yml` shows every setting with its default.
//! [`Config::load`] reads the file and the environment, and checks everything, so that no other module checks a setting
//! again.

mod admission;
mod auth;
mod bucket_keys;
mod check;
mod document;
mod durations;
mod environment;
mod error;
mod formatter;
mod gc_timing;
mod host_names;
mod hosts;
mod http;
mod images;
mod keys;
mod lists;
mod load;
mod log;
mod network;
mod notifications;
mod oidc;
mod ollama;
mod origins;
mod pages;
mod patterns;
mod proxy;
mod remote;
mod retention;
mod rules;
mod scalars;
mod schema;
mod service_links;
mod sizes;
mod storage;
mod user_template;
mod validation;
mod values;
mod variables;
mod written;
mod yaml;

pub use auth::{Auth, Htpasswd, Scheme, SigningAlgorithm, Token};
pub use bucket_keys::{BUCKET, BucketKeysLife};
pub use environment::Environment;
pub use error::ConfigError;
pub use gc_timing::GcTiming;
pub use host_names::{HostNames, PatternScope};
pub use hosts::{ListenAddr, ServerName, UpstreamHost, WebUrl, is_local};
pub use http::{ClientAuth, Debug, Http, Limits, MetricNames, MinimumTls, Page, Prometheus, Tls};
pub use images::ImagePattern;
pub use load::Loaded;
pub use log::{AccessLog, AccessLogFormat, Log, LogFormatter, LogLevel};
pub use notifications::{
    EventAction, EventEndpoint, EventFormat, EventHeaders, EventSettings, EventUrl, Ignore, Notifications,
};
pub use oidc::{OidcProvider, SecureUrl, is_secure};
pub use ollama::{Ollama, OllamaKey, SshKey, UpstreamClient};
pub use origins::{Origin, Origins};
pub use pages::{Catalog, Tags};
pub use patterns::{ClaimPattern, RepositoryPattern, TagPattern, UserPattern};
pub use proxy::{Account, Compose, Exec, Fill, FillTuning, NameGrammar, OnMiss, Proxy, Remote, SharedSize, Spool};
pub use remote::RemoteUrl;
pub use retention::{ContentOrigin, KeptTags, RetentionRule};
pub use rules::{ANONYMOUS, Rule};
pub use schema::Config;
pub use sizes::ByteSize;
pub use storage::{
    Delete, Driver, Filesystem, GarbageCollection, Maintenance, ReadOnly, Redirect, S3, Storage, UploadPurging,
};
pub use user_template::{TemplatePart, UserTemplate};
pub use validation::{IndexValidation, ManifestValidation, Platforms, RequiredPlatform, Validation};
pub use values::Secret;
pub use written::{Form, Written};
