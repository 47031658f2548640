use super::*;

fn rules(yaml: &[&str]) -> Rules {
    let rule = |text: &&str| serde_saphyr::from_str(text).unwrap();
    let rules: Vec<Rule> = yaml.iter().map(rule).collect();
    let proxy = "{remoteurl: 'https://registry-1.docker.io', upstreams: [{host: ghcr.io}]}";
    let proxy: crate::config::Proxy = serde_saphyr::from_str(proxy).unwrap();
    Rules::new(&rules, &proxy.host_names(), true)
}

/// A client whose address is not known.
fn of(user: Option<&str>) -> Client<'_> {
    Client { user, address: None }
}

fn allowed(rules: &Rules, user: Option<&str>, name: &str, action: Action) -> bool {
    let decided = rules.allow(of(user), &name.parse().unwrap(), action, None);
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
    assert!(!rules.admit_anonymous() && !rules.may_pull_somewhere(of(None)));
    assert!(rules.may_pull_somewhere(of(Some("root"))));
    let everywhere =
        [None, Some("root"), Some("ci-1"), Some("mallory")].map(|user| rules.may_pull_everywhere(of(user)));
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
        let may = |host| rules.may_pull_from(of(user), host);
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
    let allow = |user, name: &str, action, holds| rules.allow(of(user), &name.parse().unwrap(), action, holds);
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
    let allow = |name: &str, action, holds| rules.allow(of(Some("a")), &name.parse().unwrap(), action, holds);
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
    assert!(rules.admit_anonymous() && rules.may_pull_somewhere(of(anybody)));
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
    let everyone = self::rules(&["{users: ['*'], actions: [pull]}"]);
    assert!(!allowed(&everyone, None, "public/app", Action::Pull));
}

#[test]
fn a_rule_with_networks_is_about_clients_from_there() {
    let rules = rules(&[
        "{users: [anonymous, '*'], networks: [10.6.6.0/24], actions: []}",
        "{users: [anonymous], networks: ['10.0.0.0/8', 'fd00::/8'], actions: [pull]}",
        "{users: [ci], networks: [192.0.2.0/24], actions: [push]}",
        "{users: [ci], actions: [delete]}",
    ]);
    let app = "app".parse().unwrap();
    let may = |user, address: Option<&str>| {
        let client = Client { user, address: address.map(|it| it.parse().unwrap()) };
        let may = Action::ALL.into_iter().filter(|action| rules.allow(client, &app, *action, None) == Some(true));
        may.map(Action::as_str).collect::<Vec<_>>().join(",")
    };
    let cases = [
        (None, Some("10.1.2.3"), "pull"),
        (None, Some("fd00::1"), "pull"),
        (None, Some("192.0.2.1"), ""),
        (None, Some("10.6.6.6"), ""),
        // No address is in a network that allows something, and every one in a network that is forbidden.
        (None, None, ""),
        (Some("ci"), None, ""),
        (Some("ci"), Some("10.6.6.6"), ""),
        (Some("ci"), Some("10.1.2.3"), "pull,delete"),
        (Some("ci"), Some("192.0.2.1"), "push"),
        (Some("ci"), Some("203.0.113.1"), "delete"),
        (Some("other"), Some("10.1.2.3"), "pull"),
        (Some("other"), Some("203.0.113.1"), ""),
    ];
    for (user, address, expected) in cases {
        assert_eq!(may(user, address), expected, "{user:?} {address:?}");
    }
}

#[test]
fn users_of_a_provider_match_its_patterns_and_the_one_for_all() {
    let rules = rules(&[
        "{users: ['*admin', 'git*'], actions: [delete]}",
        "{users: ['github:my-org/*@refs/heads/main'], repositories: ['team/**'], actions: [pull, push]}",
        "{users: ['*'], actions: [pull]}",
    ]);
    for (user, push, delete) in [
        ("github:my-org/app@refs/heads/main", true, false),
        ("github:my-org/app@refs/heads/other", false, false),
        ("gitlab:my-org/app@refs/heads/main", false, false),
        ("github:evil/admin", false, false),
        ("the-admin", false, true),
        ("github", false, true),
    ] {
        assert_eq!(allowed(&rules, Some(user), "team/app", Action::Push), push, "{user}");
        assert_eq!(allowed(&rules, Some(user), "team/app", Action::Delete), delete, "{user}");
        assert_eq!(allowed(&rules, Some(user), "other", Action::Pull), !delete, "{user}");
    }
    // A token server's users may have colons, which mean nothing.
    let others = Rules { rules: vec![ResolvedRule { has_providers: false, ..rules.rules[0].clone() }], ..rules };
    assert!(allowed(&others, Some("github:evil/admin"), "team/app", Action::Delete));
}
