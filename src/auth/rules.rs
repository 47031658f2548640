//! Authorization by `auth.rules`: the first rule that matches user and repository decides.
//!
//! A rule whose pattern begins with the host of an upstream is about that upstream's content: it grants nothing on a
//! repository that holds pushed content, and allows no push. If it has no actions, it forbids whatever a repository
//! holds; otherwise a push beside the content would lift the ban.

use std::net::IpAddr;

use crate::config::{ANONYMOUS, HostNames, PatternScope, RepositoryPattern, Rule, UserPattern};
use crate::oci::{Action, RepositoryName, unmarked_name};

/// A client, for matching: its user, and its address where that is certain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) address: Option<IpAddr>,
}

impl Client<'_> {
    const fn without_login(self) -> Self {
        Self { user: None, ..self }
    }
}

/// The rules, in their order.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    rules: Vec<ResolvedRule>,
    hosts: HostNames,
}

/// A rule with patterns for names as they are in the bucket.
#[derive(Clone, Debug)]
struct ResolvedRule {
    rule: Rule,
    /// Whether there are users of OIDC providers or with keys of the bucket: a colon is in their names, behind the
    /// provider's or `bucket`.
    has_providers: bool,
    repositories: Option<Vec<(Content, RepositoryPattern)>>,
}

/// The content that a pattern is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    All,
    OfDefaultUpstream,
    OfFurtherUpstream,
}

impl Rules {
    /// `hosts`: see [`Access::open`](super::Access::open). `has_providers`: whether there are OIDC providers, or keys of
    /// the bucket are logins.
    pub(super) fn new(rules: &[Rule], hosts: &HostNames, has_providers: bool) -> Self {
        let resolve = |pattern: &RepositoryPattern| {
            let content = match hosts.scope_of(pattern) {
                PatternScope::All => Content::All,
                PatternScope::Default => Content::OfDefaultUpstream,
                PatternScope::Further(_) => Content::OfFurtherUpstream,
            };
            // A loaded configuration has no pattern that cannot match.
            Some((content, hosts.resolve_pattern(pattern)?))
        };
        let resolved = rules.iter().map(|rule| ResolvedRule {
            rule: rule.clone(),
            has_providers,
            repositories: rule.repositories.as_ref().map(|all| all.iter().filter_map(resolve).collect()),
        });
        Self { rules: resolved.collect(), hosts: hosts.clone() }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether anything is allowed to clients without a login.
    pub(super) fn admit_anonymous(&self) -> bool {
        self.rules.iter().any(|it| it.rule.names_anonymous() && !it.rule.actions.is_empty())
    }

    /// Whether a rule is about some networks only.
    pub(super) fn name_networks(&self) -> bool {
        self.rules.iter().any(|it| it.rule.networks.is_some())
    }

    /// The actions that a rule gives in some repository to clients without a login, or to any client.
    pub(super) fn actions(&self, with_login: bool) -> Vec<Action> {
        let of = self.rules.iter().filter(|it| with_login || it.rule.names_anonymous());
        of.flat_map(|it| it.rule.actions.iter().copied()).collect()
    }

    /// Whether a client may pull from any repository at all, as far as the rules decide.
    pub(super) fn may_pull_somewhere(&self, client: Client<'_>) -> bool {
        let may = |client: Client<'_>| {
            self.rules.iter().any(|it| it.is_about(client) && it.rule.actions.contains(&Action::Pull))
        };
        may(client.without_login()) || (client.user.is_some() && may(client))
    }

    /// Whether a client may pull from every repository: a rule without patterns allows it, and none before it forbids any.
    pub(super) fn may_pull_everywhere(&self, client: Client<'_>) -> bool {
        let may = |client: Client<'_>| {
            for it in self.rules.iter().filter(|it| it.is_about(client)) {
                match (it.rule.actions.contains(&Action::Pull), &it.repositories) {
                    (true, None) => return true,
                    (true, Some(_)) => {}
                    (false, _) => return false,
                }
            }
            false
        };
        may(client.without_login()) || (client.user.is_some() && may(client))
    }

    /// Whether a client may pull from any repository of an upstream, as far as the rules decide: the default one's, or
    /// those of the further upstream whose repositories have `host` as their first component.
    pub(super) fn may_pull_from(&self, client: Client<'_>, host: Option<&str>) -> bool {
        let may = |client: Client<'_>| {
            for it in self.rules.iter().filter(|it| it.is_about(client)) {
                match it.extent(host) {
                    Extent::Some | Extent::All if it.rule.actions.contains(&Action::Pull) => return true,
                    Extent::Nothing | Extent::Some => {}
                    // The rules behind it never decide.
                    Extent::All => return false,
                }
            }
            false
        };
        may(client.without_login()) || (client.user.is_some() && may(client))
    }

    /// Whether a client may do something in a repository that holds pushed content, or does not. A user may do whatever
    /// a client without a login may, from the same address. `None` if `holds_pushed` is needed and unknown.
    pub(super) fn allow(
        &self,
        client: Client<'_>,
        name: &RepositoryName,
        action: Action,
        holds_pushed: Option<bool>,
    ) -> Option<bool> {
        if self.rules.is_empty() {
            return Some(false);
        }
        let decide = |pushed| self.decide(client, name, action, pushed);
        if let Some(pushed) = holds_pushed {
            return Some(decide(pushed));
        }
        let pushed = decide(true);
        (pushed == decide(false)).then_some(pushed)
    }

    fn decide(&self, client: Client<'_>, name: &RepositoryName, action: Action, pushed: bool) -> bool {
        // What is about to be pushed is no upstream's content.
        let pushed = pushed || action == Action::Push;
        let name = name.as_str();
        let repository = Repository {
            name,
            // Two names of one repository at Docker Hub.
            other_name: if pushed { None } else { self.hosts.other_spelling(name) },
            unmarked_name: unmarked_name(name),
            is_further: self.hosts.is_further(name),
            pushed,
        };
        let allow = |client: Client<'_>| {
            let first = self.rules.iter().find(|it| it.matches(client, &repository));
            first.is_some_and(|it| it.rule.actions.contains(&action))
        };
        allow(client.without_login()) || (client.user.is_some() && allow(client))
    }
}

/// A repository, for matching.
struct Repository<'a> {
    name: &'a str,
    other_name: Option<String>,
    /// Without the escapes of `names: relaxed`, for rules that allow nothing: an upstream that does not tell upper case
    /// from lower case has one repository for all spellings.
    unmarked_name: Option<String>,
    is_further: bool,
    pushed: bool,
}

/// How many of an upstream's repositories a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Nothing,
    Some,
    All,
}

impl ResolvedRule {
    /// How many repositories of an upstream the rule is about: see [`Rules::may_pull_from`].
    fn extent(&self, host: Option<&str>) -> Extent {
        let Some(patterns) = &self.repositories else {
            return Extent::All;
        };
        let all = host.map_or_else(|| "**".to_owned(), |host| format!("{host}/**"));
        let all: Option<RepositoryPattern> = all.parse().ok();
        let extent = |(content, pattern): &(Content, RepositoryPattern)| {
            let (first, _) = pattern.as_str().split_once('/').unwrap_or((pattern.as_str(), ""));
            let may_match = match (content, host) {
                (Content::All | Content::OfDefaultUpstream, None) => true,
                (Content::OfDefaultUpstream, Some(_)) | (Content::OfFurtherUpstream, None) => false,
                (Content::OfFurtherUpstream, Some(host)) => first == host,
                // The first component may have wildcards.
                (Content::All, Some(host)) => {
                    first == "**" || first.parse().is_ok_and(|first: RepositoryPattern| first.matches(host))
                }
            };
            match &all {
                _ if !may_match => Extent::Nothing,
                Some(all) if pattern.covers(all) => Extent::All,
                _ => Extent::Some,
            }
        };
        patterns.iter().map(extent).max().unwrap_or(Extent::Nothing)
    }

    fn matches(&self, client: Client<'_>, repository: &Repository<'_>) -> bool {
        let is_of = |content: Content| match content {
            Content::All => true,
            Content::OfDefaultUpstream if repository.is_further => false,
            Content::OfDefaultUpstream | Content::OfFurtherUpstream => {
                !repository.pushed || self.rule.actions.is_empty()
            }
        };
        let matches = |(content, pattern): &(Content, RepositoryPattern)| {
            let unmarked = repository.unmarked_name.as_ref().filter(|_| self.rule.actions.is_empty());
            let mut others = repository.other_name.iter().chain(unmarked);
            is_of(*content) && (pattern.matches(repository.name) || others.any(|it| pattern.matches(it)))
        };
        let repositories = self.repositories.as_ref();
        self.is_about(client) && repositories.is_none_or(|all| all.iter().any(matches))
    }

    /// Whether the rule is about a client. Where the address is not certain, a rule with networks is about the client
    /// only if it forbids. A pattern without a provider matches no user of one, unless it is `*`: a wildcard must not take
    /// the provider's name for the beginning of a user's.
    fn is_about(&self, client: Client<'_>) -> bool {
        let is_of = |pattern: &UserPattern| match client.user {
            None => pattern.as_str() == ANONYMOUS,
            Some(user) => {
                let provider = user.split_once(':').map(|(provider, _)| provider);
                let is_about = !self.has_providers || pattern.is_all() || pattern.provider() == provider;
                is_about && pattern.matches(user)
            }
        };
        let is_from = match (&self.rule.networks, client.address) {
            (None, _) => true,
            (Some(networks), Some(address)) => networks.iter().any(|network| network.contains(&address)),
            (Some(_), None) => self.rule.actions.is_empty(),
        };
        is_from && (self.rule.binds_all() || self.rule.users.iter().any(is_of))
    }
}

#[cfg(test)]
mod tests;
