//! The hosts that clients may write before the names of upstreams' repositories, and names without them.

use super::hosts::UpstreamHost;
use super::patterns::RepositoryPattern;

/// The hosts by which clients and rules name upstreams, each as the first component of a repository's name.
#[derive(Clone, Debug, Default)]
pub struct HostNames {
    /// Of the default upstream. Its repositories have no host in the bucket.
    default: Vec<String>,
    /// Of the further upstreams. Their repositories have it in the bucket, too.
    further: Vec<String>,
    /// The prefixes of Docker Hub's official repositories, whose `library/` is optional: a further host and a slash, or
    /// nothing if Docker Hub is the default upstream.
    official: Vec<String>,
}

/// Which content a pattern of a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatternScope<'a> {
    /// All content of the repositories.
    All,
    /// Content of the default upstream.
    Default,
    /// Content of the further upstream with this host.
    Further(&'a str),
}

impl HostNames {
    /// Adds a host of the default upstream. Those of Docker Hub stand for each other.
    pub(super) fn add_default(&mut self, host: &UpstreamHost) {
        let hub = UpstreamHost::DOCKER_HUB;
        if host.as_str() == hub[0] {
            self.default.extend(hub.map(str::to_owned));
        } else {
            self.default.push(host.component());
        }
    }

    /// Adds the host of a further upstream.
    pub(super) fn add_further(&mut self, host: &UpstreamHost) {
        self.further.push(host.component());
    }

    /// The repositories of Docker Hub begin with this host, or with none.
    pub(super) fn add_docker_hub(&mut self, host: Option<&UpstreamHost>) {
        self.official.push(host.map_or_else(String::new, |host| format!("{}/", host.component())));
    }

    /// Whether there is no upstream.
    pub(super) const fn is_empty(&self) -> bool {
        self.default.is_empty() && self.further.is_empty()
    }

    /// All hosts, for a message.
    pub(super) fn list(&self) -> String {
        [self.default.as_slice(), &self.further].concat().join(", ")
    }

    /// Which content a pattern is about, by its first component.
    #[must_use]
    pub fn scope_of(&self, pattern: &RepositoryPattern) -> PatternScope<'_> {
        let (first, _) = pattern.first_component();
        if self.is_default(first) {
            return PatternScope::Default;
        }
        let further = self.further.iter().find(|host| *host == first);
        further.map_or(PatternScope::All, |host| PatternScope::Further(host))
    }

    /// The pattern for names as they are in the bucket; `None` if no name can match.
    #[must_use]
    pub fn resolve_pattern(&self, pattern: &RepositoryPattern) -> Option<RepositoryPattern> {
        let (first, _) = pattern.first_component();
        let rest = self.without_default(pattern.as_str());
        let is_host = self.is_default(rest) || self.further.iter().any(|host| host == rest);
        let is_anothers = self.is_default(first) && self.is_further(rest);
        if is_host || is_anothers {
            return None;
        }
        let rest = self.further_host(rest).map_or(rest, |host| with_host_once(rest, host));
        // The rest of a valid pattern behind a slash is valid.
        rest.parse().ok()
    }

    /// Whether a name in the bucket is that of a further upstream's repository.
    #[must_use]
    pub fn is_further(&self, name: &str) -> bool {
        self.further_host(name).is_some()
    }

    /// Whether a name begins with something like a host that is no further upstream's: perhaps that of one which was
    /// removed from the configuration.
    #[must_use]
    pub fn looks_further(&self, name: &str) -> bool {
        let Some((first, _)) = name.split_once('/') else {
            return false;
        };
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
        let has_port = first.rsplit_once('_').is_some_and(|(_, port)| is_number(port));
        !self.is_further(name) && (first.contains('.') || first == "localhost" || has_port)
    }

    /// The name in the bucket: without hosts of the default upstream, or with one host of a further upstream. A client
    /// may repeat a host, and means the same repository. `None` if a host of the default upstream precedes that of a
    /// further one.
    #[must_use]
    pub fn resolve<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = self.without_default(name);
        if let Some(host) = self.further_host(rest) {
            return (rest.len() == name.len()).then(|| with_host_once(rest, host));
        }
        Some(rest)
    }

    /// The name without hosts of the default upstream.
    #[must_use]
    pub fn without_default<'a>(&self, name: &'a str) -> &'a str {
        without_leading(name, |first| self.is_default(first))
    }

    /// The name without this host before it.
    #[must_use]
    pub fn without_host<'a>(name: &'a str, host: &str) -> &'a str {
        without_leading(name, |first| first == host)
    }

    /// The other spelling of an official repository of Docker Hub: with `library/`, or without.
    #[must_use]
    pub fn other_spelling(&self, name: &str) -> Option<String> {
        self.official.iter().find_map(|prefix| {
            let own = name.strip_prefix(prefix.as_str())?;
            match own.split_once('/') {
                None => Some(format!("{prefix}library/{own}")),
                Some(("library", own)) if !own.contains('/') => Some(format!("{prefix}{own}")),
                Some(_) => None,
            }
        })
    }

    fn is_default(&self, component: &str) -> bool {
        self.default.iter().any(|host| host == component)
    }

    fn further_host(&self, name: &str) -> Option<&str> {
        let (first, _) = name.split_once('/')?;
        self.further.iter().find(|host| *host == first).map(String::as_str)
    }
}

/// A name that begins with a host, without repetitions of it.
fn with_host_once<'a>(name: &'a str, host: &str) -> &'a str {
    let rest = HostNames::without_host(name, host);
    &name[name.len() - rest.len() - host.len() - 1..]
}

/// The name without the leading components that are hosts, but not without its last component.
fn without_leading(name: &str, is_host: impl Fn(&str) -> bool) -> &str {
    let mut rest = name;
    while let Some((first, behind)) = rest.split_once('/')
        && is_host(first)
    {
        rest = behind;
    }
    rest
}
