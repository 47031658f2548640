//! Ollama's login: a token for a request that it signs with its key.

use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::support::ollama::Ollama;
use crate::support::ollama_key::{Challenge, OllamaKey, challenge, token_request};
use crate::support::signer::now;
use crate::support::users::{ask, push, user};
use crate::support::{Pounce, Process, Reply};

const NONCE: &str = "bm9uY2Ugb2YgdGVzdHM";
/// alice has a password, and robot only a key.
const RULES: &str =
    "[{users: [robot], repositories: [team/*], actions: [pull]}, {users: [alice], actions: [pull, push]}]";

fn keys(key: &OllamaKey, user: &str) -> String {
    format!("[{{key: '{} robot@example.com', user: {user}}}]", key.public())
}

async fn with_key(key: &OllamaKey, more: &[(&str, &str)]) -> Pounce {
    let (users, keys) = (user("alice"), keys(key, "robot"));
    // pounce has to know its own URL.
    let addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let host = format!("http://{addr}");
    let base = [
        ("REGISTRY_HTTP_ADDR", &addr[..]),
        ("REGISTRY_HTTP_HOST", &host),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &users[..]),
        ("REGISTRY_AUTH_RULES", RULES),
        ("REGISTRY_AUTH_OLLAMA_KEYS", &keys),
    ];
    Pounce::with(&[&base, more].concat()).await
}

/// The challenge that an Ollama gets for a path.
async fn challenged(pounce: &Pounce, path: &str) -> Challenge {
    let request = pounce.request("GET", path).header("user-agent", "ollama/0.12.0 (arm64 darwin) Go/go1.24");
    let reply = pounce.send(request).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    challenge(&reply.headers)
}

async fn sent(pounce: &Pounce, url: &str, authorization: &str) -> Reply {
    let path = url.split_once("/v2/").unwrap().1;
    pounce.send(pounce.request("GET", &format!("/v2/{path}")).header("authorization", authorization)).await
}

fn token(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["token"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned()
}

async fn status(pounce: &Pounce, token: &str, method: &str, path: &str) -> u16 {
    pounce.send(pounce.request(method, path).bearer_auth(token)).await.status
}

#[tokio::test]
async fn an_ollama_pulls_what_the_user_of_its_key_may_pull() {
    let key = OllamaKey::new();
    let pounce = with_key(&key, &[]).await;
    let (blob, _) = push(&pounce, "alice", "team/model", 1).await;
    push(&pounce, "alice", "private/model", 1).await;
    let mut ollama = Ollama::of(&pounce.url("/"), 400).with_key(key);
    let manifest = ollama.manifest("team/model", "v1").await.unwrap();
    assert_eq!(manifest["config"]["digest"], blob);
    let pulled = ollama.pull("team/model", &blob).await.unwrap();
    assert_eq!(crate::support::image::digest(&pulled), blob);
    // The token of one repository is exchanged for one of the other, which the rules refuse.
    let refused = ollama.manifest("private/model", "v1").await.unwrap_err();
    assert_eq!((refused.status, &refused.code()[..]), (403, "DENIED"));
    // Clients with passwords are asked for these, as ever.
    let reply = pounce.get("/v2/team/model/manifests/v1").await;
    assert_eq!(reply.header("www-authenticate"), "Basic realm=\"pounce\"");
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/token").await.status, 404);
    assert_eq!(pounce.get("/v2/token").await.status, 404);
}

#[tokio::test]
async fn a_token_is_good_for_the_scopes_that_were_signed() {
    let key = OllamaKey::new();
    let pounce = with_key(&key, &[]).await;
    for repository in ["team/model", "team/other"] {
        push(&pounce, "alice", repository, 1).await;
    }
    let asked = challenged(&pounce, "/v2/team/model/manifests/v1").await;
    assert_eq!((&asked.service[..], &asked.scope[..]), ("pounce", "repository:team/model:pull"));
    assert_eq!(asked.realm, pounce.url("/v2/token"));
    let url = token_request(&asked, now(), NONCE);
    let authorization = key.authorization(&url);
    // The request can be repeated for the same and no more.
    for _ in 0..2 {
        let reply = sent(&pounce, &url, &authorization).await;
        assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!(body["expires_in"].as_u64().unwrap() <= 300);
        let token = token(&reply);
        assert_eq!(status(&pounce, &token, "GET", "/v2/team/model/manifests/v1").await, 200);
        assert_eq!(status(&pounce, &token, "GET", "/v2/team/other/manifests/v1").await, 401);
        assert_eq!(status(&pounce, &token, "POST", "/v2/team/model/blobs/uploads/").await, 401);
        assert_eq!(status(&pounce, &token, "GET", "/v2/_catalog").await, 401);
        // A token gets no token.
        assert_eq!(status(&pounce, &token, "GET", "/v2/token").await, 401);
    }
    // A scope beyond the rules is signed easily, and of no use.
    let wide = Challenge { scope: "repository:team/model:pull,push,delete registry:catalog:*".into(), ..asked };
    let url = token_request(&wide, now(), NONCE);
    let token = token(&sent(&pounce, &url, &key.authorization(&url)).await);
    assert_eq!(status(&pounce, &token, "POST", "/v2/team/model/blobs/uploads/").await, 403);
    assert_eq!(status(&pounce, &token, "DELETE", "/v2/team/model/manifests/v1").await, 403);
}

#[tokio::test]
async fn a_request_that_the_key_did_not_sign_now_for_here_gets_no_token() {
    let key = OllamaKey::new();
    let pounce = with_key(&key, &[]).await;
    let asked = challenged(&pounce, "/v2/team/model/manifests/v1").await;
    let other = OllamaKey::new();
    let elsewhere = Challenge { realm: "http://registry.example.com/v2/token".into(), ..challenge_of(&asked) };
    let good = token_request(&asked, now(), NONCE);
    let cases = [
        ("an unknown key", good.clone(), other.authorization(&good)),
        (
            "another registry",
            token_request(&elsewhere, now(), NONCE),
            key.authorization(&token_request(&elsewhere, now(), NONCE)),
        ),
        ("another scope", good.replace("model", "other"), key.authorization(&good)),
        ("another nonce", good.replace(NONCE, "x"), key.authorization(&good)),
        ("an added scope", format!("{good}&scope=repository:team/other:pull"), key.authorization(&good)),
        (
            "no time",
            good.split("&ts=").next().unwrap().to_owned(),
            key.authorization(good.split("&ts=").next().unwrap()),
        ),
        (
            "an old time",
            token_request(&asked, now() - 301, NONCE),
            key.authorization(&token_request(&asked, now() - 301, NONCE)),
        ),
        (
            "a time to come",
            token_request(&asked, now() + 310, NONCE),
            key.authorization(&token_request(&asked, now() + 310, NONCE)),
        ),
        (
            "another's signature",
            good.clone(),
            format!("{}:{}", key.blob(), other.authorization(&good).split_once(':').unwrap().1),
        ),
        ("no signature", good.clone(), format!("{}:", key.blob())),
        ("no key", good.clone(), ":".to_owned()),
    ];
    let mut said = Vec::new();
    for (name, url, authorization) in cases {
        let reply = sent(&pounce, &url, &authorization).await;
        assert_eq!((reply.status, &reply.code()[..]), (401, "UNAUTHORIZED"), "{name}");
        assert!(reply.headers.contains_key("www-authenticate"), "{name}");
        said.push(reply.body);
    }
    said.dedup();
    assert_eq!(said.len(), 1, "the error tells what is wrong");
    let long = Challenge { scope: "repository:team/model:pull ".repeat(200), ..challenge_of(&asked) };
    let url = token_request(&long, now(), NONCE);
    assert_eq!(sent(&pounce, &url, &key.authorization(&url)).await.status, 401);
    // The clocks may differ by less.
    for ts in [now() - 290, now() + 290] {
        let url = token_request(&asked, ts, NONCE);
        assert_eq!(sent(&pounce, &url, &key.authorization(&url)).await.status, 200);
    }
    assert_eq!(sent(&pounce, &good, &key.authorization(&good)).await.status, 200);
}

fn challenge_of(other: &Challenge) -> Challenge {
    Challenge { realm: other.realm.clone(), service: other.service.clone(), scope: other.scope.clone() }
}

/// The client signs the URL that it was told, which a proxy may change on the way.
#[tokio::test]
async fn the_signed_url_is_the_public_one() {
    let key = OllamaKey::new();
    let trusted = ("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8");
    let host = ("REGISTRY_HTTP_HOST", "https://models.example.com/here/");
    // Another name of pounce, which an upstream has to itself.
    let other = ("REGISTRY_HTTP_HOST", "https://registry.example.com/here/");
    let named = ("REGISTRY_PROXY_UPSTREAMS", "[{host: registry.ollama.ai, hostnames: [models.example.com]}]");
    let path = "/v2/team/model/manifests/v1";
    for (settings, realm) in [
        (&[host][..], "https://models.example.com/here/v2/token"),
        (&[trusted, other, named], "https://models.example.com/here/v2/token"),
    ] {
        let pounce = with_key(&key, settings).await;
        let forwarded = |request: reqwest::RequestBuilder| {
            let request = request.header("x-forwarded-proto", "https").header("x-forwarded-host", "models.example.com");
            request.header("user-agent", "ollama/0.12.0")
        };
        let reply = pounce.send(forwarded(pounce.request("GET", path))).await;
        let asked = challenge(&reply.headers);
        assert_eq!(asked.realm, realm);
        let url = token_request(&asked, now(), NONCE);
        let here = format!("/v2/token?{}", url.split_once('?').unwrap().1);
        let request = pounce.request("GET", &here).header("authorization", key.authorization(&url));
        assert_eq!(pounce.send(forwarded(request)).await.status, 200);
    }
    // A proxy that is not trusted hides the scheme only.
    let pounce = with_key(&key, &[]).await;
    let asked = challenged(&pounce, path).await;
    let url = token_request(&asked, now(), NONCE).replace("http://", "https://");
    assert_eq!(sent(&pounce, &url, &key.authorization(&url)).await.status, 200);
}

/// Another registry that an Ollama called has a request that is signed for it, and sends it here.
#[tokio::test]
async fn a_login_that_another_registry_got_is_of_no_use_here() {
    let key = OllamaKey::new();
    let pounce = with_key(&key, &[("REGISTRY_HTTP_TRUSTEDPROXIES", "127.0.0.0/8")]).await;
    let asked = challenged(&pounce, "/v2/team/model/manifests/v1").await;
    let own = token_request(&asked, now(), NONCE);
    let query = own.split_once('?').unwrap().1;
    let theirs = format!("http://evil.example.com/v2/token?{query}");
    for header in ["host", "x-forwarded-host"] {
        let request = pounce.request("GET", &format!("/v2/token?{query}")).header(header, "evil.example.com");
        let reply = pounce.send(request.header("authorization", key.authorization(&theirs))).await;
        assert_eq!(reply.status, 401, "{header}");
    }
    assert_eq!(sent(&pounce, &own, &key.authorization(&own)).await.status, 200);
}

#[tokio::test]
async fn tokens_die_with_the_key_and_are_good_at_every_replica() {
    let key = OllamaKey::new();
    let secret = ("REGISTRY_HTTP_SECRET", "shared");
    let one = with_key(&key, &[secret]).await;
    let asked = challenged(&one, "/v2/team/model/tags/list").await;
    let url = token_request(&asked, now(), NONCE);
    let token = token(&sent(&one, &url, &key.authorization(&url)).await);
    let path = "/v2/team/model/tags/list";
    let other = with_key(&key, &[secret]).await;
    let (renamed, replaced) = (keys(&key, "alice"), keys(&OllamaKey::new(), "robot"));
    let renamed = with_key(&key, &[secret, ("REGISTRY_AUTH_OLLAMA_KEYS", &renamed)]).await;
    let replaced = with_key(&key, &[secret, ("REGISTRY_AUTH_OLLAMA_KEYS", &replaced)]).await;
    let stranger = with_key(&key, &[]).await;
    assert_eq!(status(&one, &token, "GET", path).await, 404);
    assert_eq!(status(&other, &token, "GET", path).await, 404);
    for pounce in [renamed, replaced, stranger] {
        assert_eq!(status(&pounce, &token, "GET", path).await, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_the_unknown_key_once_and_the_answer_does_not() {
    let (key, unknown) = (OllamaKey::new(), OllamaKey::new());
    let (users, keys) = (user("alice"), keys(&key, "robot"));
    let variables = [
        ("REGISTRY_HTTP_HOST", "http://models.example.com"),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &users[..]),
        ("REGISTRY_AUTH_OLLAMA_KEYS", &keys[..]),
    ];
    let mut process = Process::start(&variables);
    let realm = "http://models.example.com/v2/token".into();
    let url = token_request(&Challenge { realm, service: "pounce".into(), scope: String::new() }, now(), NONCE);
    let mut headers = HeaderMap::new();
    headers.insert("authorization", unknown.authorization(&url).parse().unwrap());
    let here = process.url(&format!("/v2/token?{}", url.split_once('?').unwrap().1));
    let reply = reqwest::Client::new().get(here).headers(headers).send().await.unwrap();
    assert_eq!(reply.status(), 401);
    let body = reply.text().await.unwrap();
    assert!(body.contains("id_ed25519.pub") && !body.contains("SHA256:"), "{body}");
    process.until("is not in auth.ollama.keys");
    process.terminate();
    let (_, log) = process.end();
    assert_eq!(log.matches("SHA256:").count(), 1, "{log}");
    assert!(!log.contains(&unknown.blob()) && !log.contains("nonce"), "{log}");
}

#[test]
fn keys_need_users_with_passwords_beside_them_and_the_url_of_pounce() {
    use pounce::config::{Config, Environment};
    let keys = keys(&OllamaKey::new(), "robot");
    let load = |variables: &[(&str, &str)]| {
        let environment: Environment = variables.iter().copied().collect();
        Config::load(None, &environment).map(drop).map_err(|error| error.to_string())
    };
    let error = load(&[("REGISTRY_AUTH_OLLAMA_KEYS", &keys)]).unwrap_err();
    assert!(error.contains("auth.htpasswd"), "{error}");
    let users = user("alice");
    let with = |keys: &str, host| {
        load(&[
            ("REGISTRY_AUTH_HTPASSWD_USERS", &users),
            ("REGISTRY_AUTH_OLLAMA_KEYS", keys),
            ("REGISTRY_HTTP_HOST", host),
        ])
    };
    let (host, error) = ("https://models.example.com", with(&keys, "").unwrap_err());
    assert!(error.contains("need http.host"), "{error}");
    assert_eq!(with(&keys, host), Ok(()));
    let error = with("[{key: ssh-rsa AAAA, user: robot}]", host).unwrap_err();
    assert!(error.contains("auth.ollama.keys.0.key") && error.contains("ssh-ed25519"), "{error}");
}
