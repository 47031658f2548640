//! Logins: htpasswd, from a file and from a variable.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::users::{ask, by, push, until, user, with_users};
use crate::support::{Pounce, Process};

#[tokio::test]
async fn whoever_knows_the_password_is_let_in() {
    let pounce = with_users(&["alice"]).await;
    let (blob, _) = push(&pounce, "alice", "a/b", 1).await;
    let paths = [
        ("GET", "/v2/".to_owned()),
        ("HEAD", format!("/v2/a/b/blobs/{blob}")),
        ("GET", format!("/v2/a/b/blobs/{blob}")),
        ("GET", "/v2/a/b/manifests/v1".to_owned()),
        ("PUT", "/v2/a/b/manifests/v1".to_owned()),
        ("DELETE", "/v2/a/b/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/b/blobs/{blob}")),
        ("GET", "/v2/a/b/tags/list".to_owned()),
        ("GET", format!("/v2/a/b/referrers/{blob}")),
        ("POST", "/v2/a/b/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/a/b/blobs/uploads/?mount={blob}&from=c/d")),
        ("PATCH", "/v2/a/b/blobs/uploads/0c0ffee0-0000-4000-8000-000000000000".to_owned()),
        ("GET", "/v2/_catalog".to_owned()),
        // A refusal tells neither which content nor which upstream hosts exist.
        ("GET", "/v2/no/such/manifests/v1".to_owned()),
        ("GET", "/v2/a/b/manifests/v1?ns=169.254.169.254".to_owned()),
    ];
    for (method, path) in &paths {
        let nobody = pounce.request(method, path);
        let wrong = pounce.request(method, path).basic_auth("alice", Some("bob's"));
        let unknown = pounce.request(method, path).basic_auth("bob", Some("bob's"));
        for request in [nobody, wrong, unknown] {
            let reply = pounce.send(request).await;
            assert_eq!(reply.status, 401, "{method} {path} {reply:?}");
            assert_eq!(reply.header("www-authenticate"), "Basic realm=\"pounce\"");
            assert_eq!(reply.header("docker-distribution-api-version"), "registry/2.0");
            if *method != "HEAD" {
                assert_eq!(reply.code(), "UNAUTHORIZED");
            }
        }
    }
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    let reply = ask(&pounce, "alice", "GET", &format!("/v2/a/b/blobs/{blob}")).await;
    assert_eq!(pounce.follow(&reply).await.status, 200);
    // Probes need no password.
    assert_eq!(pounce.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_is_no_password_is_refused() {
    let pounce = with_users(&["alice"]).await;
    let encoded = |bytes: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let headers = [
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic !!!".to_owned(),
        format!("Basic {}", encoded(b"alice")),
        format!("Basic {}", encoded(b"al\xffice:alice's")),
        format!("Basic {}", encoded(b"alice:\xff\xfe")),
        format!("Basic {}", encoded(b"alice:alice's\0")),
        format!("Basic {}", encoded(b":alice's")),
        format!("Basic {}", encoded(b"alice:")),
        format!("Basic {}", encoded(&b"a".repeat(20_000))),
        format!("Digest {}", encoded(b"alice:alice's")),
        format!("Bearer {}", encoded(b"alice:alice's")),
        "Bearer a.b.c".to_owned(),
    ];
    for header in headers {
        let request = pounce.request("GET", "/v2/").header("authorization", &header);
        assert_eq!(pounce.send(request).await.status, 401, "{header:.40}");
    }
    // podman's empty credentials do not count as a wrong password.
    let request = pounce.request("GET", "/v2/");
    let reply = pounce.send(request.header("authorization", "Basic Og==")).await;
    assert_eq!(reply.status, 401);
    assert!(String::from_utf8_lossy(&reply.body).contains("log in first"));
    // Two headers are ambiguous, so both are refused.
    let twice = by("alice", by("alice", pounce.request("GET", "/v2/")));
    assert_eq!(pounce.send(twice).await.status, 401);
    // Base64 without padding, and the scheme in another case.
    let bare = encoded(b"alice:alice's").replace('=', "");
    let request = pounce.request("GET", "/v2/");
    let request = request.header("authorization", format!("bAsIc {bare}"));
    assert_eq!(pounce.send(request).await.status, 200);
}

#[tokio::test]
async fn a_password_is_compared_once() {
    let pounce = with_users(&["alice"]).await;
    let asking = (0..50).map(|_| ask(&pounce, "alice", "GET", "/v2/"));
    let replies = futures_util::future::join_all(asking).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(pounce.metric("password_checks").await, 1);
    // A wrong password is compared once, too.
    for _ in 0..5 {
        let request = pounce.request("GET", "/v2/").basic_auth("alice", Some("x"));
        assert_eq!(pounce.send(request).await.status, 401);
    }
    assert_eq!(pounce.metric("password_checks").await, 2);
}

#[tokio::test]
async fn guessing_is_limited_by_user_and_address() {
    let pounce = with_users(&["alice", "bob"]).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    let mut refused = 0;
    for guess in 0..40 {
        let guess = pounce.request("GET", "/v2/").basic_auth("alice", Some(guess));
        let reply = pounce.send(guess).await;
        if reply.status == 429 {
            assert_eq!(reply.code(), "TOOMANYREQUESTS");
            assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
            refused += 1;
        } else {
            assert_eq!(reply.status, 401);
        }
    }
    // Ten guesses at once, and one more every six seconds.
    assert!(refused >= 20, "{refused}");
    // A cached login still works, and another user is not affected.
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 200);
    // Guessing many names from one address is limited, too.
    let mut compared = 0;
    for guess in 0..120 {
        let user = format!("user-{guess}");
        let guess = pounce.request("GET", "/v2/").basic_auth(user, Some("x"));
        compared += usize::from(pounce.send(guess).await.status == 401);
    }
    assert!(compared < 60, "{compared}");
}

/// A right guess would stand out if only wrong ones were refused, so after thousands of guesses pounce refuses every
/// login from that address.
#[tokio::test]
async fn guessing_on_and_on_tells_nothing() {
    let pounce = with_users(&["alice"]).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    for guess in 0..20_300 {
        let guess = pounce.request("GET", "/v2/").basic_auth("alice", Some(guess));
        assert!([401, 429].contains(&pounce.send(guess).await.status));
    }
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 429);
}

#[tokio::test]
async fn a_changed_file_counts_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, user("alice")).unwrap();
    let pounce = Pounce::with(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "some realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", path.to_str().unwrap()),
    ])
    .await;
    let refused = pounce.get("/v2/").await;
    assert_eq!(refused.header("www-authenticate"), "Basic realm=\"some realm\"");
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);

    // The new file removes alice and adds bob.
    std::fs::write(&path, user("bob")).unwrap();
    until(&pounce, "bob", 200).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 401);
    // If the file cannot be read, the users stay as they are.
    std::fs::write(&path, "what is this\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 200);
    // As Kubernetes changes a file: by renaming another one over it.
    std::fs::write(folder.path().join("new"), user("alice")).unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    until(&pounce, "alice", 200).await;
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 401);
}

#[tokio::test]
async fn a_missing_file_is_made_with_a_first_user() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/htpasswd");
    let variables = [("REGISTRY_AUTH", "htpasswd"), ("REGISTRY_AUTH_HTPASSWD_PATH", path.to_str().unwrap())];
    let mut process = Process::start(&variables);
    let line = process.seen.lines().find(|line| line.contains("\"password\"")).unwrap();
    let said: serde_json::Value = serde_json::from_str(line).unwrap();
    let password = said["password"].as_str().unwrap();
    let client = reqwest::Client::new();
    let request = client.get(process.url("/v2/")).basic_auth("docker", Some(password));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The log shows the password once, and the file is not changed.
    let before = std::fs::read(&path).unwrap();
    process.terminate();
    process.until("ended");
    let (status, log) = process.end();
    assert_eq!((status, log.matches(password).count()), (0, 1));
    let (_, log) = {
        let again = Process::start(&variables);
        again.terminate();
        again.end()
    };
    assert!(!log.contains("\"password\""), "{log}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
