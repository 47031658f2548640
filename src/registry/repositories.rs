//! Which repository a client means, and which upstreams there are.

use std::sync::Arc;

use super::cache::Cache;
use crate::config::{HostNames, Proxy, UpstreamHost};
use crate::oci::{Error, ErrorCode, NameError, RepositoryName};
use crate::upstream::{RequestHosts, Routes, Unresolved, UpstreamError, Upstreams};

/// Resolves the names that clients use.
#[derive(Clone, Debug)]
pub struct Repositories {
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
}

impl Repositories {
    /// Reads a name as a client writes it in a request with these hosts. Where the upstream's names may be other ones
    /// than the spec's, the result is escaped.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse_name(&self, text: &str, hosts: RequestHosts<'_>) -> Result<RepositoryName, NameError> {
        self.upstreams.routes().parse_name(text, hosts)
    }

    /// The repository that a client means by `name` in a request with these hosts.
    ///
    /// # Errors
    /// - `NAME_UNKNOWN`: no upstream is configured for the host.
    /// - `NAME_INVALID`: with the upstream's host before it, the name is too long.
    pub fn resolve(&self, name: RepositoryName, hosts: RequestHosts<'_>) -> Result<RepositoryName, Error> {
        self.upstreams.routes().repository(name, hosts).map_err(|error| match error {
            Unresolved::NoUpstream => no_upstream(hosts.ns),
            Unresolved::Name(error) => {
                let message = format!("the host of the upstream is a part of the repository's name here: {error}");
                Error::new(ErrorCode::NameInvalid, message)
            }
        })
    }

    /// The repository that a reference to an image means: its `host`, if it names one, and its `name`. As in clients'
    /// references, official images of Docker Hub need not say `library/`.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve), and `NAME_INVALID` for another name than the upstream may have.
    pub fn resolve_reference(&self, name: &str, host: Option<&str>) -> Result<RepositoryName, Error> {
        let hosts = RequestHosts { ns: host, called: None };
        let name = self.parse_name(name, hosts);
        let name = name.map_err(|error| Error::new(ErrorCode::NameInvalid, error.to_string()))?;
        let name = self.resolve(name, hosts)?;
        Ok(match self.upstreams.of(&name) {
            Some(upstream) => upstream.full_name(&name),
            None => name,
        })
    }

    /// Whether only Ollama uses the upstream of a repository (`proxy.upstreams[].client`).
    #[must_use]
    pub fn are_for_ollama(&self, name: &RepositoryName) -> bool {
        self.upstreams.of(name).is_some_and(|upstream| upstream.is_for_ollama())
    }

    /// Whether the host that a client called can stand for an upstream ([`RequestHosts::called`]).
    #[must_use]
    pub fn have_hostnames(&self) -> bool {
        self.upstreams.have_hostnames()
    }

    /// Whether a host, with a port or without, is one by which clients may name an upstream, in containerd's `?ns=` too.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        self.upstreams.routes().has_host(host)
    }

    /// The hosts that clients and rules may write before the names of upstreams' repositories.
    #[must_use]
    pub fn host_names(&self) -> HostNames {
        self.upstreams.routes().host_names().clone()
    }

    /// The upstreams as they are now.
    #[must_use]
    pub fn routes(&self) -> Arc<Routes> {
        self.upstreams.routes()
    }

    /// Whether there is any upstream.
    #[must_use]
    pub fn have_upstreams(&self) -> bool {
        self.upstreams.routes().all().next().is_some()
    }

    /// The upstreams of another configuration, for [`replace_upstreams`](Self::replace_upstreams).
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub fn prepare_upstreams(&self, proxy: &Proxy) -> Result<Routes, UpstreamError> {
        self.upstreams.prepare(proxy)
    }

    /// Replaces the upstreams. Fills that are under way go on with those that there were.
    pub fn replace_upstreams(&self, routes: Routes) {
        self.upstreams.replace(routes);
        self.cache.absent.forget_all();
    }

    /// Pings every upstream in the background, and warns of those that do not answer as registries do.
    pub fn ping_upstreams(&self) {
        let upstreams = Arc::clone(&self.upstreams);
        tokio::spawn(async move { upstreams.ping().await });
    }
}

fn no_upstream(ns: Option<&str>) -> Error {
    // Only text that looks like a host is repeated.
    let host = ns.and_then(|ns| ns.parse().ok());
    let host = host.as_ref().map_or("this host", UpstreamHost::as_str);
    let message = format!(
        "this registry has no upstream for {host}: its operator can add one to proxy.upstreams, or name the default one \
         in proxy.host"
    );
    Error::new(ErrorCode::NameUnknown, message)
}
