//! Logins by OIDC: `auth.oidc`.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::support::issuer::{OidcIssuer, exchange, issued, login, pounce_for, sign};
use crate::support::signer::{Signer, now};
use crate::support::users::{ask, user};
use crate::support::{Pounce, Reply};

async fn with(pounce: &Pounce, token: &str, method: &str, path: &str) -> Reply {
    pounce.send(pounce.request(method, path).bearer_auth(token)).await
}

#[tokio::test]
async fn a_token_is_a_password_and_is_exchanged_for_one_that_lives_longer() {
    let signer = Signer::new(Algorithm::RS256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let pounce = pounce_for(&[issuer.provider("ci")], &[]).await;
    // Nothing is asked before it is needed: the issuer may be behind this registry.
    assert_eq!(issuer.asked(), (0, 0));
    let hello = pounce.get("/v2/").await;
    assert_eq!(hello.status, 401);
    let challenge = hello.header("www-authenticate");
    assert!(challenge.starts_with(&format!("Bearer realm=\"{}\"", pounce.url("/v2/token"))), "{challenge}");
    // Without a login there is no token.
    let nothing = pounce.get("/v2/token").await;
    assert_eq!((nothing.status, nothing.header("www-authenticate")), (401, "Basic realm=\"pounce\""));

    let mut claims = issuer.claims();
    claims["exp"] = json!(now() + 60);
    let token = sign(&signer, "0", &claims);
    assert_eq!(login(&pounce, "ci", &token).await.status, 200);
    let (own, life) = issued(&exchange(&pounce, "ci", &token).await);
    assert_eq!(life, 3600);
    let (as_bearer, _) = issued(&with(&pounce, &token, "GET", "/v2/token").await);
    for token in [&own, &as_bearer] {
        assert_eq!(with(&pounce, token, "GET", "/v2/").await.status, 200);
        assert_eq!(with(&pounce, token, "POST", "/v2/a/blobs/uploads/").await.status, 202);
        // It cannot be renewed with itself, nor is it a password.
        assert_eq!(with(&pounce, token, "GET", "/v2/token").await.status, 401);
        assert_eq!(exchange(&pounce, "ci", token).await.status, 401);
    }
    // The issuer's token is no token of this registry's, except to get one.
    assert_eq!(with(&pounce, &token, "GET", "/v2/").await.status, 401);
    assert_eq!(issuer.asked(), (1, 1));
    // There are no passwords, and no file of users was made.
    for name in ["docker", "anonymous", "", "repo"] {
        let request = pounce.request("GET", "/v2/").basic_auth(name, Some("x"));
        assert_eq!(pounce.send(request).await.status, 401, "{name}");
    }
    let is_named = |pounce: &Pounce| {
        let lines = std::fs::read_to_string(pounce.access_log()).unwrap();
        lines.contains("user=ci:org/app")
    };
    pounce.until("the user in the access log", is_named).await;
}

/// A browser would keep it for longer than the provider allows.
#[tokio::test]
async fn a_token_begins_no_session_of_a_browser() {
    let signer = Signer::new(Algorithm::RS256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let admin = user("admin");
    let with_passwords = [("REGISTRY_AUTH_HTPASSWD_USERS", admin.as_str())];
    for settings in [&[][..], &with_passwords] {
        let pounce = pounce_for(&[issuer.provider("ci")], settings).await;
        let form = format!("user=ci&password={}", sign(&signer, "0", &issuer.claims()));
        let request = pounce.request("POST", "/-/login").header("sec-fetch-site", "same-origin");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let reply = pounce.send(request).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, ""), "{reply:?}");
    }
}

#[tokio::test]
async fn each_algorithm_with_a_public_key_is_good() {
    let signers: Vec<Signer> =
        [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA].into_iter().map(Signer::new).collect();
    let issuer = OidcIssuer::start(&signers.iter().collect::<Vec<_>>()).await;
    let pounce = pounce_for(&[issuer.provider("ci")], &[]).await;
    for (id, signer) in signers.iter().enumerate() {
        let token = sign(signer, &id.to_string(), &issuer.claims());
        assert_eq!(login(&pounce, "ci", &token).await.status, 200, "{:?}", signer.algorithm);
    }
    for algorithm in [Algorithm::RS512, Algorithm::PS256, Algorithm::PS384] {
        let mut header = jsonwebtoken::Header::new(algorithm);
        header.kid = Some("0".to_owned());
        let token = signers[0].sign_with(&header, &issuer.claims());
        assert_eq!(login(&pounce, "ci", &token).await.status, 200, "{algorithm:?}");
    }
    // Without an id, all keys of the algorithm are tried.
    let token = signers[2].sign(&issuer.claims());
    assert_eq!(login(&pounce, "ci", &token).await.status, 200);
    assert_eq!(issuer.asked(), (1, 1));
}

#[tokio::test]
async fn rules_know_users_by_the_claims_in_their_names() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let mut provider = issuer.provider("github");
    provider["claims"] = json!({"repository": ["org/*"], "ref": ["refs/*"]});
    provider["user"] = json!("{repository}@{ref}");
    let rules = "
- {users: ['github:org/*@refs/heads/main'], repositories: ['team/**'], actions: [pull, push]}
- {users: ['*'], repositories: ['team/**'], actions: [pull]}
- {users: [alice], actions: [pull, push, delete]}";
    let users = user("alice");
    let more = [("REGISTRY_AUTH_HTPASSWD_USERS", &users[..]), ("REGISTRY_AUTH_RULES", rules)];
    let pounce = pounce_for(&[provider], &more).await;
    let by = |repository: &str, reference: &str| {
        let mut claims = issuer.claims();
        claims["repository"] = json!(repository);
        claims["ref"] = json!(reference);
        sign(&signer, "0", &claims)
    };
    let (upload, tags, other) = ("/v2/team/app/blobs/uploads/", "/v2/team/app/tags/list", "/v2/other/tags/list");
    let cases = [
        ("org/app", "refs/heads/main", [202, 404, 403]),
        ("org/app", "refs/heads/x", [403, 404, 403]),
        ("evil/app", "refs/heads/main", [401, 401, 401]),
        // A name that says another repository or branch than the claims.
        ("org/app", "refs/heads/x@refs/heads/main", [401, 401, 401]),
        ("org/app@refs/heads/main", "refs/heads/x", [401, 401, 401]),
    ];
    for (repository, reference, expected) in cases {
        let token = by(repository, reference);
        for ((method, path), expected) in [("POST", upload), ("GET", tags), ("GET", other)].into_iter().zip(expected) {
            let request = pounce.request(method, path).basic_auth("github", Some(&token));
            let status = pounce.send(request).await.status;
            assert_eq!(status, expected, "{repository} {reference} {method} {path}");
        }
    }
    // Passwords go on beside it, with tokens, too: the challenge names no other way.
    assert_eq!(ask(&pounce, "alice", "POST", "/v2/other/blobs/uploads/").await.status, 202);
    assert_eq!(ask(&pounce, "alice", "GET", tags).await.status, 404);
    let (own, _) = issued(&ask(&pounce, "alice", "GET", "/v2/token").await);
    assert_eq!(with(&pounce, &own, "GET", tags).await.status, 404);
    assert_eq!(with(&pounce, &own, "POST", upload).await.status, 403);
}

#[tokio::test]
async fn pounces_token_ends_with_its_provider() {
    let signer = Signer::new(Algorithm::EdDSA);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let provider = issuer.provider("ci");
    let secret = ("REGISTRY_HTTP_SECRET", "shared");
    let providers = [provider.clone()];
    let (one, other) = (pounce_for(&providers, &[secret]).await, pounce_for(&providers, &[secret]).await);
    let (own, _) = issued(&exchange(&one, "ci", &sign(&signer, "0", &issuer.claims())).await);
    for pounce in [&one, &other] {
        assert_eq!(with(pounce, &own, "GET", "/v2/").await.status, 200);
    }
    let changed = |key: &str, value: Value| {
        let mut provider = provider.clone();
        provider[key] = value;
        vec![provider]
    };
    let alice = user("alice");
    for (providers, more) in [
        (changed("name", json!("others")), vec![secret]),
        (changed("audience", json!("another registry")), vec![secret]),
        (changed("claims", json!({"repository": ["org/other"]})), vec![secret]),
        (changed("life", json!("2h")), vec![secret]),
        (vec![], vec![secret, ("REGISTRY_AUTH_HTPASSWD_USERS", &alice)]),
        (vec![provider.clone()], vec![("REGISTRY_HTTP_SECRET", "another")]),
    ] {
        let pounce = pounce_for(&providers, &more).await;
        assert_eq!(with(&pounce, &own, "GET", "/v2/").await.status, 401, "{providers:?}");
    }
    let pounce = pounce_for(&changed("life", json!("12h")), &[]).await;
    let (_, life) = issued(&exchange(&pounce, "ci", &sign(&signer, "0", &issuer.claims())).await);
    assert_eq!(life, 12 * 3600);
}

#[tokio::test]
async fn two_providers_of_one_issuer_are_two_kinds_of_users() {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let mut release = issuer.provider("release");
    release["claims"] = json!({"repository": ["org/*"], "environment": ["release"]});
    let rules = "
- {users: ['release:*'], actions: [pull, push]}
- {users: ['ci:*'], actions: [pull]}";
    let pounce = pounce_for(&[release, issuer.provider("ci")], &[("REGISTRY_AUTH_RULES", rules)]).await;
    let mut claims = issuer.claims();
    let plain = sign(&signer, "0", &claims);
    claims["environment"] = json!("release");
    let released = sign(&signer, "0", &claims);
    let may_push = async |token: &str| with(&pounce, token, "POST", "/v2/a/blobs/uploads/").await.status;
    assert_eq!(login(&pounce, "release", &plain).await.status, 401);
    // A token that comes without a name is that of the first provider that takes it.
    for (token, expected) in [(&plain, 403), (&released, 202)] {
        let (own, _) = issued(&with(&pounce, token, "GET", "/v2/token").await);
        assert_eq!(may_push(&own).await, expected);
    }
    let (own, _) = issued(&exchange(&pounce, "ci", &released).await);
    assert_eq!(may_push(&own).await, 403);
}

#[tokio::test]
async fn a_claim_of_any_kind_fits_or_is_refused() {
    let signer = Signer::new(Algorithm::EdDSA);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let mut provider = issuer.provider("ci");
    provider["claims"] = json!({"repository": ["org/*"], "id": ["65"], "/kubernetes.io/namespace": ["ci"]});
    let pounce = pounce_for(&[provider], &[]).await;
    let status = async |id: Value, namespace: Value| {
        let mut claims = issuer.claims();
        claims["id"] = id;
        claims["kubernetes.io"] = namespace;
        login(&pounce, "ci", &sign(&signer, "0", &claims)).await.status
    };
    let inside = json!({"namespace": "ci"});
    for id in [json!("65"), json!(65), json!(["1", 65]), json!(["65"])] {
        assert_eq!(status(id.clone(), inside.clone()).await, 200, "{id}");
    }
    for id in [json!("650"), json!(65.5), json!({"65": "65"}), Value::Null, json!([]), json!(true)] {
        assert_eq!(status(id.clone(), inside.clone()).await, 401, "{id}");
    }
    assert_eq!(status(json!(65), json!({"namespace": "kube-system"})).await, 401);
    assert_eq!(status(json!(65), json!("ci")).await, 401);
}
