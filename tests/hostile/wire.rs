//! Hostile input: on the wire, in names, from untrusted proxies, and from upstreams.

use crate::support::image::digest;
use crate::support::wire::{canned, exchange, head, responses};
use crate::support::{Pounce, Process, Upstream};

const UPLOAD: &str = "/v2/a/blobs/uploads/0c0ffee0-0000-4000-8000-000000000000";

#[tokio::test]
async fn one_request_is_not_two() {
    let pounce = Pounce::with(&[]).await;
    let smuggled = head("GET", "/v2/smuggled/tags/list", &[]);
    let ambiguous = [
        (vec!["Content-Length: 5", "Content-Length: 6"], "aaaaa".to_owned(), 400),
        (vec!["Content-Length: 5, 6"], "aaaaa".to_owned(), 400),
        (vec!["Content-Length: +5"], "aaaaa".to_owned(), 400),
        (vec!["Content-Length: -1"], String::new(), 400),
        (vec!["Content-Length: 0x5"], "aaaaa".to_owned(), 400),
        (vec!["Content-Length: 99999999999999999999"], String::new(), 400),
        // Bytes behind a chunked body are no request, whichever length the header claims.
        (vec!["Transfer-Encoding: chunked", "Content-Length: 4"], format!("0\r\n\r\n{smuggled}"), 202),
        (vec!["Content-Length: 4", "Transfer-Encoding: chunked"], format!("0\r\n\r\n{smuggled}"), 202),
        // Codings that a proxy in front may read differently.
        (vec!["Transfer-Encoding: xchunked"], "0\r\n\r\n".to_owned(), 400),
        (vec!["Transfer-Encoding: chunked, identity"], "0\r\n\r\n".to_owned(), 400),
        (vec!["Transfer-Encoding : chunked"], "0\r\n\r\n".to_owned(), 400),
        (vec!["Transfer-Encoding: chunked"], "-1\r\n\r\n".to_owned(), 202),
        (vec!["Content-Length : 4"], "aaaa".to_owned(), 400),
        // A folded header, and lines that end in a bare CR or LF.
        (vec!["X: a", " Content-Length: 4"], "aaaa".to_owned(), 400),
        (vec!["X: a\rContent-Length: 4"], "aaaa".to_owned(), 400),
        (vec!["X: a\0b"], String::new(), 400),
    ];
    for (fields, body, status) in ambiguous {
        let request = head("POST", "/v2/a/blobs/uploads/", &fields) + &body;
        let reply = exchange(pounce.addr, request.as_bytes()).await;
        // One answer, and then pounce closes the connection.
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")) && responses(&reply) == 1, "{fields:?}: {reply}");
        assert!(!reply.contains("smuggled"), "{fields:?}: {reply}");
    }
}

#[tokio::test]
async fn a_request_is_for_one_host() {
    let pounce = Pounce::with(&[]).await;
    for fields in ["", "Host: a\r\nHost: b\r\n", "Host: a\r\nHost: a\r\n"] {
        let request = format!("GET /v2/ HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let reply = exchange(pounce.addr, request.as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
    }
    let reply = exchange(pounce.addr, b"GET /v2/ HTTP/1.0\r\n\r\n").await;
    assert!(reply.starts_with("HTTP/1.0 200"), "{reply}");
}

/// pounce does not send `100 Continue` for a body that it would throw away.
#[tokio::test]
async fn a_body_that_is_refused_is_not_asked_for() {
    let users = pounce::auth::htpasswd_line("alice", "secret", 4).unwrap();
    let pounce = Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &users)]).await;
    let fields = ["Expect: 100-continue", "Content-Length: 1000"];
    for path in ["/v2/a/manifests/v1", "/v2/A/manifests/v1"] {
        let reply = exchange(pounce.addr, head("PUT", path, &fields).as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 40"), "{reply}");
    }
    let credentials = "Authorization: Basic YWxpY2U6c2VjcmV0";
    let fields = [&fields[..], &[credentials, "Connection: close"]].concat();
    let request = head("PUT", "/v2/a/manifests/v1", &fields) + &"x".repeat(1000);
    let reply = exchange(pounce.addr, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 100") && reply.contains("HTTP/1.1 400"), "{reply}");
}

#[tokio::test]
async fn no_path_leads_out_of_a_repository() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let paths = [
        "/v2/../../../etc/passwd/manifests/v1",
        "/v2/a/../b/manifests/v1",
        "/v2/a/./b/manifests/v1",
        "/v2/%2e%2e/a/manifests/v1",
        "/v2/a%2f..%2fb/manifests/v1",
        "/v2/a%5c..%5cb/manifests/v1",
        "/v2/a\\..\\b/manifests/v1",
        "/v2/a/manifests/..%2f..%2fx",
        "/v2/a/manifests/%00",
        "/v2/a/manifests/v1%00.json",
        "/v2/a%00/manifests/v1",
        "/v2/a/manifests/v1%0d%0aX-Injected:%20yes",
        "/v2/a%0d%0aX-Injected:%20yes/manifests/v1",
        "/v2/a/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd",
        "/v2/a/blobs/sha256:%00",
        "/v2/_uploads/manifests/v1",
        "/v2/a/_manifests/manifests/v1",
        "/v2/a/blobs/uploads/..%2f..%2fx",
        "/v2/a/blobs/uploads/%00",
        "/v2/a/blobs/uploads/0c0ffee0-0000-4000-8000-000000000000%2f..",
        "/v2/a/referrers/..%2fx",
        "/v2//manifests/v1",
        "/v2/\u{202e}a/manifests/v1",
    ];
    for path in paths {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let request = head(method, path, &["Connection: close", "Content-Length: 0"]);
            let reply = exchange(pounce.addr, request.as_bytes()).await;
            let status = reply.split(' ').nth(1).unwrap_or_default();
            assert!(["400", "404", "405"].contains(&status), "{method} {path}: {reply}");
            assert!(!reply.to_ascii_lowercase().contains("\r\nx-injected"), "{reply}");
        }
    }
    assert_eq!(upstream.requests(), 0);
    assert!(pounce.objects().is_empty());
}

#[tokio::test]
async fn nothing_of_a_client_becomes_a_header() {
    let pounce = Pounce::with(&[]).await;
    let queries = [
        "/v2/a/referrers/sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855?artifactType=a%0d%0aX-Injected:%20yes",
        "/v2/_catalog?n=1&last=%0d%0aX-Injected:%20yes",
        "/v2/a/manifests/v1?ns=%0d%0aX-Injected:%20yes",
        "/v2/?ns=x%0d%0aX-Injected:%20yes",
    ];
    for query in queries {
        let request = head("GET", query, &["Connection: close"]);
        let reply = exchange(pounce.addr, request.as_bytes()).await;
        assert!(!reply.to_ascii_lowercase().contains("\r\nx-injected"), "{reply}");
    }
    // Invalid hosts: they would become part of URLs for the folder's blobs.
    let blob = pounce.push("a", bytes::Bytes::from_static(b"x")).await;
    for host in ["a b", "user@evil", "evil/x?", "evil#", "\"", "evil\\x", "a\",service=\"evil"] {
        let path = format!("/v2/a/blobs/{blob}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let reply = exchange(pounce.addr, request.as_bytes()).await;
        assert!(!reply.contains("evil"), "{host}: {reply}");
    }
}

#[tokio::test]
async fn realms_of_an_upstream_lead_nowhere_else_than_to_a_web_server() {
    let realms = [
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "ftp://127.0.0.1/",
        "unix:///var/run/docker.sock",
        "javascript:alert(1)",
        "//127.0.0.1/x",
        "data:application/json,{}",
        "http://",
        "",
    ];
    for realm in realms {
        let upstream = canned(format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\
             WWW-Authenticate: Bearer realm=\"{realm}\",service=\"s\"\r\n\r\n"
        ))
        .await;
        let url = format!("http://{upstream}");
        let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &url)]).await;
        let reply = pounce.get("/v2/a/b/manifests/v1").await;
        assert!([404, 503].contains(&reply.status), "{realm}: {reply:?}");
        assert!(!reply.body.windows(4).any(|it| it == b"root"), "{realm}");
    }
}

#[tokio::test]
async fn an_upstream_puts_nothing_into_the_headers_or_the_log() {
    let manifest = br#"{"schemaVersion":2,"layers":[]}"#;
    let upstream = canned(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\nContent-Type: text/html; x=\"\x01\"\r\n\
         Docker-Content-Digest: sha256:\x1b[31mred\r\nX-Injected: yes\r\n\r\n{}",
        manifest.len(),
        String::from_utf8_lossy(manifest)
    ))
    .await;
    let url = format!("http://{upstream}");
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &url)]);
    let reply = reqwest::get(process.url("/v2/a/b/manifests/v1")).await.unwrap();
    assert!(!reply.headers().contains_key("x-injected"));
    process.terminate();
    let (_, log) = process.end();
    assert!(!log.contains('\x1b') && !log.contains("X-Injected"), "{log}");
    for line in log.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

/// The log has no credentials at any level, and no input forges a line.
#[tokio::test]
async fn the_log_keeps_passwords_and_forgers_out() {
    let line = pounce::auth::htpasswd_line("alice", "correct horse", 4).unwrap();
    let hash = line.split_once(':').unwrap().1.to_owned();
    let mut process = Process::start(&[
        ("REGISTRY_AUTH_HTPASSWD_USERS", &line),
        ("REGISTRY_AUTH_RULES", "[{users: [anonymous, alice], actions: [pull, push]}]"),
        ("REGISTRY_LOG_LEVEL", "debug"),
        ("REGISTRY_LOG_FORMATTER", "text"),
        ("REGISTRY_HTTP_SECRET", "battery staple"),
    ]);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let ask = |user: &'static str, password: &'static str, path: &str| {
        let request = client.get(process.url(path)).basic_auth(user, Some(password));
        async move { request.send().await.unwrap() }
    };
    let issued = ask("alice", "correct horse", "/v2/token").await.text().await.unwrap();
    let issued: serde_json::Value = serde_json::from_str(&issued).unwrap();
    let token = issued["token"].as_str().unwrap().to_owned();
    ask("alice", "wrong guess", "/v2/").await;
    ask("mallory\n2026-01-01T00:00:00Z ERROR forged", "wrong guess", "/v2/").await;
    ask("alice", "correct horse", "/v2/%0a2026-01-01T00:00:00Z%20ERROR%20forged/x").await;
    ask("alice", "correct horse", "/v2/a/manifests/v1?ns=x%0aERROR%20forged").await;
    let blob = b"content".to_vec();
    let push = format!("/v2/a/blobs/uploads/?digest={}", digest(&blob));
    let pushed = client.post(process.url(&push)).bearer_auth(&token).body(blob.clone());
    assert_eq!(pushed.send().await.unwrap().status(), 201);
    let pulled = ask("alice", "correct horse", &format!("/v2/a/blobs/{}", digest(&blob))).await;
    let location = pulled.headers()["location"].to_str().unwrap().to_owned();
    let signature = location.split("X-Amz-Signature=").nth(1).unwrap().to_owned();
    process.terminate();
    process.until("ended");
    let (_, log) = process.end();
    let encoded = "YWxpY2U6Y29ycmVjdCBob3JzZQ==";
    for secret in [
        "correct horse",
        "wrong guess",
        "battery staple",
        encoded,
        &hash,
        &token,
        &signature,
        "X-Amz-Signature",
        "uthorization",
    ] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    assert!(log.lines().all(|line| !line.starts_with("2026-01-01")), "{log}");
    assert!(!log.lines().any(|line| line.trim_start().starts_with("ERROR")), "{log}");
    // The log names the client.
    assert!(log.contains("alice") && log.contains("127.0.0.1"), "{log}");
}

#[tokio::test]
async fn a_state_of_one_repository_is_none_of_another_whoever_asks() {
    let lines: Vec<String> = ["alice", "bob"].map(|name| pounce::auth::htpasswd_line(name, name, 4).unwrap()).into();
    let rules = "[{users: [alice], repositories: [a], actions: [pull, push]}, \
                 {users: [bob], repositories: [b], actions: [pull, push]}]";
    let pounce =
        Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines.join(",")), ("REGISTRY_AUTH_RULES", rules)]).await;
    let ask = |user: &'static str, method: &str, path: &str| {
        pounce.send(pounce.request(method, path).basic_auth(user, Some(user)))
    };
    let begun = ask("alice", "POST", "/v2/a/blobs/uploads/").await;
    let location = begun.header("location").to_owned();
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(ask("bob", method, &location).await.status, 403, "{method}");
        // A signed location of one repository does not fit another one.
        let moved = location.replace("/v2/a/", "/v2/b/");
        assert_eq!(ask("bob", method, &moved).await.status, 404, "{method}");
    }
    assert_eq!(ask("alice", "GET", UPLOAD).await.status, 404);
    assert_eq!(ask("alice", "GET", &location).await.status, 204);
}
