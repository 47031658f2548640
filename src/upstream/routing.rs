//! Which upstream a repository is pulled from.
//!
//! A repository of the default upstream has its name there; one of any other upstream has that one's host before it,
//! here and in the bucket, so that two upstreams never mix. Clients name the host in either of two ways: as the first
//! component of the name, or in containerd's `?ns=`.

use std::sync::Arc;

use super::client::Upstream;
use super::error::UpstreamError;
use crate::config::{HostNames, Proxy, UpstreamHost};
use crate::oci::RepositoryName;
use crate::telemetry::Metrics;

/// The configured upstreams.
#[derive(Debug, Default)]
pub struct Upstreams {
    /// The default one.
    plain: Option<Plain>,
    /// `proxy.upstreams`
    named: Vec<Named>,
    names: HostNames,
}

#[derive(Debug)]
struct Plain {
    upstream: Arc<Upstream>,
    /// What clients call it.
    hosts: Vec<UpstreamHost>,
}

#[derive(Debug)]
struct Named {
    upstream: Arc<Upstream>,
    host: UpstreamHost,
    component: String,
}

impl Upstreams {
    /// Those that the configuration names.
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub fn new(proxy: &Proxy, metrics: &Arc<Metrics>) -> Result<Self, UpstreamError> {
        let stall = proxy.fill.stalltimeout;
        let mut named: Vec<Named> = Vec::new();
        for remote in &proxy.upstreams {
            // A loaded configuration has one for each.
            let Some(host) = remote.host.clone() else {
                continue;
            };
            let component = host.component();
            let metrics = Arc::clone(metrics);
            let upstream = Upstream::new(remote, Some(component.clone()), stall, metrics)?;
            named.push(Named { upstream: Arc::new(upstream), host, component });
        }
        let plain = if proxy.remoteurl.is_some() {
            let upstream = Upstream::new(&proxy.own(), None, stall, Arc::clone(metrics))?;
            let hosts = proxy.default_hosts();
            Some(Plain { upstream: Arc::new(upstream), hosts })
        } else {
            None
        };
        Ok(Self { plain, named, names: proxy.host_names() })
    }

    /// The upstream of a repository, if there is one.
    #[must_use]
    pub fn of(&self, name: &RepositoryName) -> Option<&Arc<Upstream>> {
        match self.named(name) {
            Some(named) => Some(&named.upstream),
            None => self.plain.as_ref().map(|plain| &plain.upstream),
        }
    }

    /// The repository that a client means by `name`, to which it adds that its reference begins with the host `ns`.
    /// `None`: that host is no upstream.
    #[must_use]
    pub fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Option<RepositoryName> {
        match ns {
            _ if self.plain.is_none() && self.named.is_empty() => Some(name),
            None => settled(&name, self.names.resolve(name.as_str())?),
            Some(ns) => self.in_namespace(&name, &ns.parse().ok()?),
        }
    }

    /// The hosts before the names of repositories.
    #[must_use]
    pub const fn host_names(&self) -> &HostNames {
        &self.names
    }

    /// Every host by which clients may name an upstream: those of the default one first. More than one of Docker Hub's
    /// names is one.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        let plain = self.plain.iter().flat_map(|plain| &plain.hosts);
        let named = self.named.iter().map(|named| &named.host);
        let mut hosts: Vec<&str> = plain.chain(named).map(UpstreamHost::as_str).collect();
        hosts.dedup();
        hosts
    }

    /// Every upstream, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let plain = self.plain.iter().map(|plain| &plain.upstream);
        plain.chain(self.named.iter().map(|named| &named.upstream))
    }

    fn in_namespace(&self, name: &RepositoryName, ns: &UpstreamHost) -> Option<RepositoryName> {
        if let Some(named) = self.named.iter().find(|named| named.host == *ns) {
            let own = HostNames::without_host(name.as_str(), &named.component);
            return format!("{}/{own}", named.component).parse().ok();
        }
        let plain = self.plain.as_ref()?;
        let own = self.names.without_default(name.as_str());
        let name = settled(name, own)?;
        (plain.hosts.contains(ns) && self.is_plain(&name)).then_some(name)
    }

    /// A name is no other upstream's.
    fn is_plain(&self, name: &RepositoryName) -> bool {
        self.named(name).is_none()
    }

    fn named(&self, name: &RepositoryName) -> Option<&Named> {
        let (first, _) = name.as_str().split_once('/')?;
        self.named.iter().find(|named| named.component == first)
    }
}

/// The rest of a name, from one of its slashes on.
fn settled(name: &RepositoryName, rest: &str) -> Option<RepositoryName> {
    if rest.len() == name.as_str().len() {
        return Some(name.clone());
    }
    rest.parse().ok()
}
