//! `storage.retention`, `storage.maxsize`, `storage.maintenance.gc` and `proxy.ttl`, as operators write them.

use std::time::Duration;

use pounce::config::{
    ByteSize, Config, ConfigError, ContentOrigin, Environment, Loaded, Origin, RepositoryPattern, TagPattern,
};

const UPSTREAMS: &str = "
proxy: {remoteurl: 'https://registry-1.docker.io', upstreams: [{host: ghcr.io}]}";

fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Config::parse(yaml, &variables.iter().copied().collect::<Environment>())
}

fn rules(rules: &str) -> Result<Loaded, ConfigError> {
    load(&format!("storage: {{retention: {rules}}}{UPSTREAMS}"), &[])
}

const fn hours(count: u64) -> Duration {
    Duration::from_hours(count)
}

#[test]
fn rules_come_from_a_file_or_from_variables() {
    let text = "[{repositories: ['team/**', app], from: any, unpulled: 720h, untagged: 7d, \
                keep: {newest: 10, tags: ['v*', stable]}}, {repositories: ['docker.io/**'], unpulled: 1h}]";
    let from_file = rules(text).unwrap();
    let variables = [
        ("REGISTRY_STORAGE_RETENTION_0_REPOSITORIES", "team/**, app"),
        ("REGISTRY_STORAGE_RETENTION_0_FROM", "Any"),
        ("REGISTRY_STORAGE_RETENTION_0_UNPULLED", "720h"),
        ("REGISTRY_STORAGE_RETENTION_0_UNTAGGED", "168h"),
        ("REGISTRY_STORAGE_RETENTION_0_KEEP_NEWEST", "10"),
        ("REGISTRY_STORAGE_RETENTION_0_KEEP_TAGS", "v*,stable"),
        ("REGISTRY_STORAGE_RETENTION_1_REPOSITORIES", "['docker.io/**']"),
        ("REGISTRY_STORAGE_RETENTION_1_UNPULLED", "1h"),
    ];
    let from_variables = load(UPSTREAMS, &variables).unwrap();
    for loaded in [&from_file, &from_variables] {
        let [first, second] = loaded.config.storage.retention.as_slice() else {
            panic!("{:?}", loaded.config.storage.retention);
        };
        let patterns: Vec<_> = first.repositories.iter().map(RepositoryPattern::as_str).collect();
        assert_eq!((patterns, first.from), (vec!["team/**", "app"], ContentOrigin::Any));
        assert_eq!((first.unpulled, first.untagged), (Some(hours(720)), Some(hours(168))));
        let tags: Vec<_> = first.keep.tags.iter().map(TagPattern::as_str).collect();
        assert_eq!((first.keep.newest, tags), (Some(10), vec!["v*", "stable"]));
        assert_eq!((second.from, second.unpulled), (ContentOrigin::Upstream, Some(hours(1))));
        assert_eq!((second.untagged, second.keep.newest), (None, None));
        assert_eq!(loaded.notices, Vec::<String>::new());
    }
    let path = "storage.retention.0.keep.newest";
    assert_eq!(from_file.origins.of(path), Origin::File);
    assert_eq!(from_variables.origins.of(path), Origin::Variable(variables[4].0.to_owned()));
    let shown = from_variables.settings();
    let (_, value, _) = shown.iter().find(|(key, ..)| key == "storage.retention.0.unpulled").unwrap();
    assert_eq!(value, "720h");
}

#[test]
fn a_rule_with_a_mistake_is_named() {
    let cases = [
        ("[{unpulled: 720h}]", "storage.retention.0.repositories: is missing"),
        ("[{repositories: [], unpulled: 720h}]", "storage.retention.0.repositories: is missing"),
        ("[{repositories: ['{a,b}'], unpulled: 720h}]", "storage.retention.0.repositories: {a,b}: { has no meaning"),
        ("[{repositories: ['**']}]", "storage.retention.0: lets nothing go: set unpulled"),
        ("[{repositories: ['**'], keep: {}}]", "storage.retention.0: lets nothing go"),
        ("[{repositories: ['**'], unpulled: 0s}]", "storage.retention.0.unpulled: is at least 1h"),
        ("[{repositories: ['**'], untagged: 59m}]", "storage.retention.0.untagged: is at least 1h"),
        ("[{repositories: ['**'], unpulled: -1h}]", "storage.retention.0.unpulled: not a duration"),
        ("[{repositories: ['**'], unpulled: 720}]", "storage.retention.0.unpulled: a duration needs a unit"),
        ("[{repositories: ['**'], unpulled: 99999h}]", "storage.retention.0.unpulled: not a duration"),
        ("[{repositories: ['**'], unpulled: 1h, from: cache}]", "storage.retention.0.from: unknown variant `cache`"),
        ("[{repositories: ['**'], keep: {newest: 0}}]", "storage.retention.0.keep.newest: is at least 1"),
        ("[{repositories: ['**'], keep: {newest: -3}}]", "storage.retention.0.keep.newest"),
        ("[{repositories: ['**'], keep: {newest: x}}]", "storage.retention.0.keep.newest: write a whole number"),
        (
            "[{repositories: ['**'], keep: {tags: ['v{1,2}']}}]",
            "storage.retention.0.keep.tags: v{1,2}: { has no meaning",
        ),
        ("[{repositories: ['**'], keep: {tags: ['a/b']}}]", "storage.retention.0.keep.tags: a/b: no tag fits"),
        ("[{repositories: [a, b, a], unpulled: 1h}]", "storage.retention.0.repositories: a stands there twice"),
        ("[{repositories: [a], unpulled: 1h, keep: {tags: [b, b]}}]", "keep.tags: b stands there twice"),
        ("[{repositories: ['ghcr.io'], unpulled: 1h}]", "no repository has this name: write ghcr.io/**"),
        ("[{repositories: ['docker.io/**'], from: any, unpulled: 1h}]", "what is pushed is not content of docker.io"),
        ("[{repositories: ['ghcr.io/a'], from: push, unpulled: 1h}]", "what is pushed is not content of ghcr.io"),
        ("[{repositories: ['**'], unpuled: 1h}]", "storage.retention.0.unpuled: there is no such setting"),
        ("{repositories: ['**']}", "storage.retention: must be a list of mappings"),
        // An earlier rule always decides, whatever it is from.
        (
            "[{repositories: ['**'], unpulled: 1h}, {repositories: ['team/**'], from: push, untagged: 2h}]",
            "storage.retention.1: never decides, because the rules up to storage.retention.0 fit every repository",
        ),
        (
            "[{repositories: [a], unpulled: 1h}, {repositories: ['b/*'], unpulled: 1h}, {repositories: [a, b/c], unpulled: 2h}]",
            "storage.retention.2: never decides, because the rules up to storage.retention.1",
        ),
        (
            "[{repositories: ['docker.io/**'], unpulled: 1h}, {repositories: ['docker.io/library/*'], unpulled: 2h}]",
            "storage.retention.1: never decides",
        ),
    ];
    for (text, expected) in cases {
        let error = rules(text).map(|loaded| loaded.config.storage.retention).expect_err(text).to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
    let many = format!("[{}]", vec!["{repositories: [a], unpulled: 1h}"; 1001].join(","));
    assert_eq!(rules(&many).unwrap_err().to_string(), "storage.retention: has more than 1000 rules");
}

#[test]
fn a_rule_that_sometimes_decides_is_none() {
    for text in [
        "[{repositories: ['team/*'], unpulled: 1h}, {repositories: ['team/**'], unpulled: 2h}]",
        // A rule that keeps its repositories from the next.
        "[{repositories: ['team/**'], keep: {tags: ['*']}}, {repositories: ['**'], from: any, unpulled: 1h}]",
        // Names without a host are also those of pushes.
        "[{repositories: ['docker.io/**'], unpulled: 1h}, {repositories: ['**'], from: any, unpulled: 2h}]",
        "[{repositories: ['docker.io/**'], unpulled: 1h}, {repositories: ['ghcr.io/**'], unpulled: 2h}]",
        "[{repositories: [a, a/b], unpulled: 1h}, {repositories: [a, c], unpulled: 1h}]",
        "[]",
        "null",
    ] {
        rules(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn sizes_have_units() {
    let size = |text: &str| {
        let loaded = load(&format!("storage: {{maxsize: {text}}}"), &[]);
        loaded.map(|it| it.config.storage.maxsize.map(ByteSize::bytes)).map_err(|error| error.to_string())
    };
    assert_eq!(size("2TiB"), Ok(Some(2 << 40)));
    assert_eq!(size("1.5 TB"), Ok(Some(1_500_000_000_000)));
    assert_eq!(size("1048576"), Ok(Some(1 << 20)));
    assert_eq!(size("null"), Ok(None));
    for text in ["2T", "-1", "lots", "2TiB/s"] {
        let error = size(text).expect_err(text);
        assert_eq!(error, "storage.maxsize: not a size, write it as 500GiB, 2TiB or a number of bytes", "{text}");
    }
    assert!(size("0").unwrap_err().starts_with("storage.maxsize: is more than 0"));
    let variable = load("", &[("REGISTRY_STORAGE_MAXSIZE", "500GiB")]).unwrap();
    assert_eq!(variable.config.storage.maxsize.unwrap().to_string(), "500GiB");
}

#[test]
fn the_delay_is_longer_than_a_url_lives() {
    let delay =
        |text: &str| load(&format!("storage: {text}"), &[]).map(|loaded| loaded.config.storage.deletion_delay());
    assert_eq!(delay("{}").unwrap(), hours(24));
    assert_eq!(delay("{redirect: {expiry: 168h}}").unwrap(), hours(169) + Duration::from_mins(10));
    assert_eq!(delay("{maintenance: {gc: {delay: 90m}}}").unwrap(), Duration::from_mins(90));
    let error = delay("{maintenance: {gc: {delay: 89m}}}").unwrap_err().to_string();
    let expected = "storage.maintenance.gc.delay: is at least 1h30m, because clients may use a URL of a blob for 20m \
                    (storage.redirect.expiry)";
    assert!(error.starts_with(expected), "{error}");
    assert!(delay("{redirect: {expiry: 48h}, maintenance: {gc: {delay: 24h}}}").is_err());
    let error = load("storage: {maintenance: {gc: {interval: 9m}}}", &[]).unwrap_err().to_string();
    assert_eq!(error, "storage.maintenance.gc.interval: rounds are at least 10m apart");
}

#[test]
fn the_ttl_counts_with_collection_only() {
    let ttl = |ttl: &str, enabled: bool| {
        let text = format!("proxy: {{ttl: {ttl}}}\nstorage: {{maintenance: {{gc: {{enabled: {enabled}}}}}}}");
        load(&text, &[])
    };
    // Distribution's sample.
    let idle = ttl("168h", false).unwrap();
    assert_eq!(idle.config.proxy.ttl, Some(hours(168)));
    let notice = "proxy.ttl does nothing without storage.maintenance.gc.enabled: what came from upstreams stays";
    assert_eq!(idle.notices, [notice]);
    assert_eq!(ttl("168h", true).unwrap().notices, Vec::<String>::new());
    for keeps in ["0", "0s", "null"] {
        for enabled in [false, true] {
            assert_eq!(ttl(keeps, enabled).unwrap().notices, Vec::<String>::new(), "{keeps}");
        }
    }
    // What was ignored before does no harm.
    ttl("1s", false).unwrap();
    assert!(ttl("1s", true).unwrap_err().to_string().starts_with("proxy.ttl: is at least 1h"));
    // As distribution reads it: nanoseconds.
    let notices = ttl("604800000000000", true).unwrap().notices;
    assert!(notices.len() == 1 && notices[0].contains("nanoseconds"), "{notices:?}");
    assert!(ttl("-1h", false).unwrap_err().to_string().starts_with("proxy.ttl: not a duration"));
}
