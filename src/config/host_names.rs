//! The hosts that stand before the names of upstreams' repositories, and what a name is without them.

use super::hosts::UpstreamHost;
use super::patterns::RepositoryPattern;
use super::proxy::Proxy;

/// The hosts by which clients and rules name upstreams, each as the first component of a repository's name.
#[derive(Clone, Debug, Default)]
pub struct HostNames {
    /// Of the default upstream, whose repositories have no host in the bucket.
    default: Vec<String>,
    /// Of the further ones, whose repositories have it there, too.
    further: Vec<String>,
    /// What stands before the official repositories of Docker Hub, which need not say `library/`: a further host and a
    /// slash, or nothing where Docker Hub is the default upstream.
    official: Vec<String>,
}

/// What a pattern of a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// Repositories of this name, whatever they hold.
    Anywhere,
    /// Content of the default upstream.
    Default,
    /// Content of a further upstream, whose repositories begin with this.
    Further(&'a str),
}

impl HostNames {
    /// Whether there is no upstream.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.default.is_empty() && self.further.is_empty()
    }

    /// All of them in a sentence.
    pub(super) fn list(&self) -> String {
        let all: Vec<&str> = self.default.iter().chain(&self.further).map(String::as_str).collect();
        all.join(", ")
    }

    /// What a pattern is about: it begins with a host, or does not.
    #[must_use]
    pub fn place(&self, pattern: &RepositoryPattern) -> Place<'_> {
        let (first, _) = pattern.first_component();
        if self.is_default(first) {
            return Place::Default;
        }
        let further = self.further.iter().find(|host| *host == first);
        further.map_or(Place::Anywhere, |host| Place::Further(host))
    }

    /// The pattern for names as the bucket has them; `None`: no name fits.
    #[must_use]
    pub fn settle_pattern(&self, pattern: &RepositoryPattern) -> Option<RepositoryPattern> {
        let (first, behind) = pattern.first_component();
        let is_host = self.place(pattern) != Place::Anywhere;
        if behind.is_none() && is_host {
            return None;
        }
        let rest = self.without_default(pattern.as_str());
        let is_alone = self.is_default(rest) || self.further.iter().any(|host| host == rest);
        let is_anothers = self.is_default(first) && self.is_further(rest);
        if is_alone || is_anothers {
            return None;
        }
        let rest = self.further_host(rest).map_or(rest, |host| once(rest, host));
        // What is behind a slash of a valid pattern is a valid one.
        rest.parse().ok()
    }

    /// Whether a repository's name in the bucket is one of a further upstream's.
    #[must_use]
    pub fn is_further(&self, name: &str) -> bool {
        self.further_host(name).is_some()
    }

    /// Whether a name that no further upstream has begins with something that could be the host of one: that of a
    /// further upstream which was taken out of the configuration.
    #[must_use]
    pub fn looks_further(&self, name: &str) -> bool {
        let Some((first, _)) = name.split_once('/') else {
            return false;
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let has_port = first.rsplit_once('_').is_some_and(|(_, port)| is_number(port));
        !self.is_further(name) && (first.contains('.') || first == "localhost" || has_port)
    }

    /// A name as the bucket has it: without hosts of the default upstream before it, and with one host of a further
    /// one. A client may write a host as often as it likes, and means the same repository. `None`: behind a host of the
    /// default upstream stands one of another.
    #[must_use]
    pub fn settle<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = self.without_default(name);
        if let Some(host) = self.further_host(rest) {
            return (rest.len() == name.len()).then(|| once(rest, host));
        }
        Some(rest)
    }

    /// The same of a name behind a further host, which a client names beside it.
    #[must_use]
    pub fn settle_behind<'a>(&self, name: &'a str, host: &str) -> &'a str {
        let mut rest = name;
        while let Some((first, behind)) = rest.split_once('/')
            && first == host
        {
            rest = behind;
        }
        rest
    }

    /// The name without the hosts of the default upstream before it, which repositories do not have here.
    #[must_use]
    pub fn without_default<'a>(&self, name: &'a str) -> &'a str {
        let mut rest = name;
        while let Some((first, behind)) = rest.split_once('/')
            && self.is_default(first)
        {
            rest = behind;
        }
        rest
    }

    /// The other spelling of an official repository of Docker Hub: with `library/`, or without.
    #[must_use]
    pub fn other_spelling(&self, name: &str) -> Option<String> {
        let of = |prefix: &String| {
            let own = name.strip_prefix(prefix.as_str())?;
            match own.split_once('/') {
                None => Some(format!("{prefix}library/{own}")),
                Some(("library", own)) if !own.contains('/') => Some(format!("{prefix}{own}")),
                Some(_) => None,
            }
        };
        self.official.iter().find_map(of)
    }

    fn is_default(&self, component: &str) -> bool {
        self.default.iter().any(|host| host == component)
    }

    fn further_host(&self, name: &str) -> Option<&str> {
        let (first, _) = name.split_once('/')?;
        self.further.iter().find(|host| *host == first).map(String::as_str)
    }
}

/// A name that begins with a host, which stands there once.
fn once<'a>(name: &'a str, host: &str) -> &'a str {
    let mut name = name;
    while let Some((_, behind)) = name.split_once('/')
        && behind.split_once('/').is_some_and(|(next, _)| next == host)
    {
        name = behind;
    }
    name
}

impl Proxy {
    /// The names by which clients know the default upstream, where there is one: those of `host`, or else its own. One
    /// without a public name, an address or a host of some private network, stands for Docker Hub, as plain names do in
    /// references. What a further upstream is called is none of them.
    #[must_use]
    pub fn default_hosts(&self) -> Vec<UpstreamHost> {
        let Some(remote) = &self.remoteurl else {
            return Vec::new();
        };
        let mut hosts = self.host.clone();
        if hosts.is_empty() {
            let (base, port) = (remote.base(), remote.base().port());
            let own = base.host_str().unwrap_or_default();
            let is_public = own.contains('.') && own.parse::<std::net::IpAddr>().is_err();
            let own = port.map_or_else(|| own.to_owned(), |port| format!("{own}:{port}"));
            let hub = UpstreamHost::DOCKER_HUB.iter().filter(|_| !is_public);
            let names = std::iter::once(own.as_str()).chain(hub.copied());
            hosts = names.filter_map(|name| name.parse().ok()).collect();
            hosts.dedup();
        }
        hosts.retain(|host| self.upstreams.iter().all(|it| it.host.as_ref() != Some(host)));
        hosts
    }

    /// The hosts of all upstreams.
    #[must_use]
    pub fn host_names(&self) -> HostNames {
        let mut names = HostNames::default();
        for host in self.default_hosts() {
            names.default.extend(spellings(&host));
        }
        let own = self.remoteurl.as_ref().filter(|url| url.prefix().is_none());
        let is_hub = |host: Option<&str>| host.is_some_and(|it| UpstreamHost::DOCKER_HUB.contains(&it));
        if own.is_some_and(|url| is_hub(url.base().host_str())) {
            names.official.push(String::new());
        }
        for remote in &self.upstreams {
            let Some(host) = &remote.host else {
                continue;
            };
            names.further.push(host.component());
            let elsewhere = remote.remoteurl.as_ref();
            let hub = elsewhere.map_or_else(
                || is_hub(Some(host.as_str())),
                |url| url.prefix().is_none() && is_hub(url.base().host_str()),
            );
            if hub {
                names.official.push(format!("{}/", host.component()));
            }
        }
        names
    }
}

/// The components by which names may say a host: Docker Hub has several.
fn spellings(host: &UpstreamHost) -> Vec<String> {
    let hub = UpstreamHost::DOCKER_HUB;
    if host.as_str() == hub[0] {
        return hub.map(str::to_owned).to_vec();
    }
    vec![host.component()]
}
