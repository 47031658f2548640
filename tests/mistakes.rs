//! What is wrong with a configuration, in a sentence that names the setting.

use pounce::config::{Config, ConfigError, Environment, Loaded};

fn load(yaml: &str, variables: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Config::parse(yaml, &variables.iter().copied().collect::<Environment>())
}

fn refused(yaml: &str, variables: &[(&str, &str)]) -> String {
    match load(yaml, variables) {
        Ok(_) => panic!("{yaml} {variables:?}"),
        Err(error) => error.to_string(),
    }
}

/// A file, variables, and the setting that is to be named.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

#[test]
fn an_unknown_key_in_the_file_names_itself_and_the_nearest() {
    let cases = [
        (
            "storage: {s3: {buckett: x}}",
            "storage.s3.buckett",
            "storage.s3.bucket?",
        ),
        (
            "proxy: {remoteUrls: x}",
            "proxy.remoteUrls",
            "proxy.remoteurl?",
        ),
        ("storge: {}", "storge", "storage?"),
    ];
    for (yaml, key, nearest) in cases {
        let message = refused(yaml, &[]);
        assert!(
            message.starts_with(key) && message.ends_with(nearest),
            "{message}"
        );
    }
}

#[test]
fn an_unknown_variable_is_a_warning_that_names_the_nearest() {
    let notices = load(
        "",
        &[
            ("REGISTRY_STORAGE_S3_BUCKETT", "x"),
            ("REGISTRY_QQQ", "y"),
            // Of podman and its kin.
            ("REGISTRY_AUTH_FILE", "/x"),
            ("OTHER", "z"),
        ],
    )
    .unwrap()
    .notices;
    assert_eq!(notices.len(), 2, "{notices:?}");
    assert!(
        notices
            .iter()
            .any(|it| it.contains("REGISTRY_STORAGE_S3_BUCKETT")
                && it.ends_with("REGISTRY_STORAGE_S3_BUCKET?"))
    );
}

#[test]
fn wrong_values_name_their_setting() {
    let cases: &[Case] = &[
        ("storage: {s3: {region: auto}}", &[], "storage.s3.bucket"),
        ("storage: {s3: {bucket: b}}", &[], "storage.s3.region"),
        (
            "storage: {s3: {bucket: b, region: auto, accesskey: x}}",
            &[],
            "storage.s3.accesskey",
        ),
        ("storage: {s3: {chunksize: 5}}", &[], "storage.s3.chunksize"),
        (
            "storage: {redirect: {expiry: 8d}}",
            &[],
            "storage.redirect.expiry",
        ),
        (
            "storage: {redirect: {expiry: 90}}",
            &[],
            "storage.redirect.expiry",
        ),
        ("proxy: {tagttl: 500000000000y}", &[], "proxy.tagttl"),
        ("storage: inmemory", &[], "storage"),
        ("HTTP: {addr: ':1'}", &[], "HTTP"),
        ("http: {addr: nowhere}", &[], "http.addr"),
        ("http: {prefix: v}", &[], "http.prefix"),
        (
            "proxy: {remoteurl: registry-1.docker.io}",
            &[],
            "proxy.remoteurl",
        ),
        (
            "proxy: {remoteurl: 'https://user:secret@host'}",
            &[],
            "proxy.remoteurl",
        ),
        ("proxy: {username: x}", &[], "proxy.username"),
        ("log: {level: loud}", &[], "log.level"),
        ("storage: {azure: {}}", &[], "storage.azure"),
        ("[1]", &[], "the configuration"),
        ("", &[("REGISTRY_STORAGE", "gcs")], "storage"),
        (
            "",
            &[("REGISTRY_STORAGE_S3_ENCRYPT", "perhaps")],
            "storage.s3.encrypt",
        ),
    ];
    name_their_setting(cases);
}

#[test]
fn wrong_access_settings_name_themselves() {
    let token = "auth: {token: {realm: 'https://a/t', service: s, issuer: i, jwks: /k}}";
    load(token, &[]).unwrap();
    let cases: &[Case] = &[
        ("auth: {silly: {realm: x}}", &[], "auth.silly"),
        ("auth: {htpasswd: }", &[], "auth.htpasswd.users"),
        (
            "auth: {htpasswd: {realm: pounce}}",
            &[],
            "auth.htpasswd.users",
        ),
        ("", &[("REGISTRY_AUTH", "htpasswd")], "auth.htpasswd.users"),
        (
            "",
            &[("REGISTRY_AUTH_HTPASSWD_REALM", "x")],
            "auth.htpasswd.users",
        ),
        ("", &[("REGISTRY_AUTH", "ldap")], "auth"),
        (token, &[("REGISTRY_AUTH_HTPASSWD_PATH", "/x")], "auth"),
        (
            token,
            &[("REGISTRY_AUTH_TOKEN_SERVICE", "a\"b")],
            "auth.token.service",
        ),
        (
            token,
            &[("REGISTRY_AUTH_TOKEN_ISSUER", "a\u{e9}")],
            "auth.token.issuer",
        ),
        (
            token,
            &[("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS", "[HS256]")],
            "auth.token.signingalgorithms",
        ),
        (
            "auth: {token: {service: s, issuer: i, jwks: /k}}",
            &[],
            "auth.token.realm",
        ),
        (
            "auth: {token: {autoredirect: true, service: s, issuer: i}}",
            &[],
            "auth.token.rootcertbundle",
        ),
        ("auth: {rules: [{users: [a]}]}", &[], "auth.rules"),
        (
            "auth: {htpasswd: {path: /x}, rules: [{actions: [pull]}]}",
            &[],
            "auth.rules.0.users",
        ),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: [a], actions: [read]}]}",
            &[],
            "auth.rules.0.actions",
        ),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: ['[a']}]}",
            &[],
            "auth.rules.0.users",
        ),
    ];
    name_their_setting(cases);
}

#[test]
fn a_pattern_that_nothing_fits_is_a_mistake() {
    let rule = |users: &str, repositories: &str| {
        let rules = format!("[{{users: [{users}], repositories: [{repositories}], actions: []}}]");
        load(
            &format!("auth: {{htpasswd: {{path: /x}}, rules: {rules}}}"),
            &[],
        )
        .map(|_| ())
    };
    rule(
        "'*', ci-*, 'org/alice', '{a,b}'",
        "'secret/**', 'a_b/c.d/*', '{a,b}/**', 'x[0-9]'",
    )
    .unwrap();
    for users in ["'mallory,bob'", "'a b'", "'a:b'"] {
        let error = rule(users, "a").unwrap_err().to_string();
        assert!(error.contains("auth.rules.0.users"), "{error}");
    }
    for names in [
        "'Secret/**'",
        "/secret",
        "secret/",
        "a//b",
        "'a, b'",
        "'host:5000/a'",
    ] {
        let error = rule("a", names).unwrap_err().to_string();
        assert!(error.contains("auth.rules.0.repositories"), "{error}");
    }
}

#[test]
fn wrong_settings_of_the_listener_name_themselves() {
    let cases: &[Case] = &[
        (
            "",
            &[("REGISTRY_HTTP_TLS_CERTIFICATE", "/x")],
            "http.tls.certificate",
        ),
        ("http: {tls: {clientcas: [/x]}}", &[], "http.tls.clientcas"),
        (
            "http: {tls: {minimumtls: ssl3}}",
            &[],
            "http.tls.minimumtls",
        ),
        (
            "http: {tls: {letsencrypt: {}}}",
            &[],
            "http.tls.letsencrypt",
        ),
        (
            "http: {trustedproxies: [10.0.0.0/33]}",
            &[],
            "http.trustedproxies",
        ),
        ("http: {forwardedfor: 'a b'}", &[], "http.forwardedfor"),
        (
            "storage: {s3: {regionendpoint: 'http://AK:SECRET@host'}}",
            &[],
            "storage.s3.regionendpoint",
        ),
        ("storage: {inmemory: }", &[], "storage.inmemory"),
        (
            "",
            &[("REGISTRY_AUTH_HTPASSWD_USERS", "")],
            "REGISTRY_AUTH_HTPASSWD_USERS",
        ),
        (
            "",
            &[("REGISTRY_AUTH_HTPASSWD_USER", "a:b")],
            "REGISTRY_AUTH_HTPASSWD_USER",
        ),
        ("auth: {htpasswd: {path: ''}}", &[], "auth.htpasswd.path"),
        ("auth: {htpasswd: {users: ''}}", &[], "auth.htpasswd"),
        // What a template makes whose variable is missing.
        ("auth: {htpasswd: {path: }}", &[], "auth.htpasswd"),
        ("auth: {token: {jwks: }}", &[], "auth.token"),
        ("auth: {token: {autoredirect: false}}", &[], "auth.token"),
        ("auth: {silly: }", &[], "auth.silly"),
        ("auth: []", &[], "auth"),
        ("auth: {htpasswd: 'alice:hunter2'}", &[], "auth.htpasswd"),
        ("auth: {rules: [pull]}", &[], "auth.rules.0"),
        (
            "",
            &[("REGISTRY_AUTH_HTPASSWD", "alice:hunter2")],
            "auth.htpasswd",
        ),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: [a], repositories: []}]}",
            &[],
            "auth.rules.0.repositories",
        ),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: [a], repositories: ['']}]}",
            &[],
            "auth.rules.0.repositories",
        ),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: ['*']}, {users: [anonymous], actions: [pull]}]}",
            &[],
            "auth.rules.0.users",
        ),
        ("http: {tls: {clientcas: ['']}}", &[], "http.tls.clientcas"),
        (
            "http: {limits: {connections: 0}}",
            &[],
            "http.limits.connections",
        ),
        (
            "http: {limits: {headertimeout: 1h}}",
            &[],
            "http.limits.headertimeout",
        ),
        (
            "storage: {redirect: {exclude: here}}",
            &[],
            "storage.redirect.exclude",
        ),
    ];
    name_their_setting(cases);
}

#[test]
fn wrong_upstreams_name_their_setting() {
    let cases: &[Case] = &[
        (
            "proxy: {upstreams: [{remoteurl: 'http://a'}]}",
            &[],
            "proxy.upstreams.0.host",
        ),
        (
            "proxy: {upstreams: [{host: ghcr}]}",
            &[],
            "proxy.upstreams.0.host",
        ),
        (
            "proxy: {upstreams: [{host: 'ghcr.io/org'}]}",
            &[],
            "proxy.upstreams.0.host",
        ),
        (
            "proxy: {upstreams: [{host: ghcr.io}, {host: GHCR.io}]}",
            &[],
            "proxy.upstreams.1.host",
        ),
        (
            "proxy: {upstreams: [{host: docker.io}, {host: index.docker.io}]}",
            &[],
            "proxy.upstreams.1.host",
        ),
        (
            "proxy: {upstreams: [{host: ghcr.io, username: x}]}",
            &[],
            "proxy.upstreams.0.username",
        ),
        (
            "proxy: {upstreams: [{hots: ghcr.io}]}",
            &[],
            "proxy.upstreams.0.hots",
        ),
        ("proxy: {host: ghcr.io}", &[], "proxy.host"),
        ("proxy: {exec: {lifetime: 5s}}", &[], "proxy.exec.lifetime"),
        (
            "proxy: {username: a, password: b, exec: {command: c}}",
            &[],
            "proxy.exec.command",
        ),
        (
            "proxy: {fill: {connections: 0}}",
            &[],
            "proxy.fill.connections",
        ),
        (
            "proxy: {fill: {concurrency: 65}}",
            &[],
            "proxy.fill.concurrency",
        ),
        (
            "proxy: {fill: {stalltimeout: 31s}}",
            &[],
            "proxy.fill.stalltimeout",
        ),
        ("proxy: {onmiss: guess}", &[], "proxy.onmiss"),
        ("proxy: {spool: {maxsize: -1}}", &[], "proxy.spool.maxsize"),
        (
            "",
            &[("REGISTRY_PROXY_UPSTREAMS_1_HOST", "ghcr.io")],
            "REGISTRY_PROXY_UPSTREAMS_1_HOST",
        ),
    ];
    name_their_setting(cases);
}

/// A file, variables, and the setting that is wrong.
fn name_their_setting(cases: &[Case]) {
    for (yaml, variables, named) in cases {
        let message = refused(yaml, variables);
        assert!(
            message.starts_with(named),
            "{yaml} {variables:?}: {message}"
        );
        assert!(!message.contains("secret@"), "{message}");
    }
    assert!(matches!(load("a: [", &[]), Err(ConfigError::Yaml { .. })));
}

#[test]
fn secrets_do_not_show_themselves_in_errors() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        (
            "proxy:\n  username: u\n  password: hunter2\n badly: indented",
            &[],
        ),
        ("proxy:\n  username: u\n  password: @hunter2", &[]),
        ("proxy: {username: u, password: [hunter2]}", &[]),
        ("proxy: {username: u, password: 6427782}", &[]),
        ("", &[("REGISTRY_PROXY", "{username: u, password: hunter2")]),
    ];
    for (yaml, variables) in cases {
        let message = refused(yaml, variables);
        assert!(
            !message.contains("hunter2") && !message.contains("6427782"),
            "{message}"
        );
        assert!(message.lines().count() == 1, "{message}");
    }
}
