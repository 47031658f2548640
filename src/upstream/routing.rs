//! Which upstream a repository is pulled from.
//!
//! A repository of the default upstream has the same name here. That of any other upstream is preceded by its host,
//! here and in the bucket, so that two upstreams never mix. Clients name the host as the first component of the name,
//! or in containerd's `?ns=`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::client::Upstream;
use super::error::UpstreamError;
use crate::config::{HostNames, Proxy, UpstreamHost};
use crate::oci::RepositoryName;
use crate::telemetry::Metrics;

/// How long the ping of an upstream may take at start.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The configured upstreams.
#[derive(Debug, Default)]
pub struct Upstreams {
    default: Option<DefaultUpstream>,
    /// `proxy.upstreams`
    named: Vec<NamedUpstream>,
    names: HostNames,
}

#[derive(Debug)]
struct DefaultUpstream {
    upstream: Arc<Upstream>,
    /// The hosts by which clients name it.
    hosts: Vec<UpstreamHost>,
}

#[derive(Debug)]
struct NamedUpstream {
    upstream: Arc<Upstream>,
    host: UpstreamHost,
    component: String,
}

impl Upstreams {
    /// The upstreams that the configuration names.
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub fn new(proxy: &Proxy, metrics: &Arc<Metrics>) -> Result<Self, UpstreamError> {
        let stall = proxy.fill.stalltimeout;
        let mut named: Vec<NamedUpstream> = Vec::new();
        for remote in &proxy.upstreams {
            // A loaded configuration has a host for each.
            let Some(host) = remote.host.clone() else {
                continue;
            };
            let component = host.component();
            let metrics = Arc::clone(metrics);
            let upstream = Upstream::new(remote, Some(component.clone()), stall, metrics)?;
            named.push(NamedUpstream { upstream: Arc::new(upstream), host, component });
        }
        let default = if proxy.remoteurl.is_some() {
            let upstream = Upstream::new(&proxy.own(), None, stall, Arc::clone(metrics))?;
            let hosts = proxy.default_hosts();
            Some(DefaultUpstream { upstream: Arc::new(upstream), hosts })
        } else {
            None
        };
        Ok(Self { default, named, names: proxy.host_names() })
    }

    /// The upstream of a repository, if there is one.
    #[must_use]
    pub fn of(&self, name: &RepositoryName) -> Option<&Arc<Upstream>> {
        match self.named(name) {
            Some(named) => Some(&named.upstream),
            None => self.default.as_ref().map(|default| &default.upstream),
        }
    }

    /// The repository that a client names by `name`, and by the host `ns` if it adds one. `None`: that host is no
    /// upstream.
    #[must_use]
    pub fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Option<RepositoryName> {
        match ns {
            _ if self.default.is_none() && self.named.is_empty() => Some(name),
            None => rest_of(&name, self.names.resolve(name.as_str())?),
            Some(ns) => self.in_namespace(&name, &ns.parse().ok()?),
        }
    }

    /// The hosts before the names of repositories.
    #[must_use]
    pub const fn host_names(&self) -> &HostNames {
        &self.names
    }

    /// Every host by which clients may name an upstream: those of the default one first. Docker Hub's names count as
    /// one.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        let default = self.default.iter().flat_map(|default| &default.hosts);
        let named = self.named.iter().map(|named| &named.host);
        let mut hosts: Vec<&str> = default.chain(named).map(UpstreamHost::as_str).collect();
        hosts.dedup();
        hosts
    }

    /// Every upstream, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let default = self.default.iter().map(|default| &default.upstream);
        default.chain(self.named.iter().map(|named| &named.upstream))
    }

    /// Pings all upstreams at once, and logs a warning for each that cannot be used. Nothing depends on it.
    pub async fn ping(&self) {
        let ping = async |upstream: &Arc<Upstream>| {
            let late = || UpstreamError::Unavailable("it does not answer".into());
            let pinged = tokio::time::timeout(PING_TIMEOUT, upstream.ping()).await;
            if let Err(error) = pinged.unwrap_or_else(|_| Err(late())) {
                let (upstream, advice) = (upstream.label(), error.advice());
                tracing::warn!(upstream, %error, advice, "an upstream cannot be used");
            }
        };
        join_all(self.all().map(ping)).await;
    }

    fn in_namespace(&self, name: &RepositoryName, ns: &UpstreamHost) -> Option<RepositoryName> {
        if let Some(named) = self.named.iter().find(|named| named.host == *ns) {
            let own = HostNames::without_host(name.as_str(), &named.component);
            return format!("{}/{own}", named.component).parse().ok();
        }
        let default = self.default.as_ref()?;
        let own = self.names.without_default(name.as_str());
        let name = rest_of(name, own)?;
        (default.hosts.contains(ns) && self.named(&name).is_none()).then_some(name)
    }

    fn named(&self, name: &RepositoryName) -> Option<&NamedUpstream> {
        let (first, _) = name.as_str().split_once('/')?;
        self.named.iter().find(|named| named.component == first)
    }
}

/// The rest of a name, from one of its slashes on.
fn rest_of(name: &RepositoryName, rest: &str) -> Option<RepositoryName> {
    if rest.len() == name.as_str().len() {
        return Some(name.clone());
    }
    rest.parse().ok()
}
