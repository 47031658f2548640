//! Wrong settings of access, the listener and upstreams; each error names the setting.

use crate::mistakes::{Case, load, name_their_setting};

#[test]
fn wrong_access_settings_name_themselves() {
    let token = "auth: {token: {realm: 'https://a/t', service: s, issuer: i, jwks: /k}}";
    load(token, &[]).unwrap();
    let cases: &[Case] = &[
        ("auth: {silly: {realm: x}}", &[], "auth.silly"),
        ("auth: {htpasswd: }", &[], "auth.htpasswd.users"),
        ("auth: {htpasswd: {realm: pounce}}", &[], "auth.htpasswd.users"),
        ("", &[("REGISTRY_AUTH", "htpasswd")], "auth.htpasswd.users"),
        ("", &[("REGISTRY_AUTH_HTPASSWD_REALM", "x")], "auth.htpasswd.users"),
        ("", &[("REGISTRY_AUTH", "ldap")], "auth"),
        (token, &[("REGISTRY_AUTH_HTPASSWD_PATH", "/x")], "auth"),
        (token, &[("REGISTRY_AUTH_TOKEN_SERVICE", "a\"b")], "auth.token.service"),
        (token, &[("REGISTRY_AUTH_TOKEN_ISSUER", "a\u{e9}")], "auth.token.issuer"),
        (token, &[("REGISTRY_AUTH_TOKEN_SIGNINGALGORITHMS", "[HS256]")], "auth.token.signingalgorithms"),
        ("auth: {token: {service: s, issuer: i, jwks: /k}}", &[], "auth.token.realm"),
        ("auth: {token: {autoredirect: true, service: s, issuer: i}}", &[], "auth.token.rootcertbundle"),
        ("auth: {rules: [{users: [a]}]}", &[], "auth.rules"),
        ("auth: {htpasswd: {path: /x}, rules: [{actions: [pull]}]}", &[], "auth.rules.0.users"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], actions: [read]}]}", &[], "auth.rules.0.actions"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: ['[a']}]}", &[], "auth.rules.0.users"),
    ];
    name_their_setting(cases);
}

#[test]
fn a_pattern_that_nothing_fits_is_a_mistake() {
    let rule = |users: &str, repositories: &str| {
        let rules = format!("[{{users: [{users}], repositories: [{repositories}], actions: []}}]");
        load(&format!("auth: {{htpasswd: {{path: /x}}, rules: {rules}}}"), &[]).map(|_| ())
    };
    rule("'*', ci-*, 'org/alice'", "'secret/**', 'a_b/c.d/*', 'x[0-9]'").unwrap();
    for users in ["'mallory,bob'", "'a b'", "'a:b'"] {
        let error = rule(users, "a").unwrap_err().to_string();
        assert!(error.contains("auth.rules.0.users"), "{error}");
    }
    for names in ["'Secret/**'", "/secret", "secret/", "a//b", "'a, b'", "'host:5000/a'"] {
        let error = rule("a", names).unwrap_err().to_string();
        assert!(error.contains("auth.rules.0.repositories"), "{error}");
    }
}

#[test]
fn wrong_settings_of_the_listener_name_themselves() {
    let cases: &[Case] = &[
        ("", &[("REGISTRY_HTTP_TLS_CERTIFICATE", "/x")], "http.tls.certificate"),
        ("http: {tls: {clientcas: [/x]}}", &[], "http.tls.clientcas"),
        ("http: {tls: {minimumtls: ssl3}}", &[], "http.tls.minimumtls"),
        ("http: {tls: {letsencrypt: {cachefile: /x, email: a@example.com}}}", &[], "http.tls.letsencrypt"),
        ("", &[("REGISTRY_HTTP_TLS_LETSENCRYPT_CACHEFILE", "/x")], "REGISTRY_HTTP_TLS_LETSENCRYPT_CACHEFILE"),
        ("storage: {s3: {skipverify: true}}", &[], "storage.s3.skipverify"),
        ("", &[("REGISTRY_STORAGE_S3_SKIPVERIFY", "yes")], "REGISTRY_STORAGE_S3_SKIPVERIFY"),
        // The name looks like a Kubernetes variable, but the value does not.
        ("", &[("REGISTRY_AUTH_PORT", "5001")], "REGISTRY_AUTH_PORT"),
        ("", &[("REGISTRY_AUTH_TOKEN_SERVICES", "10.0.0.1")], "REGISTRY_AUTH_TOKEN_SERVICES"),
        ("http: {trustedproxies: [10.0.0.0/33]}", &[], "http.trustedproxies"),
        ("http: {forwardedfor: 'a b'}", &[], "http.forwardedfor"),
        ("storage: {s3: {regionendpoint: 'http://AK:SECRET@host'}}", &[], "storage.s3.regionendpoint"),
        ("storage: {inmemory: }", &[], "storage.inmemory"),
        ("", &[("REGISTRY_AUTH_HTPASSWD_USERS", "")], "REGISTRY_AUTH_HTPASSWD_USERS"),
        ("", &[("REGISTRY_AUTH_HTPASSWD_USER", "a:b")], "REGISTRY_AUTH_HTPASSWD_USER"),
        ("auth: {htpasswd: {path: ''}}", &[], "auth.htpasswd.path"),
        ("auth: {htpasswd: {users: ''}}", &[], "auth.htpasswd"),
        // A template renders this when its variable is missing.
        ("auth: {htpasswd: {path: }}", &[], "auth.htpasswd"),
        ("auth: {token: {jwks: }}", &[], "auth.token"),
        ("auth: {token: {autoredirect: false}}", &[], "auth.token"),
        ("auth: {silly: }", &[], "auth.silly"),
        ("auth: []", &[], "auth"),
        ("auth: {htpasswd: 'alice:hunter2'}", &[], "auth.htpasswd"),
        ("auth: {rules: [pull]}", &[], "auth.rules.0"),
        ("", &[("REGISTRY_AUTH_HTPASSWD", "alice:hunter2")], "auth.htpasswd"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], repositories: []}]}", &[], "auth.rules.0.repositories"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], repositories: ~}]}", &[], "auth.rules.0.repositories"),
        ("proxy: {credentials: [{username: a}], remoteurl: 'http://x'}", &[], "proxy.credentials.0"),
        ("proxy: {credentials: [{password: a}], remoteurl: 'http://x'}", &[], "proxy.credentials.0"),
        (
            "proxy: {credentials: [{username: a, password: b}, {username: a, password: c}], remoteurl: 'http://x'}",
            &[],
            "proxy.credentials.1",
        ),
        (
            "proxy: {credentials: [{username: a, password: b}], username: c, password: d, remoteurl: 'http://x'}",
            &[],
            "proxy.credentials",
        ),
        (
            "proxy: {credentials: [{username: a, password: b, token: c}], remoteurl: 'http://x'}",
            &[],
            "proxy.credentials",
        ),
        ("proxy: {deny: ['docker.io/app'], remoteurl: 'https://registry-1.docker.io'}", &[], "proxy.deny"),
        ("proxy: {allow: [a, b:v1], deny: ['b:*'], remoteurl: 'http://x'}", &[], "proxy.allow"),
        ("proxy: {immutable: ['app:'], remoteurl: 'http://x'}", &[], "proxy.immutable"),
        ("proxy: {immutable: ['app:a b'], remoteurl: 'http://x'}", &[], "proxy.immutable"),
        ("proxy: {immutable: ['App'], remoteurl: 'http://x'}", &[], "proxy.immutable"),
        ("proxy: {allow: [], remoteurl: 'http://x'}", &[], "proxy.allow"),
        ("proxy: {upstreams: [{host: ghcr.io, allow: [ghcr.io/org/app]}]}", &[], "proxy.upstreams.0.allow"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], networks: []}]}", &[], "auth.rules.0.networks"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], networks: ~}]}", &[], "auth.rules.0.networks"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], networks: 10.0.0.1}]}", &[], "auth.rules.0.networks"),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: [a]}, {users: [a], networks: [10.0.0.0/8]}]}",
            &[],
            "auth.rules.1",
        ),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: [a], networks: [10.0.0.0/8]}, {users: [a], networks: [10.1.0.0/16]}]}",
            &[],
            "auth.rules.1",
        ),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], repositories: ''}]}", &[], "auth.rules.0.repositories"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: ~, actions: pull}]}", &[], "auth.rules.0.users"),
        ("auth: {htpasswd: {path: /x}, rules: [{users: [a], repositories: ['']}]}", &[], "auth.rules.0.repositories"),
        (
            "auth: {htpasswd: {path: /x}, rules: [{users: ['*']}, {users: [anonymous], actions: [pull]}]}",
            &[],
            "auth.rules.0.users",
        ),
        ("auth: {anonymous: []}", &[], "auth.anonymous"),
        ("auth: {anonymous: [read]}", &[], "auth.anonymous"),
        ("", &[("REGISTRY_AUTH_ANONYMOUS", "")], "REGISTRY_AUTH_ANONYMOUS"),
        ("", &[("REGISTRY_AUTH_ANONYMOUS", "pull push")], "auth.anonymous (in REGISTRY_AUTH_ANONYMOUS)"),
        (
            "auth: {htpasswd: {path: /x}, anonymous: [pull]}",
            &[],
            "auth.anonymous: is for a registry without htpasswd, oidc, bucketkeys and token: write a rule in auth.rules",
        ),
        ("http: {tls: {clientcas: ['']}}", &[], "http.tls.clientcas"),
        ("http: {limits: {connections: 0}}", &[], "http.limits.connections"),
        ("http: {limits: {headertimeout: 1h}}", &[], "http.limits.headertimeout"),
        ("storage: {redirect: {exclude: here}}", &[], "storage.redirect.exclude"),
    ];
    name_their_setting(cases);
}

#[test]
fn wrong_upstreams_name_their_setting() {
    let cases: &[Case] = &[
        ("proxy: {upstreams: [{remoteurl: 'http://a'}]}", &[], "proxy.upstreams.0.host"),
        ("proxy: {upstreams: [{host: ghcr}]}", &[], "proxy.upstreams.0.host"),
        ("proxy: {upstreams: [{host: 'ghcr.io/org'}]}", &[], "proxy.upstreams.0.host"),
        ("proxy: {upstreams: [{host: ghcr.io}, {host: GHCR.io}]}", &[], "proxy.upstreams.1.host"),
        ("proxy: {upstreams: [{host: docker.io}, {host: index.docker.io}]}", &[], "proxy.upstreams.1.host"),
        ("proxy: {upstreams: [{host: ghcr.io, username: x}]}", &[], "proxy.upstreams.0.username"),
        ("proxy: {upstreams: [{hots: ghcr.io}]}", &[], "proxy.upstreams.0.hots"),
        ("proxy: {host: ghcr.io}", &[], "proxy.host"),
        ("proxy: {exec: {lifetime: 5s}}", &[], "proxy.exec.lifetime"),
        ("proxy: {username: a, password: b, exec: {command: c}}", &[], "proxy.exec.command"),
        ("proxy: {fill: {connections: 0}}", &[], "proxy.fill.connections"),
        ("proxy: {fill: {concurrency: 65}}", &[], "proxy.fill.concurrency"),
        ("proxy: {fill: {stalltimeout: 31s}}", &[], "proxy.fill.stalltimeout"),
        ("proxy: {fill: {sharedsize: 64Mi}}", &[], "proxy.fill.sharedsize"),
        ("proxy: {fill: {sharedsize: -1}}", &[], "proxy.fill.sharedsize"),
        (
            "",
            &[("REGISTRY_PROXY_FILL_SHAREDSIZE", "always")],
            "proxy.fill.sharedsize (in REGISTRY_PROXY_FILL_SHAREDSIZE)",
        ),
        ("proxy: {fill: {memory: 1000}}", &[], "proxy.fill.memory"),
        ("proxy: {fill: {memory: 1e13}}", &[], "proxy.fill.memory"),
        ("proxy: {fill: {compose: link}}", &[], "proxy.fill.compose"),
        ("proxy: {onmiss: guess}", &[], "proxy.onmiss"),
        ("proxy: {spool: {maxsize: -1}}", &[], "proxy.spool.maxsize"),
        ("", &[("REGISTRY_PROXY_UPSTREAMS_1_HOST", "ghcr.io")], "REGISTRY_PROXY_UPSTREAMS_1_HOST"),
    ];
    name_their_setting(cases);
}

#[test]
fn what_manifests_must_fulfil_is_distributions_setting() {
    let cases: &[Case] = &[
        ("validation: {manifests: {indexes: {platforms: some}}}", &[], "validation.manifests.indexes.platforms"),
        (
            "validation: {manifests: {indexes: {platformlist: [{cpu: amd64}]}}}",
            &[],
            "validation.manifests.indexes.platformlist.0.cpu",
        ),
        ("validation: {disabled: 7}", &[], "validation.disabled"),
    ];
    name_their_setting(cases);
    let text = "validation: {disabled: false, enabled: true, manifests: {urls: {allow: ['^https://'], deny: []}, \
                indexes: {platforms: List, platformlist: [{os: linux, architecture: amd64}]}}}";
    let loaded = load(text, &[]).unwrap();
    let [notice] = &loaded.notices[..] else {
        panic!("{:?}", loaded.notices);
    };
    assert!(notice.starts_with("validation.manifests.urls is ignored"), "{notice}");
    let validation = loaded.config.validation;
    assert!(validation.requires(Some(("linux", "amd64"))));
    assert!(!validation.requires(Some(("linux", "arm64"))));
    assert!(!validation.requires(None));
}
