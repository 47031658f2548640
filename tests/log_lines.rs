//! What the log says of a slow pull, of stale answers, failed logins, and clients that speak another protocol.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::image::digest;
use crate::support::tls::Authority;
use crate::support::upstream::Manners;
use crate::support::users::user;
use crate::support::{Image, Process, Upstream, borrowed};

const MIB: usize = 1 << 20;

/// The lines of a log with this message.
fn lines(log: &str, message: &str) -> Vec<Value> {
    let all = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|line| line["message"].as_str().is_some_and(|text| text.contains(message))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_whose_upstream_breaks_off_is_told_once_for_each_cause() {
    let upstream = Upstream::start().await;
    let image = Image::new(3, &[9 * MIB]);
    upstream.add("a/b", "v1", &image);
    upstream.behave(Manners { ranges: true, cuts_after: Some(MIB), ..Manners::default() });
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let url = process.url(&format!("/v2/a/b/blobs/{}", digest(image.layer())));
    assert_eq!(reqwest::get(&url).await.unwrap().bytes().await.unwrap(), image.layer());
    process.until("stored a blob");
    process.terminate();
    let (_, log) = process.end();
    let warned = lines(&log, "broke off");
    let causes: BTreeSet<_> = warned.iter().map(|line| line["error"].to_string()).collect();
    assert!(!warned.is_empty() && warned.len() == causes.len(), "{log}");
    for line in &warned {
        assert_eq!((&line["level"], &line["upstream"]), (&"WARN".into(), &upstream.url().into()));
        assert_eq!((&line["digest"], &line["repository"]), (&digest(image.layer()).into(), &"a/b".into()));
        assert!(line["attempt"].as_u64() >= Some(2) && line["wait_ms"].as_u64() > Some(0), "{line}");
        assert!(line["received"].as_u64() > Some(0), "{line}");
    }
    let stored = &lines(&log, "stored a blob")[0];
    assert_eq!((&stored["upstream"], &stored["shared"]), (&upstream.url().into(), &"alone".into()));
    assert!(stored["retries"].as_u64() > Some(warned.len() as u64), "{stored}");
    assert!(stored["connections"].as_u64() >= Some(1) && stored["mb_per_s"].as_f64() > Some(0.0), "{stored}");
    assert!(stored["first_byte_ms"].is_u64(), "{stored}");
}

/// Where each connection of each fill asked three times for each of its attempts, there were hundreds.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_dies_during_pulls_is_told_at_once_and_asked_few_times() {
    let upstream = Upstream::start().await;
    let image = Image::new(5, &[24 * MIB; 4]);
    upstream.add("a", "v1", &image);
    let manners =
        Manners { ranges: true, pace: Some(Duration::from_millis(5)), cuts_after: Some(4 * MIB), ..Manners::default() };
    upstream.behave(manners);
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let pulls = image.blobs[1..].iter().map(|layer| {
        let url = process.url(&format!("/v2/a/blobs/{}", digest(layer)));
        tokio::spawn(async move { reqwest::get(url).await.unwrap().bytes().await })
    });
    let pulls: Vec<_> = pulls.collect();
    while upstream.most_open() < 8 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = upstream.count("GET", "/blobs/");
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    process.until("broke off");
    for pulled in join_all(pulls).await {
        assert!(pulled.unwrap().is_err());
    }
    let asked = upstream.count("GET", "/blobs/") - before;
    // Of each of four fills: eight connections at most, one request each, and five attempts of the last one.
    assert!((4..=60).contains(&asked), "{asked} requests");
    process.terminate();
    let (_, log) = process.end();
    let failed = &lines(&log, "a fill failed")[0];
    assert!(failed["cause"].as_str().unwrap().contains("503") && failed["received"].as_u64() > Some(0), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_answers_are_told_once_a_minute_with_their_cause() {
    let upstream = Upstream::start().await;
    let tags = ["v1", "v2", "v3"];
    for tag in tags {
        upstream.add("a", tag, &Image::new(1, &[10]));
    }
    let mut process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_TAGTTL", "0"),
        ("REGISTRY_PROXY_PREFETCH", "false"),
    ]);
    let urls = tags.map(|tag| process.url(&format!("/v2/a/manifests/{tag}")));
    let get = async |url: &String| reqwest::get(url).await.unwrap();
    for url in &urls {
        assert_eq!(get(url).await.status(), 200);
    }
    process.until_quiet().await;
    upstream.behave(Manners { status: Some(502), ..Manners::default() });
    for url in &urls {
        let reply = get(url).await;
        assert!(reply.status() == 200 && reply.headers().contains_key("warning"));
    }
    process.until("serving the stored tag");
    process.terminate();
    let (_, log) = process.end();
    let stale = lines(&log, "serving the stored tag");
    assert_eq!(stale.len(), 1, "{log}");
    assert_eq!((&stale[0]["level"], &stale[0]["upstream"]), (&"WARN".into(), &upstream.url().into()));
    assert!(stale[0]["error"].as_str().unwrap().contains("502") && stale[0]["failing_seconds"].is_u64(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_login_names_the_user_in_the_log_only() {
    let mut process = Process::start(&[("REGISTRY_AUTH_HTPASSWD_USERS", &user("alice"))]);
    let url = process.url("/v2/");
    let log_in = async |name: &str| {
        let reply = reqwest::Client::new().get(&url).basic_auth(name, Some("wrong")).send().await.unwrap();
        assert_eq!(reply.status(), 401);
        (reply.headers()["www-authenticate"].to_str().unwrap().to_owned(), reply.text().await.unwrap())
    };
    let strange = format!("mal\n{}", "x".repeat(150));
    let (known, unknown) = (log_in("alice").await, log_in(&strange).await);
    // The client does not learn which users there are.
    assert_eq!(known, unknown);
    process.until("no such user");
    process.terminate();
    let (_, log) = process.end();
    let causes: Vec<_> =
        lines(&log, "request").iter().filter_map(|line| line["cause"].as_str().map(str::to_owned)).collect();
    assert_eq!(causes[0], r#"the login of "alice" failed: the password is wrong"#);
    let shown = format!(r#"the login of "mal\n{}" failed: there is no such user"#, "x".repeat(60));
    assert_eq!(causes[1], shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_speaks_tls_with_a_plain_listener_is_told() {
    let mut process = Process::start(&[]);
    for _ in 0..3 {
        let mut client = TcpStream::connect(&process.addr).await.unwrap();
        // The record of a handshake.
        client.write_all(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).await.unwrap();
        let mut reply = Vec::new();
        let _ = client.read_to_end(&mut reply).await;
    }
    let line = process.until("speaks TLS");
    assert!(line.contains("http.tls.certificate") && line.contains("WARN"), "{line}");
    process.terminate();
    let (_, log) = process.end();
    assert_eq!(lines(&log, "speaks TLS").len(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_speaks_http_with_a_tls_listener_is_told_and_answered() {
    let authority = Authority::new();
    authority.sign("server");
    let mut process = Process::start(&borrowed(&authority.variables("server")));
    for _ in 0..3 {
        let mut client = TcpStream::connect(&process.addr).await.unwrap();
        client.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        client.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("\r\n\r\nClient sent an HTTP request"), "{reply}");
        assert!(reply.contains("use https"), "{reply}");
    }
    let line = process.until("speaks plain HTTP");
    assert!(line.contains("http.tls") && line.contains("WARN"), "{line}");
    process.terminate();
    let (_, log) = process.end();
    assert_eq!(lines(&log, "speaks plain HTTP").len(), 1, "{log}");
}
