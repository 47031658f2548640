//! The state that all requests share.

use std::sync::Arc;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use url::Url;

use super::response_memory::ResponseMemory;
use super::unknown_hosts::UnknownHosts;
use crate::auth::Access;
use crate::config::{Config, Http};
use crate::registry::Registry;
use crate::telemetry::Metrics;

/// The layers below, and the settings that requests need.
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) registry: Registry,
    pub(crate) access: Access,
    pub(crate) metrics: Arc<Metrics>,
    /// `http`
    pub(super) http: Http,
    /// `http.prefix`, without a slash at its end.
    pub(super) prefix: String,
    /// The URL of this registry where a request does not tell.
    pub(super) base: Url,
    /// The path of `http.host` that stands before `/v2/` in absolute URLs, without a slash at its end.
    pub(super) base_path: String,
    /// `http.headers`
    pub(super) headers: HeaderMap,
    /// `storage.redirect.exclude`
    pub(super) redirect_exclude: Vec<IpNet>,
    /// `catalog.maxentries`
    pub(super) max_catalog_page: usize,
    /// `tags.maxtags`
    pub(super) max_tags_page: usize,
    /// Requests are logged.
    pub(super) access_log: bool,
    pub(super) unknown_hosts: UnknownHosts,
    pub(super) memory: ResponseMemory,
}

impl AppState {
    pub(crate) fn new(
        config: &Config,
        registry: Registry,
        access: Access,
        metrics: Arc<Metrics>,
        base: Url,
        headers: HeaderMap,
    ) -> Self {
        let http = config.http.clone();
        // Up to the last slash, as for distribution.
        let base_path = http.host.as_ref().and_then(|host| host.as_url().join("./").ok());
        Self {
            registry,
            access,
            metrics,
            prefix: http.prefix.trim_end_matches('/').to_owned(),
            base,
            base_path: base_path.map_or_else(String::new, |url| url.path().trim_end_matches('/').to_owned()),
            headers,
            redirect_exclude: config.storage.redirect.exclude.clone(),
            max_catalog_page: config.catalog.maxentries,
            max_tags_page: config.tags.maxtags,
            access_log: !config.log.accesslog.disabled,
            unknown_hosts: UnknownHosts::default(),
            memory: ResponseMemory::default(),
            http,
        }
    }
}

/// `http.headers`.
///
/// # Errors
/// The name of an entry that is not a valid header.
pub(crate) fn configured_headers(config: &Http) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in &config.headers {
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| name.clone())?;
        for value in values {
            headers.append(&parsed, HeaderValue::from_str(value).map_err(|_| name.clone())?);
        }
    }
    Ok(headers)
}
