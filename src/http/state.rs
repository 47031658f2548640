//! The state that all requests share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::live_feed::LiveFeed;
use super::response_memory::ResponseMemory;
use super::unknown_hosts::UnknownHosts;
use super::url_signer::UrlSigner;
use crate::auth::Access;
use crate::config::{Config, Http, Secret};
use crate::events::Events;
use crate::registry::Registry;
use crate::telemetry::{AccessLog, Metrics};

/// The layers below, the settings, and values that are made of these once.
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) registry: Registry,
    access: ArcSwap<Access>,
    pub(crate) metrics: Arc<Metrics>,
    /// `None` if requests are not logged.
    pub(super) access_log: Option<AccessLog>,
    /// `None` without endpoints.
    pub(crate) events: Option<Events>,
    pub(super) config: Config,
    /// `http.prefix`, without a slash at its end.
    pub(super) prefix: String,
    /// The URL of this registry where a request does not tell.
    pub(super) base: Url,
    /// The path of `http.host` that stands before `/v2/` in absolute URLs, without a slash at its end.
    pub(super) base_path: String,
    /// `http.headers`
    pub(super) headers: HeaderMap,
    pub(super) unknown_hosts: UnknownHosts,
    pub(super) memory: ResponseMemory,
    pub(super) url_signer: UrlSigner,
    /// For the browsers that show the page.
    pub(super) live: Arc<LiveFeed>,
}

impl AppState {
    /// `secret` signs URLs of blobs.
    pub(crate) fn new(
        config: &Config,
        registry: Registry,
        access: Access,
        metrics: Arc<Metrics>,
        base: Url,
        headers: HeaderMap,
        secret: &Secret,
    ) -> Self {
        // Up to the last slash, as for distribution.
        let base_path = config.http.host.as_ref().and_then(|host| host.as_url().join("./").ok());
        Self {
            registry,
            access: ArcSwap::from_pointee(access),
            metrics,
            access_log: None,
            events: None,
            prefix: config.http.prefix.trim_end_matches('/').to_owned(),
            base,
            base_path: base_path.map_or_else(String::new, |url| url.path().trim_end_matches('/').to_owned()),
            headers,
            unknown_hosts: UnknownHosts::default(),
            memory: ResponseMemory::default(),
            url_signer: UrlSigner::new(secret),
            live: Arc::default(),
            config: config.clone(),
        }
    }

    /// Users and rules as they are now.
    pub(crate) fn access(&self) -> Arc<Access> {
        self.access.load_full()
    }

    /// Replaces users and rules.
    pub(crate) fn replace_access(&self, access: Access) {
        self.access.store(Arc::new(access));
    }

    /// With a line for each request.
    #[must_use]
    pub(crate) fn with_access_log(self, access_log: Option<AccessLog>) -> Self {
        Self { access_log, ..self }
    }

    /// With endpoints of events.
    #[must_use]
    pub(crate) fn with_events(self, events: Option<Events>) -> Self {
        Self { events, ..self }
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
