//! Which upstream a repository is pulled from.
//!
//! A repository of the default upstream has the same name here. That of any other upstream is preceded by its host,
//! here and in the bucket, so that two upstreams never mix. Clients name the host in containerd's `?ns=`, or as the
//! first component of the name, or they call pounce by a name that stands for the upstream.

use std::sync::Arc;

use super::client::Upstream;
use super::error::UpstreamError;
use super::images::Images;
use crate::config::{HostNames, NameGrammar, Proxy, Remote, ServerName, UpstreamHost};
use crate::oci::{NameError, RepositoryName, Tag, parse_relaxed_name};
use crate::telemetry::Metrics;

/// The configured upstreams, by the names of repositories.
#[derive(Debug)]
pub struct Routes {
    default: Option<DefaultUpstream>,
    /// `proxy.upstreams`
    named: Vec<NamedUpstream>,
    names: HostNames,
    /// `proxy.immutable`, where there is no default upstream.
    pushed: Images,
}

#[derive(Debug)]
struct DefaultUpstream {
    upstream: Arc<Upstream>,
    settings: Remote,
    /// The hosts by which clients name it.
    hosts: Vec<UpstreamHost>,
}

#[derive(Debug)]
struct NamedUpstream {
    upstream: Arc<Upstream>,
    settings: Remote,
    host: UpstreamHost,
    component: String,
}

/// The hosts that a client's request has beside the name of a repository.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHosts<'a> {
    /// containerd's `?ns=`: the host that the reference to the image begins with. With a port or without.
    pub ns: Option<&'a str>,
    /// The host that the client called, with a port or without.
    pub called: Option<&'a str>,
}

/// The names of an upstream.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamNames<'a> {
    /// The upstream.
    pub upstream: &'a Arc<Upstream>,
    /// The hosts by which clients name it. Docker Hub's count as one.
    pub hosts: &'a [UpstreamHost],
    /// The names of pounce that stand for it.
    pub hostnames: &'a [ServerName],
    /// The first component of its repositories' names here; `None` for the default upstream.
    pub component: Option<&'a str>,
    /// Only Ollama uses it.
    pub is_for_ollama: bool,
}

impl<'a> UpstreamNames<'a> {
    /// All hosts that stand for it, its own first.
    pub fn all_hosts(self) -> impl Iterator<Item = &'a str> {
        self.hosts.iter().map(UpstreamHost::as_str).chain(self.hostnames.iter().map(ServerName::as_str))
    }
}

/// Why a client's name is that of no repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The host is no upstream.
    NoUpstream,
    /// The name with the host of its upstream is not valid: it is too long.
    Name(NameError),
}

impl Routes {
    /// The upstreams that the configuration names. Those of `before` that have the same settings stay.
    ///
    /// # Errors
    /// The system's TLS certificates cannot be read.
    pub(super) fn new(proxy: &Proxy, metrics: &Arc<Metrics>, before: Option<&Self>) -> Result<Self, UpstreamError> {
        let upstream = |remote: &Remote, component: Option<&str>| {
            if let Some(same) = before.and_then(|before| before.with_settings(remote, component)) {
                return Ok(Arc::clone(same));
            }
            let stall = proxy.fill.stalltimeout;
            Upstream::new(remote, component.map(str::to_owned), stall, metrics).map(Arc::new)
        };
        let mut named: Vec<NamedUpstream> = Vec::new();
        for remote in &proxy.upstreams {
            // A loaded configuration has a host for each.
            let Some(host) = remote.host.clone() else {
                continue;
            };
            let (component, settings) = (host.component(), remote.clone());
            let upstream = upstream(remote, Some(&component))?;
            named.push(NamedUpstream { upstream, settings, host, component });
        }
        let default = if proxy.remoteurl.is_some() {
            let (settings, hosts) = (proxy.own(), proxy.default_hosts());
            Some(DefaultUpstream { upstream: upstream(&settings, None)?, settings, hosts })
        } else {
            None
        };
        Ok(Self { default, named, names: proxy.host_names(), pushed: Images::new(&proxy.own(), false) })
    }

    /// The upstream with these settings, whose repositories' names begin with this component.
    fn with_settings(&self, remote: &Remote, component: Option<&str>) -> Option<&Arc<Upstream>> {
        if let Some(component) = component {
            let named = self.named.iter().find(|named| named.component == component && named.settings == *remote);
            return named.map(|named| &named.upstream);
        }
        let default = self.default.as_ref().filter(|default| default.settings == *remote);
        default.map(|default| &default.upstream)
    }

    /// The upstream of a repository, if there is one.
    #[must_use]
    pub fn of(&self, name: &RepositoryName) -> Option<&Arc<Upstream>> {
        match self.named(name.as_str()) {
            Some(named) => Some(&named.upstream),
            None => self.default.as_ref().map(|default| &default.upstream),
        }
    }

    /// Whether a tag stays what it is once it is stored (`immutable`), also one that is pushed.
    #[must_use]
    pub fn fix(&self, name: &RepositoryName, tag: &Tag) -> bool {
        match self.of(name) {
            Some(upstream) => upstream.fixes(name, tag),
            None => self.pushed.fix(name.as_str(), tag),
        }
    }

    /// The repository that a client names by `name` in a request with these hosts. `ns` counts before a host in the
    /// name, and that before the host that the client called, which stands for an upstream only where nothing else
    /// names one.
    ///
    /// # Errors
    /// See [`Unresolved`].
    pub fn repository(&self, name: RepositoryName, hosts: RequestHosts<'_>) -> Result<RepositoryName, Unresolved> {
        if self.default.is_none() && self.named.is_empty() {
            return Ok(name);
        }
        if let Some(ns) = hosts.ns {
            return self.in_namespace(&name, ns);
        }
        let rest = self.names.resolve(name.as_str()).ok_or(Unresolved::NoUpstream)?;
        match self.called(name.as_str(), hosts) {
            Some(named) => named.repository(&name),
            None => rest_of(&name, rest),
        }
    }

    /// Reads a name as a client writes it in a request with these hosts, in the grammar of the upstream that they
    /// select.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse_name(&self, text: &str, hosts: RequestHosts<'_>) -> Result<RepositoryName, NameError> {
        let strict = text.parse();
        if strict.is_ok() || self.named.iter().all(|named| named.settings.names == NameGrammar::Strict) {
            return strict;
        }
        let named = match hosts.ns {
            Some(ns) => self.named_by(ns),
            None => self.named(text).or_else(|| self.called(text, hosts)),
        };
        let Some(named) = named.filter(|named| named.settings.names == NameGrammar::Relaxed) else {
            return strict;
        };
        let own = HostNames::without_host(text, &named.component);
        let escaped = parse_relaxed_name(own)?;
        if own.len() == text.len() {
            return Ok(escaped);
        }
        format!("{}/{escaped}", named.component).parse().map_err(|_| NameError::EscapedTooLong)
    }

    /// Whether the host that a client called can stand for an upstream.
    #[must_use]
    pub fn have_hostnames(&self) -> bool {
        self.named.iter().any(|named| !named.settings.hostnames.is_empty())
    }

    /// Whether a host, with a port or without, is one by which clients name an upstream.
    #[must_use]
    pub fn has_host(&self, host: &str) -> bool {
        let default = self.default.as_ref().zip(host.parse::<UpstreamHost>().ok());
        self.named_by(host).is_some() || default.is_some_and(|(default, host)| default.hosts.contains(&host))
    }

    /// The hosts before the names of repositories.
    #[must_use]
    pub const fn host_names(&self) -> &HostNames {
        &self.names
    }

    /// The names of every upstream, the default one first.
    pub fn names(&self) -> impl Iterator<Item = UpstreamNames<'_>> {
        let default = self.default.iter().map(|default| UpstreamNames {
            upstream: &default.upstream,
            hosts: &default.hosts,
            hostnames: &[],
            component: None,
            is_for_ollama: default.upstream.is_for_ollama(),
        });
        default.chain(self.named.iter().map(|named| UpstreamNames {
            upstream: &named.upstream,
            hosts: std::slice::from_ref(&named.host),
            hostnames: &named.settings.hostnames,
            component: Some(&named.component),
            is_for_ollama: named.upstream.is_for_ollama(),
        }))
    }

    /// Every upstream, the default one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        let default = self.default.iter().map(|default| &default.upstream);
        default.chain(self.named.iter().map(|named| &named.upstream))
    }

    fn in_namespace(&self, name: &RepositoryName, ns: &str) -> Result<RepositoryName, Unresolved> {
        if let Some(named) = self.named_by(ns) {
            return named.repository(name);
        }
        let own = rest_of(name, self.names.without_default(name.as_str()))?;
        if self.has_host(ns) && self.named(own.as_str()).is_none() { Ok(own) } else { Err(Unresolved::NoUpstream) }
    }

    /// The further upstream that goes by this host, its own or one that stands for it.
    fn named_by(&self, host: &str) -> Option<&NamedUpstream> {
        let own = host.parse::<UpstreamHost>().ok();
        let by_own = own.and_then(|own| self.named.iter().find(|named| named.host == own));
        by_own.or_else(|| self.named_for(host))
    }

    /// The further upstream that a name of pounce stands for. It allocates nothing, because the fast path calls it.
    fn named_for(&self, host: &str) -> Option<&NamedUpstream> {
        self.named.iter().find(|named| named.settings.hostnames.iter().any(|name| name.is_called_by(host)))
    }

    /// The further upstream that the called host stands for, unless the name begins with the host of an upstream.
    fn called(&self, name: &str, hosts: RequestHosts<'_>) -> Option<&NamedUpstream> {
        let named = self.named_for(hosts.called?)?;
        let has_host = self.names.without_default(name).len() < name.len() || self.named(name).is_some();
        (!has_host).then_some(named)
    }

    /// The further upstream whose host a name begins with.
    fn named(&self, name: &str) -> Option<&NamedUpstream> {
        let begins_with = |host: &str| name.strip_prefix(host).is_some_and(|rest| rest.starts_with('/'));
        self.named.iter().find(|named| begins_with(&named.component))
    }
}

impl NamedUpstream {
    /// The repository that has this name at the upstream. A client may repeat the upstream's host before it.
    fn repository(&self, name: &RepositoryName) -> Result<RepositoryName, Unresolved> {
        let own = HostNames::without_host(name.as_str(), &self.component);
        format!("{}/{own}", self.component).parse().map_err(Unresolved::Name)
    }
}

/// The rest of a name, from one of its slashes on.
fn rest_of(name: &RepositoryName, rest: &str) -> Result<RepositoryName, Unresolved> {
    if rest.len() == name.as_str().len() {
        return Ok(name.clone());
    }
    rest.parse().map_err(Unresolved::Name)
}
