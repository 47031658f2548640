//! `auth.rules`, and what has to hold of them: a rule that does nothing is a mistake, which would be found out too
//! late.

use serde::{Deserialize, Serialize};

use super::host_names::{HostNames, Place};
use super::patterns::{RepositoryPattern, UserPattern, is_literal};
use super::{ConfigError, lists};
use crate::oci::Action;

/// One of `auth.rules`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// The users that it is about: names, `*` in them; or `anonymous`, which is clients that do not log in. What these
    /// may do, every user may do. A rule for `anonymous` without actions binds every user.
    #[serde(deserialize_with = "lists::list")]
    pub users: Vec<UserPattern>,
    /// The repositories that it is about: `*` is within a component of the name, `**` any components. Left out, all. A
    /// pattern that begins with the host of an upstream is about that upstream's content.
    #[serde(deserialize_with = "lists::some")]
    pub repositories: Option<Vec<RepositoryPattern>>,
    /// What they may do there; without any, nothing.
    #[serde(deserialize_with = "lists::list")]
    pub actions: Vec<Action>,
}

/// In a rule's users: clients that do not log in. No user can be called that.
pub const ANONYMOUS: &str = "anonymous";

impl Rule {
    /// Whether it is about clients that do not log in.
    #[must_use]
    pub fn names_anonymous(&self) -> bool {
        self.users.iter().any(|user| user.as_str() == ANONYMOUS)
    }

    /// Whether it forbids something to everybody.
    #[must_use]
    pub fn binds_all(&self) -> bool {
        self.names_anonymous() && self.actions.is_empty()
    }

    /// Whether it decides for all users and repositories of these patterns, of a rule with or without actions that
    /// comes after it.
    fn covers(&self, (user, repositories): Part<'_>, forbids: bool, hosts: &HostNames) -> bool {
        let is_anonymous = |pattern: &UserPattern| pattern.as_str() == ANONYMOUS;
        let covers = |wide: &UserPattern| match (is_anonymous(wide), is_anonymous(user)) {
            (false, false) => wide.covers(user),
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
        let covers = |wide: &RepositoryPattern| match (hosts.place(wide), hosts.place(narrow)) {
            (Place::Anywhere, _) => hosts.settle_pattern(narrow).is_some_and(|narrow| wide.covers(&narrow)),
            (wide_place, narrow_place) => {
                let patterns = hosts.settle_pattern(wide).zip(hosts.settle_pattern(narrow));
                // One that forbids is also about what was pushed.
                wide_place == narrow_place
                    && (self.actions.is_empty() || !forbids)
                    && patterns.is_some_and(|(wide, narrow)| wide.covers(&narrow))
            }
        };
        wide.iter().any(covers)
    }

    /// Every pair of patterns that it is about; without repositories, all of them.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.users.iter().flat_map(|user| {
            let listed = self.repositories.iter().flatten().map(Some);
            let all = self.repositories.is_none().then_some(None);
            listed.chain(all).map(move |repositories| (user, repositories))
        })
    }

    /// The last of the rules before it that decide about all that it is about, if they do, together.
    fn covered_by(&self, before: &[Self], hosts: &HostNames) -> Option<usize> {
        let forbids = self.actions.is_empty();
        let by = |part| before.iter().position(|rule| rule.covers(part, forbids, hosts));
        let by: Option<Vec<usize>> = self.parts().map(by).collect();
        by?.into_iter().max()
    }
}

/// Users and repositories of a rule, one pattern of each; `None`: all repositories.
type Part<'a> = (&'a UserPattern, Option<&'a RepositoryPattern>);

/// What is wrong with rules, for these upstreams.
pub(super) fn check(rules: &[Rule], hosts: &HostNames) -> Result<(), ConfigError> {
    for (index, rule) in rules.iter().enumerate() {
        let setting = |field: &str| format!("auth.rules.{index}.{field}");
        if rule.users.is_empty() {
            let message = "is missing: names of users, \"*\" for all of them, or anonymous";
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

/// A pattern that begins with a host is about that upstream, and there has to be one.
fn check_host(pattern: &RepositoryPattern, rule: &Rule, hosts: &HostNames) -> Result<(), String> {
    let (first, rest) = pattern.first_component();
    let place = hosts.place(pattern);
    if hosts.settle_pattern(pattern).is_none() {
        return Err(format!(
            "{}: no repository has this name: write {first}/**, or what stands behind one host",
            pattern.as_str()
        ));
    }
    match place {
        Place::Anywhere => {
            let looks_like_host = first.contains('.') || first == "localhost";
            if rest.is_none() || !looks_like_host || hosts.is_empty() {
                return Ok(());
            }
            if !is_literal(first) {
                return Err(format!(
                    "{}: write the host out, because a pattern in its place would be about pushed repositories, too",
                    pattern.as_str()
                ));
            }
            Err(format!(
                "{}: no upstream has the host {first}: proxy.upstreams can name it; there are {}",
                pattern.as_str(),
                hosts.list()
            ))
        }
        Place::Default | Place::Further(_) if rule.actions.contains(&Action::Push) => Err(format!(
            "{}: what is pushed is not content of {first}, which this is about: write a rule with push that names the \
             repositories without a host, as in team/**",
            pattern.as_str()
        )),
        Place::Default | Place::Further(_) => Ok(()),
    }
}
