//! Authorization by `auth.rules`: the first rule that matches user and repository decides.
//!
//! A rule whose pattern begins with the host of an upstream is about that upstream's content: it grants nothing on a
//! repository that holds pushed content, and allows no push. If it has no actions, it forbids whatever a repository
//! holds; otherwise a push beside the content would lift the ban.

use crate::config::{ANONYMOUS, HostNames, PatternScope, RepositoryPattern, Rule};
use crate::oci::{Action, RepositoryName, unmarked_name};

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
    /// `hosts`: see [`Access::open`](super::Access::open).
    pub(super) fn new(rules: &[Rule], hosts: &HostNames) -> Self {
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

    /// The actions that a rule gives in some repository to clients without a login, or to any client.
    pub(super) fn actions(&self, with_login: bool) -> Vec<Action> {
        let of = self.rules.iter().filter(|it| with_login || it.rule.names_anonymous());
        of.flat_map(|it| it.rule.actions.iter().copied()).collect()
    }

    /// Whether a user may pull from any repository at all, as far as the rules decide.
    pub(super) fn may_pull_somewhere(&self, user: Option<&str>) -> bool {
        let may = |user: Option<&str>| {
            self.rules.iter().any(|it| matches_user(&it.rule, user) && it.rule.actions.contains(&Action::Pull))
        };
        may(None) || (user.is_some() && may(user))
    }

    /// Whether a user may pull from every repository: a rule without patterns allows it, and none before it forbids any.
    pub(super) fn may_pull_everywhere(&self, user: Option<&str>) -> bool {
        let may = |user: Option<&str>| {
            for it in self.rules.iter().filter(|it| matches_user(&it.rule, user)) {
                match (it.rule.actions.contains(&Action::Pull), &it.repositories) {
                    (true, None) => return true,
                    (true, Some(_)) => {}
                    (false, _) => return false,
                }
            }
            false
        };
        may(None) || (user.is_some() && may(user))
    }

    /// Whether a user may pull from any repository of an upstream, as far as the rules decide: the default one's, or
    /// those of the further upstream whose repositories have `host` as their first component.
    pub(super) fn may_pull_from(&self, user: Option<&str>, host: Option<&str>) -> bool {
        let may = |user: Option<&str>| {
            for it in self.rules.iter().filter(|it| matches_user(&it.rule, user)) {
                match it.extent(host) {
                    Extent::Some | Extent::All if it.rule.actions.contains(&Action::Pull) => return true,
                    Extent::Nothing | Extent::Some => {}
                    // The rules behind it never decide.
                    Extent::All => return false,
                }
            }
            false
        };
        may(None) || (user.is_some() && may(user))
    }

    /// Whether a user may do something in a repository that holds pushed content, or does not. A user may do whatever a
    /// client without a login may. `None` if `holds_pushed` is needed and unknown.
    pub(super) fn allow(
        &self,
        user: Option<&str>,
        name: &RepositoryName,
        action: Action,
        holds_pushed: Option<bool>,
    ) -> Option<bool> {
        if self.rules.is_empty() {
            return Some(false);
        }
        let decide = |pushed| self.decide(user, name, action, pushed);
        if let Some(pushed) = holds_pushed {
            return Some(decide(pushed));
        }
        let pushed = decide(true);
        (pushed == decide(false)).then_some(pushed)
    }

    fn decide(&self, user: Option<&str>, name: &RepositoryName, action: Action, pushed: bool) -> bool {
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
        let allow = |user: Option<&str>| {
            let first = self.rules.iter().find(|it| it.matches(user, &repository));
            first.is_some_and(|it| it.rule.actions.contains(&action))
        };
        allow(None) || (user.is_some() && allow(user))
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

    fn matches(&self, user: Option<&str>, repository: &Repository<'_>) -> bool {
        let is_about = |content: Content| match content {
            Content::All => true,
            Content::OfDefaultUpstream if repository.is_further => false,
            Content::OfDefaultUpstream | Content::OfFurtherUpstream => {
                !repository.pushed || self.rule.actions.is_empty()
            }
        };
        let matches = |(content, pattern): &(Content, RepositoryPattern)| {
            let unmarked = repository.unmarked_name.as_ref().filter(|_| self.rule.actions.is_empty());
            let mut others = repository.other_name.iter().chain(unmarked);
            is_about(*content) && (pattern.matches(repository.name) || others.any(|it| pattern.matches(it)))
        };
        let repositories = self.repositories.as_ref();
        matches_user(&self.rule, user) && repositories.is_none_or(|all| all.iter().any(matches))
    }
}

fn matches_user(rule: &Rule, user: Option<&str>) -> bool {
    let matches = rule.users.iter().any(|pattern| match user {
        None => pattern.as_str() == ANONYMOUS,
        Some(user) => pattern.matches(user),
    });
    matches || rule.binds_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &[&str]) -> Rules {
        let rule = |text: &&str| serde_saphyr::from_str(text).unwrap();
        let rules: Vec<Rule> = yaml.iter().map(rule).collect();
        let proxy = "{remoteurl: 'https://registry-1.docker.io', upstreams: [{host: ghcr.io}]}";
        let proxy: crate::config::Proxy = serde_saphyr::from_str(proxy).unwrap();
        Rules::new(&rules, &proxy.host_names())
    }

    fn allowed(rules: &Rules, user: Option<&str>, name: &str, action: Action) -> bool {
        let decided = rules.allow(user, &name.parse().unwrap(), action, None);
        decided.expect("what the repository holds does not matter")
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = rules(&[
            "{users: [mallory], actions: []}",
            "{users: ['ci-*'], repositories: ['team/*'], actions: [pull, push]}",
            "{users: ['*'], repositories: ['team/**'], actions: [pull]}",
            "{users: [root], actions: [pull, push, delete]}",
        ]);
        let cases = [
            ("ci-1", "team/app", Action::Push, true),
            ("ci-1", "team/app/sub", Action::Push, false),
            ("ci-1", "team/app/sub", Action::Pull, true),
            ("ci-1", "other", Action::Pull, false),
            ("mallory", "team/app", Action::Pull, false),
            // The third one fits first.
            ("root", "team/app", Action::Push, false),
            ("root", "other", Action::Delete, true),
        ];
        for (user, name, action, expected) in cases {
            let is = allowed(&rules, Some(user), name, action);
            assert_eq!(is, expected, "{user} {name} {action:?}");
            assert!(!allowed(&rules, None, name, action));
        }
        assert!(!rules.admit_anonymous() && !rules.may_pull_somewhere(None));
        assert!(rules.may_pull_somewhere(Some("root")));
        let everywhere =
            [None, Some("root"), Some("ci-1"), Some("mallory")].map(|user| rules.may_pull_everywhere(user));
        assert_eq!(everywhere, [false, true, false, false]);
    }

    #[test]
    fn upstreams_of_which_a_user_may_pull_something() {
        // The rules, the user, and whether it may pull from the default upstream and from ghcr.io.
        let cases: [(&[&str], Option<&str>, bool, bool); 12] = [
            (&["{users: [anonymous], repositories: ['docker.io/**'], actions: [pull]}"], None, true, false),
            (&["{users: [anonymous], repositories: ['docker.io/**'], actions: [pull]}"], Some("ci"), true, false),
            (&["{users: [anonymous], repositories: ['ghcr.io/org/*'], actions: [pull]}"], None, false, true),
            (&["{users: [ci], repositories: ['**'], actions: [pull]}"], Some("ci"), true, true),
            (&["{users: [ci], repositories: ['**'], actions: [pull]}"], None, false, false),
            (&["{users: [ci], actions: [push]}", "{users: ['*'], actions: [pull]}"], Some("ci"), false, false),
            (&["{users: [ci], repositories: ['*.io/x'], actions: [pull]}"], Some("ci"), true, true),
            (&["{users: [ci], repositories: ['team/**'], actions: [pull]}"], Some("ci"), true, false),
            (
                &["{users: [ci], repositories: ['ghcr.io/**'], actions: []}", "{users: [ci], actions: [pull]}"],
                Some("ci"),
                true,
                false,
            ),
            (
                &["{users: [ci], repositories: ['ghcr.io/a/**'], actions: []}", "{users: [ci], actions: [pull]}"],
                Some("ci"),
                true,
                true,
            ),
            (
                &["{users: [ci], repositories: ['docker.io/**'], actions: []}", "{users: [ci], actions: [pull]}"],
                Some("ci"),
                false,
                true,
            ),
            (&[], Some("ci"), false, false),
        ];
        for (yaml, user, default, further) in cases {
            let rules = rules(yaml);
            let may = |host| rules.may_pull_from(user, host);
            assert_eq!((may(None), may(Some("ghcr.io"))), (default, further), "{yaml:?} {user:?}");
        }
    }

    #[test]
    fn a_rule_that_allows_nothing_counts_for_all_spellings() {
        let rules = rules(&[
            "{users: [ci], repositories: ['acme/**'], actions: []}",
            "{users: [ci], repositories: ['**'], actions: [pull]}",
            "{users: [me], repositories: ['acme/**'], actions: [pull]}",
        ]);
        // `Acme` is another spelling of `acme`, where names are relaxed.
        for name in ["acme/app", "acme--x8/app", "acme/app--x8"] {
            assert!(!allowed(&rules, Some("ci"), name, Action::Pull), "{name}");
            assert_eq!(allowed(&rules, Some("me"), name, Action::Pull), name.starts_with("acme/"), "{name}");
        }
        assert!(allowed(&rules, Some("ci"), "acme--x80/app", Action::Pull));
    }

    #[test]
    fn a_rule_on_a_host_is_about_what_comes_from_there() {
        let rules = rules(&[
            "{users: ['*'], repositories: ['docker.io/private/**'], actions: []}",
            "{users: [anonymous], repositories: ['docker.io/**', 'public/**'], actions: [pull, delete]}",
            "{users: [admin], actions: [pull, push]}",
        ]);
        let allow = |user, name: &str, action, holds| rules.allow(user, &name.parse().unwrap(), action, holds);
        let admin = Some("admin");
        for action in [Action::Pull, Action::Delete] {
            assert_eq!(allow(None, "team/app", action, None), None);
            assert_eq!(allow(None, "team/app", action, Some(true)), Some(false));
            assert_eq!(allow(None, "team/app", action, Some(false)), Some(true));
            assert_eq!(allow(None, "public/app", action, None), Some(true));
            assert_eq!(allow(None, "ghcr.io/team/app", action, None), Some(false));
        }
        assert_eq!(allow(None, "team/app", Action::Push, None), Some(false));
        // The next rule decides about pushes, and about what was pushed.
        assert_eq!(allow(admin, "team/app", Action::Push, None), Some(true));
        assert_eq!(allow(admin, "team/app", Action::Pull, None), Some(true));
        // What is forbidden is so whatever is pushed there, but not for clients that do not log in.
        assert_eq!(allow(admin, "private/app", Action::Push, None), Some(false));
        assert_eq!(allow(admin, "private/app", Action::Pull, Some(true)), Some(false));
    }

    #[test]
    fn official_repositories_have_one_name_for_the_rules() {
        let rules = rules(&[
            "{users: ['*'], repositories: ['library/secret', busybox], actions: []}",
            "{users: ['*'], repositories: ['library/**', app], actions: [pull, push]}",
        ]);
        let allow = |name: &str, action, holds| rules.allow(Some("a"), &name.parse().unwrap(), action, holds);
        for name in ["secret", "library/secret", "busybox", "library/busybox"] {
            assert_eq!(allow(name, Action::Pull, Some(false)), Some(false), "{name}");
        }
        for name in ["alpine", "library/alpine", "app", "library/app"] {
            assert_eq!(allow(name, Action::Pull, Some(false)), Some(true), "{name}");
        }
        // What was pushed has the name by which it was pushed.
        assert_eq!(allow("alpine", Action::Pull, Some(true)), Some(false));
        assert_eq!(allow("alpine", Action::Pull, None), None);
        assert_eq!(allow("alpine", Action::Push, None), Some(false));
        assert_eq!(allow("app", Action::Push, None), Some(true));
    }

    #[test]
    fn what_anybody_may_do_users_may_do_too() {
        let rules = rules(&[
            "{users: [anonymous], repositories: [secret], actions: []}",
            "{users: [anonymous], repositories: ['public/**'], actions: [pull]}",
            "{users: [alice], actions: [push]}",
        ]);
        let (alice, anybody) = (Some("alice"), None);
        assert!(rules.admit_anonymous() && rules.may_pull_somewhere(anybody));
        let cases = [
            (anybody, "public/app", Action::Pull, true),
            (alice, "public/app", Action::Pull, true),
            (alice, "public/app", Action::Push, true),
            (alice, "private/app", Action::Pull, false),
            (anybody, "public/app", Action::Push, false),
            (anybody, "private/app", Action::Pull, false),
            // That binds every user.
            (alice, "secret", Action::Push, false),
        ];
        for (user, name, action, expected) in cases {
            assert_eq!(allowed(&rules, user, name, action), expected, "{user:?} {name} {action:?}");
        }
        // All users are those that log in.
        let everyone = super::tests::rules(&["{users: ['*'], actions: [pull]}"]);
        assert!(!allowed(&everyone, None, "public/app", Action::Pull));
    }
}
