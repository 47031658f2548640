//! Logins: who gets a session, and which sessions are none.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::{as_browser, post, text, view};
use crate::support::users::{password, user};
use crate::support::{Pounce, Reply};

const SECRET: &str = "a secret of the tests that is long enough";

async fn started(line: &str) -> Pounce {
    Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", line), ("REGISTRY_HTTP_SECRET", SECRET)]).await
}

async fn log_in(pounce: &Pounce, name: &str, password: &str) -> Reply {
    pounce
        .send(post(pounce, "/-/login", &[("user", name), ("password", password), ("next", "/-/repositories/a")]))
        .await
}

/// The value of the cookie that a login sets.
fn session(reply: &Reply) -> String {
    let cookie = reply.header("set-cookie").strip_prefix("pounce_session=").unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn with(pounce: &Pounce, session: &str, path: &str) -> Reply {
    let request = as_browser(pounce.request("GET", path)).header("cookie", format!("x=y; pounce_session={session}"));
    pounce.send(request).await
}

/// Whether a session lets its user in.
async fn lets_in(pounce: &Pounce, session: &str) -> bool {
    let reply = with(pounce, session, "/").await;
    assert!([200, 303].contains(&reply.status), "{reply:?}");
    reply.status == 200
}

#[tokio::test]
async fn a_user_logs_in_and_out() {
    let pounce = started(&user("alice")).await;
    for path in ["/", "/-/repositories/a", "/-/repositories/a/-/v1", "/-/repositories/a/-/v1/delete"] {
        let reply = view(&pounce, path).await;
        let next: String = url::form_urlencoded::byte_serialize(path.as_bytes()).collect();
        assert_eq!((reply.status, reply.header("location")), (303, &*format!("/-/login?next={next}")), "{path}");
    }
    assert!(text(&view(&pounce, "/-/login?next=/x").await).contains("name=\"next\" value=\"/x\""));
    for (name, password) in [("alice", "bob's"), ("bob", "bob's"), ("", ""), ("alice", "")] {
        let reply = log_in(&pounce, name, password).await;
        assert_eq!((reply.status, reply.header("set-cookie")), (403, ""), "{name}");
        assert!(text(&reply).contains("do not fit together") && reply.header("www-authenticate").is_empty());
    }
    let reply = log_in(&pounce, "alice", &password("alice")).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/-/repositories/a"));
    let cookie = reply.header("set-cookie");
    assert!(cookie.ends_with("; Path=/; Max-Age=28800; HttpOnly; SameSite=Strict"), "{cookie}");
    let session = session(&reply);
    let overview = with(&pounce, &session, "/").await;
    assert!(overview.status == 200 && text(&overview).contains("<bdi class=\"who\">alice</bdi>"), "{overview:?}");
    // The API takes no cookie, so that no other site's form can use one there.
    let api = pounce.request("GET", "/v2/").header("cookie", format!("pounce_session={session}"));
    assert_eq!(pounce.send(api).await.status, 401);
    let reply = pounce.send(post(&pounce, "/-/logout", &[])).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/"));
    assert!(reply.header("set-cookie").starts_with("pounce_session=; Path=/; Max-Age=0"), "{reply:?}");
    assert_eq!(view(&pounce, "/-/logout").await.status, 405);
}

#[tokio::test]
async fn behind_tls_the_cookie_is_sent_to_tls_only_and_below_the_prefix() {
    let lines = user("alice");
    let users = ("REGISTRY_AUTH_HTPASSWD_USERS", lines.as_str());
    let host = ("REGISTRY_HTTP_HOST", "https://registry.example/r/");
    let pounce = Pounce::with(&[users, host, ("REGISTRY_HTTP_PREFIX", "/inside")]).await;
    let fields = [("user", "alice"), ("password", "alice's"), ("next", "https://evil.example/")];
    let reply = pounce.send(post(&pounce, "/inside/-/login", &fields)).await;
    assert_eq!((reply.status, reply.header("location")), (303, "/r/"));
    let cookie = reply.header("set-cookie");
    assert!(cookie.ends_with("; Path=/r; Max-Age=28800; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
}

fn signed(secret: &str, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(["pounce session\n", secret].concat().as_bytes()).unwrap();
    mac.update(text.as_bytes());
    format!("{text}.{}", BASE64.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_session_that_pounce_did_not_make_is_none() {
    let line = user("alice");
    let pounce = started(&line).await;
    let bound = const_hex::encode(Sha256::digest(line.split_once(':').unwrap().1));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "HS256"});
    let claims = json!({"iss": "pounce page", "aud": "pounce page", "exp": now + 60, "sub": "alice", "bound": bound});
    let changed = |key: &str, value: Value| {
        let mut claims = claims.clone();
        claims[key] = value;
        signed(SECRET, &header, &claims)
    };
    let good = signed(SECRET, &header, &claims);
    assert!(lets_in(&pounce, &good).await);
    let body = good.split('.').nth(1).unwrap();
    let none = BASE64.encode(json!({"alg": "none"}).to_string());
    let token = pounce.send(pounce.request("GET", "/v2/token").basic_auth("alice", Some("alice's"))).await;
    let token: Value = serde_json::from_slice(&token.body).unwrap_or_default();
    for (why, session) in [
        ("another secret", signed("another secret that is long enough", &header, &claims)),
        ("expired", changed("exp", json!(now - 1))),
        ("no end", changed("exp", Value::Null)),
        ("another user", changed("sub", json!("bob"))),
        ("no user", changed("sub", Value::Null)),
        ("another password", changed("bound", json!("0".repeat(64)))),
        ("not bound", changed("bound", Value::Null)),
        ("a token's audience", changed("aud", json!("pounce"))),
        ("not signed", format!("{none}.{body}.")),
        ("the signature of another", format!("{}.{body}.{}", BASE64.encode(header.to_string()), "A".repeat(43))),
        ("a token", token["token"].as_str().unwrap_or_default().to_owned()),
        ("long", "a".repeat(5000)),
        ("nothing", String::new()),
    ] {
        assert!(!lets_in(&pounce, &session).await, "{why}");
    }
    // Another replica with the same secret takes it, and one with another does not.
    assert!(lets_in(&started(&line).await, &good).await);
    let other = [("REGISTRY_AUTH_HTPASSWD_USERS", line.as_str()), ("REGISTRY_HTTP_SECRET", "other, and long enough")];
    assert!(!lets_in(&Pounce::with(&other).await, &good).await);
}

#[tokio::test]
async fn a_new_password_ends_a_session_and_so_does_a_removed_user() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users");
    let (alice, bob) = (user("alice"), user("bob"));
    std::fs::write(&file, format!("{alice}\n{bob}\n")).unwrap();
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_PATH", file.to_str().unwrap())]).await;
    let first = session(&log_in(&pounce, "alice", "alice's").await);
    let second = session(&log_in(&pounce, "bob", "bob's").await);
    assert!(lets_in(&pounce, &first).await && lets_in(&pounce, &second).await);
    let anew = pounce::auth::htpasswd_line("alice", "new", 4).unwrap();
    std::fs::write(&file, format!("{anew}\n# {bob}\ncarol:{}\n", anew.split_once(':').unwrap().1)).unwrap();
    for _ in 0..400 {
        if !lets_in(&pounce, &first).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(!lets_in(&pounce, &first).await && !lets_in(&pounce, &second).await);
    assert!(lets_in(&pounce, &session(&log_in(&pounce, "alice", "new").await)).await);
}

#[tokio::test]
async fn another_site_logs_nobody_in() {
    let pounce = started(&user("alice")).await;
    let own = format!("http://{}", pounce.addr);
    let cases = [
        (Some("same-origin"), None, 303),
        (Some("same-origin"), Some("https://evil.example"), 303),
        (None, Some(own.as_str()), 303),
        (Some("cross-site"), Some(own.as_str()), 403),
        (Some("same-site"), None, 403),
        (Some("none"), None, 403),
        (None, None, 403),
        (None, Some("null"), 403),
        (None, Some("https://evil.example"), 403),
        (None, Some("http://127.0.0.1"), 403),
    ];
    for (site, origin, status) in cases {
        let mut request = pounce.request("POST", "/-/login").body("user=alice&password=alice%27s");
        for (name, value) in [("sec-fetch-site", site), ("origin", origin)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let reply = pounce.send(request).await;
        assert_eq!(reply.status, status, "{site:?} {origin:?}");
        assert_eq!(reply.headers.contains_key("set-cookie"), status == 303, "{site:?} {origin:?}");
    }
    let twice = pounce.request("POST", "/-/login").header("sec-fetch-site", "same-origin");
    let twice = twice.header("sec-fetch-site", "cross-site").body("user=alice&password=alice%27s");
    assert_eq!(pounce.send(twice).await.status, 403);
}

#[tokio::test]
async fn guesses_are_limited_as_those_of_clients_are() {
    let pounce = started(&user("alice")).await;
    let mut statuses = Vec::new();
    for guess in 0..12 {
        statuses.push(log_in(&pounce, "alice", &guess.to_string()).await.status);
    }
    assert_eq!((statuses[0], statuses.contains(&429)), (403, true), "{statuses:?}");
    let limited = log_in(&pounce, "alice", "once more").await;
    assert!(limited.status == 429 && !limited.header("retry-after").is_empty(), "{limited:?}");
    // A client that guesses has the same limit.
    let client = pounce.request("GET", "/v2/").basic_auth("alice", Some("and more"));
    assert_eq!(pounce.send(client).await.status, 429);
    let long = "x".repeat(10_000);
    assert_eq!(pounce.send(post(&pounce, "/-/login", &[("user", "alice"), ("password", &long)])).await.status, 400);
}
