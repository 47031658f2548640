//! Which upstream a repository is pulled from.
//!
//! A repository of the default upstream has its name there; one of any other upstream has that one's
//! host before it, here and in the bucket, so that two upstreams never mix. Clients name the host in
//! either of two ways: as the first component of the name, or in containerd's `?ns=`.

use std::sync::Arc;

use super::client::{DOCKER_HUB, Upstream};
use super::error::UpstreamError;
use crate::config::{Proxy, UpstreamHost};
use crate::oci::RepositoryName;
use crate::telemetry::Metrics;

/// The configured upstreams.
#[derive(Debug, Default)]
pub struct Upstreams {
    default: Option<Default>,
    others: Vec<Other>,
}

#[derive(Debug)]
struct Default {
    upstream: Arc<Upstream>,
    /// What clients call it.
    hosts: Vec<UpstreamHost>,
}

#[derive(Debug)]
struct Other {
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
        let mut others = Vec::new();
        for remote in &proxy.upstreams {
            // A loaded configuration has one for each.
            let Some(host) = remote.host.clone() else {
                continue;
            };
            let component = host.component();
            let metrics = Arc::clone(metrics);
            let upstream = Upstream::new(remote, Some(component.clone()), stall, metrics)?;
            others.push(Other {
                upstream: Arc::new(upstream),
                host,
                component,
            });
        }
        let default = if proxy.remoteurl.is_some() {
            let upstream = Upstream::new(&proxy.own(), None, stall, Arc::clone(metrics))?;
            let mut hosts = match &proxy.host {
                Some(host) => vec![host.clone()],
                None => hosts_of(&upstream),
            };
            hosts.retain(|host| others.iter().all(|other| other.host != *host));
            let upstream = Arc::new(upstream);
            Some(Default { upstream, hosts })
        } else {
            None
        };
        Ok(Self { default, others })
    }

    /// The upstream of a repository, if there is one.
    #[must_use]
    pub fn of(&self, name: &RepositoryName) -> Option<&Arc<Upstream>> {
        match self.other_named(name) {
            Some(other) => Some(&other.upstream),
            None => self.default.as_ref().map(|default| &default.upstream),
        }
    }

    /// The repository that a client means by `name`, to which it adds that its reference begins with
    /// the host `ns`. `None`: that host is no upstream.
    #[must_use]
    pub fn repository(&self, name: RepositoryName, ns: Option<&str>) -> Option<RepositoryName> {
        match ns {
            _ if self.default.is_none() && self.others.is_empty() => Some(name),
            None => Some(self.without_default_host(name)),
            Some(ns) => self.in_namespace(name, &canonical(ns)),
        }
    }

    /// Every upstream, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let default = self.default.iter().map(|default| &default.upstream);
        default.chain(self.others.iter().map(|other| &other.upstream))
    }

    fn in_namespace(&self, name: RepositoryName, ns: &str) -> Option<RepositoryName> {
        if let Some(other) = self
            .others
            .iter()
            .find(|it| canonical(it.host.as_str()) == ns)
        {
            return format!("{}/{name}", other.component).parse().ok();
        }
        let default = self.default.as_ref()?;
        let is_default = default
            .hosts
            .iter()
            .any(|host| canonical(host.as_str()) == ns);
        // Such a name would be another upstream's repository.
        (is_default && self.other_named(&name).is_none()).then_some(name)
    }

    /// `docker.io/library/alpine` is `library/alpine` where Docker Hub is the default.
    fn without_default_host(&self, name: RepositoryName) -> RepositoryName {
        let Some((first, rest)) = name.as_str().split_once('/') else {
            return name;
        };
        let mut hosts = self.default.iter().flat_map(|default| &default.hosts);
        if hosts.any(|host| host.component() == first)
            && let Ok(rest) = rest.parse()
        {
            return rest;
        }
        name
    }

    fn other_named(&self, name: &RepositoryName) -> Option<&Other> {
        let (first, _) = name.as_str().split_once('/')?;
        self.others.iter().find(|other| other.component == first)
    }
}

/// What clients call the upstream of plain names, where nobody says it. One without a public name, an
/// address or a host of some private network, stands for Docker Hub, as plain names do in references.
fn hosts_of(upstream: &Upstream) -> Vec<UpstreamHost> {
    let own = upstream.host();
    let is_public = own
        .split(':')
        .next()
        .is_some_and(|host| host.contains('.') && host.parse::<std::net::IpAddr>().is_err());
    let mut names = vec![own.as_str()];
    if !is_public || DOCKER_HUB.contains(&own.as_str()) {
        names.extend(DOCKER_HUB);
    }
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// Hosts are compared in lower case, and Docker Hub's are all one.
fn canonical(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    if DOCKER_HUB.contains(&host.as_str()) {
        return DOCKER_HUB[0].to_owned();
    }
    host
}
