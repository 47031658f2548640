//! Which rule decides, and the budget.

use std::time::Duration;

use super::{about, ago, digest, repository};
use crate::config::{Config, Environment};
use crate::registry::cache::Origin::{Pushed, Upstream};
use crate::registry::gc::facts::{Reason, Verdict};
use crate::registry::gc::retention::Retention;

#[test]
fn the_first_rule_that_fits_decides() {
    let it =
        |name: &str| repository(name).has("mine", Pushed, 900).tag("1", 900).has("copy", Upstream, 900).tag("2", 900);
    let storage = "{retention: [{repositories: ['team/prod/**'], keep: {tags: ['*']}}, \
                   {repositories: ['team/*', 'x'], from: push, unpulled: 720h}, {repositories: ['**'], unpulled: 720h}]}";
    let expired = |name: &str| {
        let verdicts = it(name).decide(storage);
        let expired = |name| match verdicts.manifests[&digest(name)] {
            Verdict::Expired(reason) => Some(reason),
            Verdict::Keep | Verdict::Evictable(_) => None,
        };
        (expired("mine"), expired("copy"))
    };
    assert_eq!(expired("team/prod/a"), (None, None));
    assert_eq!(expired("team/a"), (Some(Reason::Rule(1)), None));
    assert_eq!(expired("x"), (Some(Reason::Rule(1)), None));
    assert_eq!(expired("team/a/b"), (None, Some(Reason::Rule(2))));
    assert_eq!(expired("other"), (None, Some(Reason::Rule(2))));
}

#[test]
fn a_pattern_with_the_host_of_the_default_upstream_is_about_names_without_one() {
    let text = "proxy: {remoteurl: 'https://registry-1.docker.io', upstreams: [{host: ghcr.io}]}\n\
                storage: {retention: [{repositories: ['docker.io/**'], unpulled: 720h}]}";
    let config = Config::parse(text, &Environment::default()).unwrap().config;
    let goes = |name: &str| {
        let it = repository(name).has("copy", Upstream, 900).tag("1", 900);
        !Retention::new(&config).decide(&it.facts, ago(0), it.recorded_since).expired_tags.is_empty()
    };
    assert!(goes("library/alpine") && goes("a"));
    assert!(!goes("ghcr.io/a/b"));
}

#[test]
fn the_ttl_is_a_last_rule() {
    let retention = |enabled: bool, ttl: &str| {
        let text = format!(
            "proxy: {{ttl: {ttl}}}\nstorage: {{maintenance: {{gc: {{enabled: {enabled}}}}}, \
             retention: [{{repositories: [kept], unpulled: 9000h}}]}}"
        );
        Retention::new(&Config::parse(&text, &Environment::default()).unwrap().config)
    };
    let it = |name: &str| {
        repository(name).has("copy", Upstream, 900).tag("1", 900).has("bare", Upstream, 900).has("mine", Pushed, 900)
    };
    let goes = |retention: Retention, name: &str| {
        let verdicts = retention.decide(&it(name).facts, ago(0), ago(9_000));
        verdicts.manifests.values().filter(|it| **it == Verdict::Expired(Reason::Ttl)).count()
    };
    assert_eq!(goes(retention(true, "168h"), "a/b"), 2);
    assert_eq!(goes(retention(true, "168h"), "kept"), 0);
    assert_eq!(goes(retention(false, "168h"), "a/b"), 0);
    assert_eq!(goes(retention(true, "0"), "a/b"), 0);
    assert_eq!(retention(true, "0").history(), Some(Duration::from_hours(9000)));
}

#[test]
fn history_goes_as_far_back_as_rules_ask() {
    let history = |storage: &str| {
        let config = Config::parse(&format!("storage: {storage}"), &Environment::default()).unwrap().config;
        Retention::new(&config).history().map(|it| it.as_secs() / 3600)
    };
    assert_eq!(history("{}"), None);
    assert_eq!(history("{retention: [{repositories: [a], from: push, keep: {newest: 3}}]}"), None);
    assert_eq!(history("{retention: [{repositories: [a], untagged: 7h}, {repositories: [b], unpulled: 3h}]}"), Some(7));
    assert_eq!(history("{maxsize: 1TiB}"), Some(90 * 24));
    assert_eq!(history("{maxsize: 1TiB, retention: [{repositories: [a], unpulled: 5000h}]}"), Some(5000));
}

#[test]
fn the_budget_takes_what_came_from_upstreams() {
    let it = repository("a")
        .has("mine", Pushed, 900)
        .tag("mine", 900)
        .has("mine-bare", Pushed, 900)
        .has("copy", Upstream, 900)
        .pulled(30)
        .tag("1", 800)
        .has("unpulled", Upstream, 900)
        .tag("2", 700)
        .has("bare", Upstream, 600);
    assert_eq!(it.evictable("{}"), "bare=600 copy=30 unpulled=700");
    // A rule keeps some of it.
    let rule = "{retention: [{repositories: ['**'], unpulled: 750h, keep: {tags: ['1']}}]}";
    assert_eq!(it.evictable(rule), "bare=600 unpulled=700");
    let rule = "{retention: [{repositories: ['**'], unpulled: 650h, keep: {newest: 1}}]}";
    assert_eq!(it.evictable(rule), "bare=600 copy=30");
    // A tag that a client pushed.
    let it = it.tag_of("held", "copy", Pushed, 900);
    assert_eq!(it.evictable("{}"), "bare=600 unpulled=700");
}

#[test]
fn the_budget_takes_no_child_before_its_index() {
    let it = repository("a")
        .has("amd64", Upstream, 900)
        .has("arm64", Upstream, 900)
        .pulled(5)
        .has("index", Upstream, 900)
        .of(&["amd64", "arm64"])
        .pulled(100)
        .tag("1", 900)
        .has("signature", Upstream, 900)
        .to("index")
        .pulled(3)
        .has("attached", Upstream, 900)
        .pulled(2)
        .tag(&about("index", ".sig"), 900);
    assert_eq!(it.evictable("{}"), "amd64=100 arm64=5 attached=100 index=100 signature=100");
    // A push needs some of it.
    let it = it.has("mine", Pushed, 900).of(&["amd64"]).tag("2", 900);
    assert_eq!(it.evictable("{}"), "arm64=5 attached=100 index=100 signature=100");
    // What is about a push stays with it.
    let it = repository("a").has("mine", Pushed, 900).tag("1", 900).has("about", Upstream, 900).to("mine");
    assert_eq!(it.evictable("{}"), "");
}
