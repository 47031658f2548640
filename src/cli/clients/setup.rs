//! What the node shall do: which images it pulls through which registry.

use super::ask::Said;
use super::registry_url::RegistryUrl;
use crate::config::{ServerName, UpstreamHost};

/// How many hosts an answer may have, because each becomes files of the node, made as root: more than one registry has
/// upstreams, and far less than an answer of a megabyte could name.
const MAX_HOSTS: usize = 64;

/// The registry, and the upstreams for which it is a mirror.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) registry: RegistryUrl,
    /// The CA of the registry, in PEM.
    pub(super) ca: Option<String>,
    pub(super) mirrored: Vec<Mirrored>,
    /// What the user has to know, whatever the client.
    pub(super) notes: Vec<String>,
}

/// A host whose images come through the registry.
#[derive(Clone, Debug)]
pub(super) struct Mirrored {
    pub(super) host: UpstreamHost,
    /// Its repositories have plain names at the registry.
    pub(super) is_default: bool,
    /// The registry says that it answers for it.
    pub(super) is_listed: bool,
    /// A name of the registry that stands for it.
    pub(super) hostname: Option<ServerName>,
    /// Pulls need no login.
    pub(super) is_anonymous: bool,
}

impl Setup {
    /// `named` are the hosts of `--upstream`; without any, it is all that the registry says.
    ///
    /// # Errors
    /// A sentence: the upstreams are not known or too many, or the registry does not answer for one that is named.
    pub(super) fn new(
        registry: RegistryUrl,
        ca: Option<String>,
        said: Said,
        named: &[UpstreamHost],
    ) -> Result<Self, String> {
        let mut notes = Vec::new();
        let mut mirrored: Vec<Mirrored> = Vec::new();
        let lists = said.upstreams.is_some();
        let mut upstreams = said.upstreams.unwrap_or_default();
        upstreams.retain(|it| named.is_empty() || it.hosts.iter().any(|host| named.contains(host)));
        let count: usize = upstreams.iter().map(|it| it.hosts.len()).sum();
        if count > MAX_HOSTS {
            return Err(format!(
                "{registry} says that it answers for {count} hosts, and a node takes {MAX_HOSTS} at most: name those \
                 that it needs by --upstream HOST"
            ));
        }
        for upstream in upstreams {
            if upstream.ollama {
                let hosts = list(&upstream.hosts);
                notes.push(format!(
                    "{hosts} is left out: Ollama has no mirrors. It pulls by name, as in `ollama pull {}/…`",
                    upstream.hostnames.first().map_or("<a name in proxy.upstreams[].hostnames>", ServerName::as_str)
                ));
                continue;
            }
            for host in upstream.hosts {
                if mirrored.iter().all(|known| known.host != host) {
                    let hostname = upstream.hostnames.first().cloned();
                    let (is_default, is_anonymous) = (upstream.default, upstream.anonymous);
                    mirrored.push(Mirrored { host, is_default, is_listed: true, hostname, is_anonymous });
                }
            }
        }
        if !lists && named.is_empty() {
            return Err(if said.hides_upstreams {
                format!(
                    "{registry} tells its upstreams to users only: log in by --user NAME, or name the upstreams by \
                     --upstream HOST"
                )
            } else {
                format!(
                    "{registry} does not say for which upstreams it answers: it is no pounce, or an older one. Name \
                     them by --upstream HOST"
                )
            });
        }
        if !named.is_empty() && lists {
            if let Some(unknown) = named.iter().find(|host| mirrored.iter().all(|it| it.host != **host)) {
                let unknown = unknown.as_str();
                return Err(format!(
                    "{registry} does not answer for {unknown}, or not to this client: clients would pass it by in \
                     silence. Its operator can add the host to proxy.upstreams; --user NAME asks as a user"
                ));
            }
            mirrored.retain(|it| named.contains(&it.host));
        } else if !lists {
            // The names with the host are those of the default upstream's repositories, too.
            let is_anonymous = !said.wants_login && !said.hides_upstreams;
            let new = |host: &UpstreamHost| Mirrored {
                host: host.clone(),
                is_default: false,
                is_listed: false,
                hostname: None,
                is_anonymous,
            };
            mirrored = named.iter().map(new).collect();
        }
        if mirrored.is_empty() {
            return Err(format!("{registry} answers for no upstream from which this client may pull"));
        }
        Ok(Self { registry, ca, mirrored, notes })
    }

    /// The hosts from which pulls need a login.
    pub(super) fn behind_login(&self) -> Vec<&UpstreamHost> {
        self.mirrored.iter().filter(|it| !it.is_anonymous).map(|it| &it.host).collect()
    }

    /// Whether clients have to be told how to reach the registry itself, where images are pulled from it by name.
    pub(super) fn is_special(&self) -> bool {
        self.ca.is_some() || self.registry.is_plain()
    }

    /// The sentence for a client that sends a mirror its credentials, `how` to give them.
    pub(super) fn login_note(&self, client: &str, how: &str) -> Option<String> {
        let hosts = self.behind_login();
        if hosts.is_empty() {
            return None;
        }
        Some(format!(
            "{client}: pulls of {} need a login, and without one the mirror is passed by in silence: {how}. {}",
            list(hosts.iter().copied()),
            rule(&hosts)
        ))
    }
}

/// The rule that lets clients pull from these hosts without a login, as a sentence.
pub(super) fn rule(hosts: &[&UpstreamHost]) -> String {
    let patterns: Vec<_> = hosts.iter().map(|host| format!("\"{}/**\"", host.component())).collect();
    format!(
        "Or its operator lets every client pull them by a first entry of auth.rules: {{ users: [anonymous], \
         repositories: [{}], actions: [pull] }} (where there were no rules, users then need one, too: docs/security.md)",
        patterns.join(", ")
    )
}

/// Hosts, for a sentence.
pub(super) fn list<'a>(hosts: impl IntoIterator<Item = &'a UpstreamHost>) -> String {
    let hosts: Vec<_> = hosts.into_iter().map(UpstreamHost::as_str).collect();
    hosts.join(", ")
}
