//! `auth.rules`: the first one that fits user and repository decides.

use crate::config::{Action, RepositoryPattern, Rule};
use crate::oci::RepositoryName;

/// In a rule's users: everybody, those too who do not say who they are. No user can be called that.
pub(super) const ANONYMOUS: &str = "anonymous";

/// The rules, in their order.
#[derive(Clone, Debug)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    /// `hosts`: see [`Access::open`](super::Access::open).
    pub(super) fn new(rules: &[Rule], hosts: &[String]) -> Self {
        let mut rules = rules.to_vec();
        let patterns = rules.iter_mut().filter_map(|it| it.repositories.as_mut());
        for pattern in patterns.flatten() {
            // A part of a valid pattern, from a slash on, is a valid one.
            if let Ok(settled) = plain(pattern.as_str(), hosts).parse() {
                *pattern = settled;
            }
        }
        Self(rules)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether anything is allowed to those who do not say who they are.
    pub(super) fn admit_anonymous(&self) -> bool {
        let names_them = |rule: &Rule| rule.users.iter().any(|user| user.as_str() == ANONYMOUS);
        self.0
            .iter()
            .any(|rule| names_them(rule) && !rule.actions.is_empty())
    }

    /// Whether a user may do something. Whoever says who they are may do no less than who does not.
    pub(super) fn allow(&self, user: Option<&str>, name: &RepositoryName, action: Action) -> bool {
        let allow = |user: Option<&str>| {
            let first = self.0.iter().find(|rule| fits(rule, user, name));
            first.is_some_and(|rule| rule.actions.contains(&action))
        };
        allow(None) || (user.is_some() && allow(user))
    }
}

fn fits(rule: &Rule, user: Option<&str>, name: &RepositoryName) -> bool {
    let user_fits = rule.users.iter().any(|pattern| match user {
        None => pattern.as_str() == ANONYMOUS,
        Some(user) => pattern.matches(user),
    });
    let fits = |pattern: &RepositoryPattern| pattern.matches(name.as_str());
    let repositories = rule.repositories.as_ref();
    user_fits && repositories.is_none_or(|patterns| patterns.iter().any(fits))
}

/// The name without the host of the default upstream, which repositories do not have here.
pub(super) fn plain<'a>(name: &'a str, hosts: &[String]) -> &'a str {
    let rest = |host: &String| name.strip_prefix(host.as_str())?.strip_prefix('/');
    hosts.iter().find_map(rest).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &[&str]) -> Rules {
        let rule = |text: &&str| serde_saphyr::from_str(text).unwrap();
        let rules: Vec<Rule> = yaml.iter().map(rule).collect();
        Rules::new(&rules, &["docker.io".to_owned()])
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = rules(&[
            "{users: [mallory], actions: []}",
            "{users: ['ci-*'], repositories: ['team/*', 'ghcr.io/**'], actions: [pull, push]}",
            "{users: ['*'], repositories: ['team/**'], actions: [pull]}",
            "{users: [root], actions: [pull, push, delete]}",
        ]);
        let cases = [
            ("ci-1", "team/app", Action::Push, true),
            ("ci-1", "team/app/sub", Action::Push, false),
            ("ci-1", "team/app/sub", Action::Pull, true),
            ("ci-1", "ghcr.io/a/b/c", Action::Push, true),
            ("ci-1", "other", Action::Pull, false),
            ("mallory", "team/app", Action::Pull, false),
            // The third one fits first.
            ("root", "team/app", Action::Push, false),
            ("root", "other", Action::Delete, true),
        ];
        for (user, name, action, allowed) in cases {
            let name = name.parse().unwrap();
            assert_eq!(
                rules.allow(Some(user), &name, action),
                allowed,
                "{user} {name} {action:?}"
            );
            assert!(!rules.allow(None, &name, action));
        }
        assert!(!rules.admit_anonymous());
    }

    #[test]
    fn names_are_settled_as_those_of_requests_are() {
        let rules = rules(&[
            "{users: ['*'], repositories: ['docker.io/private/**'], actions: []}",
            "{users: ['*'], actions: [pull]}",
        ]);
        let allow = |name: &str| {
            let name = name.parse().unwrap();
            rules.allow(Some("org/alice"), &name, Action::Pull)
        };
        assert!(!allow("private/app") && allow("library/alpine") && allow("ghcr.io/private/app"));
    }

    #[test]
    fn what_anybody_may_do_users_may_do_too() {
        let rules = rules(&[
            "{users: [anonymous], repositories: ['public/**'], actions: [pull]}",
            "{users: [alice], actions: [push]}",
        ]);
        let (public, private) = ("public/app".parse().unwrap(), "private".parse().unwrap());
        assert!(rules.admit_anonymous() && rules.allow(None, &public, Action::Pull));
        assert!(rules.allow(Some("alice"), &public, Action::Pull));
        assert!(rules.allow(Some("alice"), &public, Action::Push));
        assert!(!rules.allow(Some("alice"), &private, Action::Pull));
        assert!(
            !rules.allow(None, &public, Action::Push) && !rules.allow(None, &private, Action::Pull)
        );
        // All users are those who say who they are.
        let everyone = super::tests::rules(&["{users: ['*'], actions: [pull]}"]);
        assert!(!everyone.allow(None, &public, Action::Pull));
    }
}
