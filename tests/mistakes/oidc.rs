//! Mistakes in `auth.oidc`.

use serde_json::{Value, json};

use super::{load, refused};

fn provider() -> Value {
    json!({
        "name": "ci", "issuer": "https://issuer.example.com", "audience": "https://registry.example.com",
        "claims": {"repository": ["org/*"]}, "user": "{repository}",
    })
}

fn auth(providers: &[Value], rules: &str) -> String {
    format!("auth: {{oidc: {}, rules: {rules}}}", Value::from(providers.to_vec()))
}

#[test]
fn a_provider_that_admits_too_many_or_none_is_refused() {
    let cases = [
        ("name", json!(null), "auth.oidc.0.name"),
        ("name", json!("GitHub"), "auth.oidc.0.name"),
        ("name", json!("a:b"), "auth.oidc.0.name"),
        ("issuer", json!("http://issuer.example.com"), "auth.oidc.0.issuer"),
        ("issuer", json!("issuer"), "auth.oidc.0.issuer"),
        ("audience", json!(" "), "auth.oidc.0.audience"),
        ("claims", json!({}), "auth.oidc.0.claims"),
        ("claims", json!({"repository": []}), "auth.oidc.0.claims.repository"),
        ("claims", json!({"repository": ["{a,b}"]}), "auth.oidc.0.claims.repository"),
        ("claims", json!({"repository": [" a"]}), "auth.oidc.0.claims.repository"),
        ("claims", json!({"repository": ["a"], "/~": ["a"]}), "auth.oidc.0.claims./~"),
        ("claims", json!({"repository": {"a": "b"}}), "auth.oidc.0.claims.repository"),
        ("claims", json!(["repository"]), "auth.oidc.0.claims"),
        ("user", json!("ci"), "auth.oidc.0.user"),
        ("user", json!("{ref}"), "auth.oidc.0.user"),
        ("user", json!("{repository}{sub}"), "auth.oidc.0.user"),
        ("life", json!("13h"), "auth.oidc.0.life"),
        ("life", json!("30s"), "auth.oidc.0.life"),
        ("discovery", json!("http://10.0.0.1/x"), "auth.oidc.0.discovery"),
        ("jwks", json!("ftp://a.example.com"), "auth.oidc.0.jwks"),
        ("ca", json!(""), "auth.oidc.0.ca"),
        ("isuer", json!("x"), "auth.oidc.0.isuer"),
    ];
    for (key, value, setting) in cases {
        let mut wrong = provider();
        wrong[key] = value.clone();
        let message = refused(&auth(&[wrong], "[]"), &[]);
        assert!(message.starts_with(setting), "{key} {value}: {message}");
    }
    for key in ["name", "issuer", "audience", "claims", "user"] {
        let mut wrong = provider();
        wrong.as_object_mut().unwrap().remove(key);
        let message = refused(&auth(&[wrong], "[]"), &[]);
        assert!(message.starts_with(&format!("auth.oidc.0.{key}: ")) && message.contains("missing"), "{message}");
    }
    let message = refused(&auth(&[provider(), provider()], "[]"), &[]);
    assert!(message.starts_with("auth.oidc.1.name"), "{message}");
    let mut both = provider();
    both["discovery"] = json!("https://a.example.com/x");
    both["jwks"] = json!("https://a.example.com/y");
    assert!(refused(&auth(&[both], "[]"), &[]).starts_with("auth.oidc.0.jwks"));
}

#[test]
fn providers_are_beside_passwords_or_alone() {
    let text = auth(&[provider()], "[]");
    assert!(load(&text, &[]).is_ok());
    assert!(load(&text, &[("REGISTRY_AUTH", "oidc")]).is_ok());
    assert!(load(&text, &[("REGISTRY_AUTH_HTPASSWD_PATH", "/x")]).is_ok());
    let token = [
        ("REGISTRY_AUTH_TOKEN_REALM", "https://a.example.com/token"),
        ("REGISTRY_AUTH_TOKEN_SERVICE", "x"),
        ("REGISTRY_AUTH_TOKEN_ISSUER", "x"),
        ("REGISTRY_AUTH_TOKEN_JWKS", "/x"),
    ];
    assert!(load("", &token).is_ok());
    assert!(refused(&text, &token).starts_with("auth.oidc: "), "{}", refused(&text, &token));
    for more in [[("REGISTRY_AUTH", "none")], [("REGISTRY_AUTH_ANONYMOUS", "pull")]] {
        let message = refused(&text, &more);
        assert!(message.starts_with("auth."), "{message}");
    }
    assert!(refused("auth: oidc", &[]).starts_with("auth.oidc: is missing"));
}

#[test]
fn rules_name_providers_that_there_are() {
    let rules = |users: &str| auth(&[provider()], &format!("[{{users: [{users}], actions: [pull]}}]"));
    for users in ["'ci:org/*@refs/heads/main'", "'*'", "'ci:*'", "'ci:an app'", "alice"] {
        assert!(load(&rules(users), &[]).is_ok(), "{users}");
    }
    for users in ["'github:*'", "'c*:org'", "'*:org'", "'ci:'", "'CI:a'"] {
        let message = refused(&rules(users), &[]);
        assert!(message.starts_with("auth.rules.0.users"), "{users}: {message}");
    }
    // A wildcard does not reach over the colon, so that the later rule decides about something.
    let later = |first: &str, second: &str| {
        auth(&[provider()], &format!("[{{users: ['{first}'], actions: []}}, {{users: ['{second}'], actions: [pull]}}]"))
    };
    assert!(load(&later("c*", "ci:org/a"), &[]).is_ok());
    for (first, second) in [("*", "ci:org/a"), ("ci:*", "ci:org/a"), ("ci:org/*", "ci:org/a")] {
        let message = refused(&later(first, second), &[]);
        assert!(message.starts_with("auth.rules.1"), "{first} {second}: {message}");
    }
}

#[test]
fn a_pattern_that_says_nothing_is_a_notice() {
    let notices = |patterns: Value| {
        let mut provider = provider();
        provider["claims"]["repository"] = patterns;
        load(&auth(&[provider], "[]"), &[]).unwrap().notices
    };
    assert_eq!(notices(json!(["org/*", "other/app"])), [""; 0]);
    for (patterns, says) in [
        (json!(["*"]), "* lets in every value"),
        (json!("*"), "* lets in every value"),
        (json!(["org/*", "org/app"]), "org/app matches nothing that"),
        (json!(["a", "a"]), "a matches nothing that"),
    ] {
        let notices = notices(patterns);
        assert!(notices.len() == 1 && notices[0].contains(says), "{notices:?}");
        assert!(notices[0].starts_with("auth.oidc.0.claims.repository: "), "{notices:?}");
    }
}
