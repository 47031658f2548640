//! The root of the configuration.

use serde::{Deserialize, Serialize};

use super::auth::Auth;
use super::http::Http;
use super::log::Log;
use super::notifications::Notifications;
use super::pages::{Catalog, Tags};
use super::proxy::Proxy;
use super::storage::Storage;
use super::validation::Validation;

/// The whole configuration: distribution's YAML schema with pounce's additions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The version of the schema, which distribution requires; any value is accepted.
    pub version: serde_json::Value,
    /// What is logged.
    pub log: Log,
    /// Where blobs and manifests are stored.
    pub storage: Storage,
    /// How clients authenticate, and what they may do.
    pub auth: Auth,
    /// How clients reach pounce.
    pub http: Http,
    /// The upstream registries.
    pub proxy: Proxy,
    /// Where events of pushes, pulls and deletes are sent.
    pub notifications: Notifications,
    /// The page size of `/v2/_catalog`.
    pub catalog: Catalog,
    /// The page size of `/v2/<name>/tags/list`.
    pub tags: Tags,
    /// What pushed manifests must fulfil.
    pub validation: Validation,
}
