//! HTTP clients.

use std::time::Duration;

use reqwest::Client;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use url::Url;

use super::error::UpstreamError;
use super::redirect;
use crate::config::is_local;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The clients for one upstream.
#[derive(Clone, Debug)]
pub(super) struct HttpClients {
    pub(super) no_redirect: Client,
    /// Follows redirects: for token servers.
    pub(super) following: Client,
}

impl HttpClients {
    pub(super) fn new(base: &Url) -> Result<Self, UpstreamError> {
        // The bytes themselves are counted and hashed, so a proxy must not compress them.
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let client = |redirects| {
            client_to(base)
                .default_headers(headers.clone())
                .user_agent(concat!("pounce/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .redirect(redirects)
                .build()
        };
        Ok(Self { no_redirect: client(Policy::none())?, following: client(redirect::policy())? })
    }
}

/// A client for a host, and for the hosts that it redirects to. The environment's proxies apply, except to this
/// machine.
pub(super) fn client_to(url: &Url) -> reqwest::ClientBuilder {
    let builder = Client::builder();
    if url.host_str().is_some_and(is_local) { builder.no_proxy() } else { builder }
}
