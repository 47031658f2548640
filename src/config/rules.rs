//! `auth.rules`. A rule that has no effect is an error at start, because an operator would find it out too late.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::bucket_keys::BUCKET;
use super::error::ConfigError;
use super::host_names::{HostNames, PatternScope};
use super::lists;
use super::patterns::{RepositoryPattern, UserPattern, is_literal};
use crate::oci::Action;

/// One of `auth.rules`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The users: names, with `*` in them; or `anonymous`, which is clients without a login. What these may do, every
    /// user may do. A rule for `anonymous` without actions binds every user. Users of an OIDC provider match `*`, and
    /// patterns that begin with its name and a colon; users with keys of the bucket, `*` and `bucket:` patterns.
    #[serde(deserialize_with = "lists::list")]
    pub users: Vec<UserPattern>,
    /// The repositories: `*` is within a component of the name, `**` any components. Left out, all. A pattern that
    /// begins with the host of an upstream is about that upstream's content.
    #[serde(deserialize_with = "lists::some")]
    pub repositories: Option<Vec<RepositoryPattern>>,
    /// The networks from which the users come (CIDR), as `http.trustedproxies` lets them be known. Left out, all.
    #[serde(deserialize_with = "lists::some")]
    pub networks: Option<Vec<IpNet>>,
    /// What the users may do there; none forbids everything.
    #[serde(deserialize_with = "lists::list")]
    pub actions: Vec<Action>,
}

/// In a rule's users: clients without a login. No user has this name.
pub const ANONYMOUS: &str = "anonymous";

/// A user pattern and a repository pattern of a rule; `None` means all repositories.
type Part<'a> = (&'a UserPattern, Option<&'a RepositoryPattern>);

impl Rule {
    /// Whether it is about clients without a login.
    #[must_use]
    pub fn names_anonymous(&self) -> bool {
        self.users.iter().any(|user| user.as_str() == ANONYMOUS)
    }

    /// Whether it forbids everything to everyone.
    #[must_use]
    pub fn binds_all(&self) -> bool {
        self.names_anonymous() && self.actions.is_empty()
    }

    /// Whether it decides about everything that a part of a later rule is about. `forbids`: the later one has no
    /// actions.
    fn covers(&self, (user, repositories): Part<'_>, forbids: bool, hosts: &HostNames) -> bool {
        let is_anonymous = |pattern: &UserPattern| pattern.as_str() == ANONYMOUS;
        let covers = |wide: &UserPattern| match (is_anonymous(wide), is_anonymous(user)) {
            (false, false) => wide.covers_users(user),
            (wide, narrow) => wide && narrow,
        };
        let users = self.binds_all() || self.users.iter().any(covers);
        users && self.covers_repositories(repositories, forbids, hosts)
    }

    fn covers_repositories(&self, narrow: Option<&RepositoryPattern>, forbids: bool, hosts: &HostNames) -> bool {
        let Some(wide) = &self.repositories else {
            return true;
        };
        let Some(narrow) = narrow else {
            return wide.iter().any(|pattern| pattern.as_str() == "**");
        };
        let covers = |wide: &RepositoryPattern| match (hosts.scope_of(wide), hosts.scope_of(narrow)) {
            (PatternScope::All, _) => hosts.resolve_pattern(narrow).is_some_and(|narrow| wide.covers(&narrow)),
            (wide_scope, narrow_scope) => {
                let patterns = hosts.resolve_pattern(wide).zip(hosts.resolve_pattern(narrow));
                // A rule that forbids is also about pushed content.
                wide_scope == narrow_scope
                    && (self.actions.is_empty() || !forbids)
                    && patterns.is_some_and(|(wide, narrow)| wide.covers(&narrow))
            }
        };
        wide.iter().any(covers)
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.users.iter().flat_map(|user| {
            let listed = self.repositories.iter().flatten().map(Some);
            let all = self.repositories.is_none().then_some(None);
            listed.chain(all).map(move |repositories| (user, repositories))
        })
    }

    /// Whether it is about all networks that the later one is about.
    fn covers_networks(&self, later: &Self) -> bool {
        match (&self.networks, &later.networks) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => narrow.iter().all(|narrow| wide.iter().any(|wide| wide.contains(narrow))),
        }
    }

    /// The index of the last of the rules before it that are needed to cover it; `None` if they do not.
    fn covered_by(&self, before: &[Self], hosts: &HostNames) -> Option<usize> {
        let forbids = self.actions.is_empty();
        let by = |part| before.iter().position(|rule| rule.covers_networks(self) && rule.covers(part, forbids, hosts));
        let by: Option<Vec<usize>> = self.parts().map(by).collect();
        by?.into_iter().max()
    }
}

/// Checks rules, for upstreams with these hosts. `kinds`: what names of users may begin with, before a colon.
///
/// # Errors
/// A rule has no effect, or another one than it seems to have.
pub(super) fn check(rules: &[Rule], hosts: &HostNames, kinds: &[&str]) -> Result<(), ConfigError> {
    for (index, rule) in rules.iter().enumerate() {
        let forbids_users =
            rule.actions.is_empty() && rule.users.iter().any(|user| user.as_str() == "*") && !rule.names_anonymous();
        let allows_anonymous = |rule: &Rule| !rule.actions.is_empty() && rule.names_anonymous();
        if forbids_users && rules[index + 1..].iter().any(allows_anonymous) {
            let message = "* is those who log in: a later rule allows anonymous clients what this one forbids; \
                           write [\"*\", anonymous]";
            return Err(ConfigError::value(format!("auth.rules.{index}.users"), message));
        }
    }
    for (index, rule) in rules.iter().enumerate() {
        let setting = |field: &str| format!("auth.rules.{index}.{field}");
        if rule.users.is_empty() {
            let message = "is missing: names of users, \"*\" for all of them, or anonymous";
            return Err(ConfigError::value(setting("users"), message));
        }
        let is_unknown = |name: &&str| !kinds.contains(name);
        if let Some(name) = rule.users.iter().filter_map(UserPattern::provider).find(is_unknown) {
            let message = if name == BUCKET {
                "auth.bucketkeys is not true, and no other user's name begins so".to_owned()
            } else {
                format!("there is no {name} in auth.oidc, and no other user has a colon in its name")
            };
            return Err(ConfigError::value(setting("users"), message));
        }
        for pattern in rule.repositories.iter().flatten() {
            let checked = check_host(pattern, rule, hosts);
            checked.map_err(|message| ConfigError::value(setting("repositories"), message))?;
        }
        if let Some(by) = rule.covered_by(&rules[..index], hosts) {
            let message = format!(
                "never decides, because the rules up to auth.rules.{by} fit everything that it fits, and come first: put \
                 it before that one, or take it out"
            );
            return Err(ConfigError::value(format!("auth.rules.{index}"), message));
        }
    }
    Ok(())
}

/// Checks a pattern that begins with a host: there must be an upstream with this host.
fn check_host(pattern: &RepositoryPattern, rule: &Rule, hosts: &HostNames) -> Result<(), String> {
    let (first, rest) = pattern.first_component();
    let text = pattern.as_str();
    if hosts.resolve_pattern(pattern).is_none() {
        return Err(format!("{text}: no repository has this name: write {first}/**, or what stands behind one host"));
    }
    if hosts.scope_of(pattern) != PatternScope::All {
        return if rule.actions.contains(&Action::Push) {
            Err(format!(
                "{text}: what is pushed is not content of {first}, which this is about: write a rule with push that names \
                 the repositories without a host, as in team/**"
            ))
        } else {
            Ok(())
        };
    }
    let looks_like_host = first.contains('.') || first == "localhost";
    if rest.is_none() || !looks_like_host || hosts.is_empty() {
        return Ok(());
    }
    if !is_literal(first) {
        return Err(format!(
            "{text}: write the host out, because a pattern in its place would be about pushed repositories, too"
        ));
    }
    let listed = hosts.list();
    Err(format!("{text}: no upstream has the host {first}: proxy.upstreams can name it; there are {listed}"))
}
