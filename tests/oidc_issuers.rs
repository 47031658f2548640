//! Issuers of OIDC tokens that are down, slow or wrong, and how often they are asked.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Pounce;
use crate::support::issuer::{Habit, OidcIssuer, checks, exchange, jwk, login, pounce_for, sign};
use crate::support::signer::Signer;

/// A signer, its issuer, and a pounce for it.
async fn all() -> (Signer, OidcIssuer, Pounce) {
    let signer = Signer::new(Algorithm::ES256);
    let issuer = OidcIssuer::start(&[&signer]).await;
    let pounce = pounce_for(&[issuer.provider("ci")], &[]).await;
    (signer, issuer, pounce)
}

#[tokio::test]
async fn an_issuer_with_wrong_documents_logs_no_client_in() {
    let (signer, issuer, _) = all().await;
    let other = OidcIssuer::start(&[&signer]).await;
    for habit in [
        Habit::Other("https://issuer.example.com".to_owned()),
        Habit::Other(format!("{}/", issuer.url())),
        Habit::Redirect,
        Habit::HugeDiscovery,
        Habit::HugeKeys,
        Habit::Nonsense,
        Habit::Status(500),
        Habit::Status(404),
        Habit::KeysAt("http://keys.example.com/".to_owned()),
        Habit::KeysAt("file:///etc/passwd".to_owned()),
        Habit::KeysAt("keys".to_owned()),
        Habit::KeysAt(format!("{}/none", other.url())),
    ] {
        issuer.behave(habit.clone());
        let pounce = pounce_for(&[issuer.provider("ci")], &[]).await;
        let token = sign(&signer, "0", &issuer.claims());
        // A client may try again: its token may be good.
        for reply in [login(&pounce, "ci", &token).await, exchange(&pounce, "ci", &token).await] {
            assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{habit:?}");
            assert!(reply.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{habit:?}");
        }
        // It counts as no attempt.
        assert_eq!((checks(&pounce, "refused").await, checks(&pounce, "unavailable").await), (0, 2), "{habit:?}");
    }
    // Keys elsewhere are as good, if the issuer says so.
    issuer.behave(Habit::KeysAt(format!("{}/keys", other.url())));
    let pounce = pounce_for(&[issuer.provider("ci")], &[]).await;
    assert_eq!(login(&pounce, "ci", &sign(&signer, "0", &issuer.claims())).await.status, 200);
}

#[tokio::test]
async fn a_slow_issuer_is_given_up_and_asked_once_for_all_clients() {
    let (signer, issuer, pounce) = all().await;
    issuer.behave(Habit::Slow);
    let token = sign(&signer, "0", &issuer.claims());
    let replies = futures_util::future::join_all((0..20).map(|_| login(&pounce, "ci", &token))).await;
    assert!(replies.iter().all(|reply| reply.status == 503), "{replies:?}");
    assert_eq!(issuer.asked(), (1, 0));
}

#[tokio::test]
async fn an_issuer_that_is_down_and_then_up_logs_clients_in() {
    let (signer, issuer, pounce) = all().await;
    issuer.behave(Habit::Status(503));
    let token = sign(&signer, "0", &issuer.claims());
    for _ in 0..20 {
        let reply = login(&pounce, "ci", &token).await;
        assert_eq!(reply.status, 503);
    }
    issuer.behave(Habit::Good);
    let is_up = async || login(&pounce, "ci", &token).await.status == 200;
    let mut tries = 0;
    while !is_up().await {
        tries += 1;
        assert!(tries < 300, "the issuer is not asked again");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    // Down again: its keys stay good, also for tokens that come only now.
    issuer.behave(Habit::Status(503));
    for number in 0..5 {
        let mut claims = issuer.claims();
        claims["jti"] = json!(number);
        assert_eq!(login(&pounce, "ci", &sign(&signer, "0", &claims)).await.status, 200);
    }
    // An unknown key may be good, so that its client is to try again.
    assert_eq!(login(&pounce, "ci", &sign(&signer, "new", &issuer.claims())).await.status, 503);
}

#[tokio::test]
async fn a_new_key_is_found_and_unknown_ones_are_asked_for_once() {
    let (signer, issuer, pounce) = all().await;
    assert_eq!(login(&pounce, "ci", &sign(&signer, "0", &issuer.claims())).await.status, 200);
    assert_eq!(issuer.asked(), (1, 1));
    let next = Signer::new(Algorithm::ES256);
    issuer.set_keys(vec![jwk(&signer, "0"), jwk(&next, "next")]);
    let token = sign(&next, "next", &issuer.claims());
    let replies = futures_util::future::join_all((0..10).map(|_| login(&pounce, "ci", &token))).await;
    assert!(replies.iter().all(|reply| reply.status == 200), "{replies:?}");
    // Only the keys were asked for again, and once.
    assert_eq!(issuer.asked(), (1, 2));
    for number in 0..100 {
        let reply = login(&pounce, "ci", &sign(&signer, &format!("made-up-{number}"), &issuer.claims())).await;
        assert!(matches!(reply.status, 401 | 429), "{reply:?}");
    }
    assert_eq!(issuer.asked(), (1, 2));
    // The key that was taken out is not good any more after the next look, which is the first of an unknown key here.
    let other = pounce_for(&[issuer.provider("ci")], &[]).await;
    assert_eq!(login(&other, "ci", &sign(&signer, "0", &issuer.claims())).await.status, 200);
    issuer.set_keys(vec![jwk(&next, "next")]);
    assert_eq!(login(&other, "ci", &sign(&signer, "?", &issuer.claims())).await.status, 401);
    let mut claims = issuer.claims();
    claims["jti"] = json!("2");
    assert_eq!(login(&other, "ci", &sign(&signer, "0", &claims)).await.status, 401);
}

#[tokio::test]
async fn an_unknown_key_first_is_asked_for_with_the_documents() {
    let (signer, issuer, pounce) = all().await;
    for number in 0..5 {
        let reply = login(&pounce, "ci", &sign(&signer, &format!("made-up-{number}"), &issuer.claims())).await;
        assert_eq!(reply.status, 401);
    }
    assert_eq!(issuer.asked(), (1, 2));
    assert_eq!(login(&pounce, "ci", &sign(&signer, "0", &issuer.claims())).await.status, 200);
}

#[tokio::test]
async fn a_closed_issuer_gets_a_token_and_no_other_host_does() {
    let (signer, issuer, _) = all().await;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").unwrap();
    issuer.behave(Habit::Closed("Bearer first".to_owned()));
    let mut provider = issuer.provider("ci");
    let token = sign(&signer, "0", &issuer.claims());
    let closed = pounce_for(&[provider.clone()], &[]).await;
    assert_eq!(login(&closed, "ci", &token).await.status, 503);
    provider["tokenfile"] = json!(file);
    let pounce = pounce_for(&[provider.clone()], &[]).await;
    assert_eq!(login(&pounce, "ci", &token).await.status, 200);
    // The file is read anew.
    std::fs::write(&file, "second").unwrap();
    issuer.behave(Habit::Closed("Bearer second".to_owned()));
    let next = Signer::new(Algorithm::ES256);
    issuer.set_keys(vec![jwk(&next, "next")]);
    assert_eq!(login(&pounce, "ci", &sign(&next, "next", &issuer.claims())).await.status, 200);

    // Another host, to which the discovery document leads, does not get it.
    let other = OidcIssuer::start(&[&signer]).await;
    issuer.behave(Habit::KeysAt(format!("{}/keys", other.url())));
    let pounce = pounce_for(&[provider], &[]).await;
    assert_eq!(login(&pounce, "ci", &token).await.status, 200);
    let has_token =
        |issuer: &OidcIssuer| issuer.seen().iter().filter(|it| it.headers.contains_key("authorization")).count();
    assert_eq!((other.asked(), has_token(&other)), ((0, 1), 0));
    assert!(has_token(&issuer) > 0);
}

#[tokio::test]
async fn the_documents_may_be_elsewhere() {
    let (signer, issuer, _) = all().await;
    let documents = OidcIssuer::start(&[&signer]).await;
    let claimed = "https://kubernetes.default.svc.cluster.local";
    let mut claims = issuer.claims();
    claims["iss"] = json!(claimed);
    let token = sign(&signer, "0", &claims);
    let with = |key: &str, value: String| {
        let mut provider = issuer.provider("ci");
        provider["issuer"] = json!(claimed);
        provider[key] = json!(value);
        provider
    };
    let discovered = with("discovery", format!("{}/elsewhere", documents.url()));
    let status = async |provider: &Value| {
        let pounce = pounce_for(std::slice::from_ref(provider), &[]).await;
        login(&pounce, "ci", &token).await.status
    };
    // They are the documents of another issuer.
    assert_eq!(status(&discovered).await, 503);
    documents.behave(Habit::Other(claimed.to_owned()));
    assert_eq!(status(&discovered).await, 200);
    // The keys would be at another host.
    issuer.behave(Habit::Other(claimed.to_owned()));
    documents.behave(Habit::KeysAt(format!("{}/keys", issuer.url())));
    assert_eq!(status(&discovered).await, 503);
    // A cluster's document often names the keys at an address of its own.
    let before = documents.asked().0;
    assert_eq!(status(&with("jwks", format!("{}/keys", documents.url()))).await, 200);
    assert_eq!(documents.asked().0, before);
}

#[tokio::test]
async fn check_asks_each_issuer_once() {
    let (_, issuer, _) = all().await;
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("data");
    let mut other = issuer.provider("other");
    other["issuer"] = json!("http://127.0.0.1:1");
    let providers = json!([issuer.provider("ci"), other]).to_string();
    let variables =
        [("REGISTRY_AUTH_OIDC", &providers[..]), ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.to_str().unwrap())];
    let (status, said, _) = crate::check::run(&["check"], &variables, "").await;
    assert_eq!(status, 2, "{said}");
    let line = |name: &str| said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{said}"));
    assert!(line("tokens of ci").contains("the issuer has a key"), "{said}");
    assert!(line("tokens of other").contains("http://127.0.0.1:1/.well-known/openid-configuration: "), "{said}");
    assert!(said.contains("auth.oidc.1.issuer"), "{said}");
    assert_eq!(issuer.asked(), (1, 1));
}
