//! How events come to an endpoint: order, headers, failures, redirects, TLS, shutdown; and endpoints that misbehave.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::check::run;
use crate::mistakes::{Case, load, name_their_setting};
use crate::support::image::{OCI_MANIFEST, digest};
use crate::support::receiver::{Manner, Receiver};
use crate::support::tls::Authority;
use crate::support::{Image, Pounce, Process};

const ENDPOINTS: &str = "REGISTRY_NOTIFICATIONS_ENDPOINTS";

async fn pounce(receiver: &Receiver, settings: &str) -> Pounce {
    Pounce::with(&[(ENDPOINTS, &format!("[{}]", receiver.endpoint(settings)))]).await
}

/// Pushes so many blobs, one after the other.
async fn push(pounce: &Pounce, count: usize) -> Vec<String> {
    let mut digests = Vec::new();
    for number in 0..count {
        digests.push(pounce.push("a/b", number.to_string().into()).await);
    }
    digests
}

fn digests(events: &[Value]) -> Vec<String> {
    events.iter().map(|event| event["target"]["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn events_come_in_order_one_at_a_time() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Manner::Slow(Duration::from_millis(2)));
    let pounce = pounce(&receiver, "").await;
    let pushed = push(&pounce, 30).await;
    receiver.until(30).await;
    assert_eq!(digests(&receiver.events()), pushed);
}

#[tokio::test]
async fn headers_are_sent_and_not_shown() {
    let receiver = Receiver::start().await;
    let headers = "headers: {Authorization: [Bearer s3cret], X-A: [b, c], X-B: d}";
    let pounce = pounce(&receiver, headers).await;
    push(&pounce, 1).await;
    let posted = receiver.until(1).await;
    let values = |name: &str| -> Vec<_> {
        posted[0].headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(values("authorization"), ["Bearer s3cret"]);
    assert_eq!((values("x-a"), values("x-b")), (vec!["b".to_owned(), "c".to_owned()], vec!["d".to_owned()]));
    assert_eq!(values("content-type"), ["application/vnd.docker.distribution.events.v1+json"]);
    assert!(values("user-agent")[0].starts_with("pounce/"));
    let file = format!("notifications: {{endpoints: [{{url: 'http://u:s3cret@h/?t=s3cret', {headers}}}]}}");
    let loaded = load(&file, &[]).unwrap();
    let shown = format!("{:?} {:?}", loaded.config, loaded.settings());
    assert!(shown.contains("X-B") && shown.contains("http://***@h/?***") && !shown.contains("s3cret"), "{shown}");
}

/// Retries at once up to the threshold, then once in each backoff, and no event is lost or overtaken.
#[tokio::test]
async fn an_endpoint_that_fails_gets_the_same_event_until_it_takes_it() {
    let receiver = Receiver::start().await;
    let failing = std::sync::atomic::AtomicUsize::new(5);
    receiver.behave(move |_| {
        let left = failing.load(std::sync::atomic::Ordering::SeqCst);
        failing.store(left.saturating_sub(1), std::sync::atomic::Ordering::SeqCst);
        Manner::Status([200, 500, 404, 503, 429, 500][left])
    });
    let pounce = pounce(&receiver, "threshold: 3, backoff: 20ms").await;
    let pushed = push(&pounce, 2).await;
    receiver.until(7).await;
    let came = digests(&receiver.events());
    assert_eq!(came[..6], vec![pushed[0].clone(); 6]);
    assert_eq!(came[6..], pushed[1..]);
    let ids: Vec<_> = receiver.events()[..6].iter().map(|event| event["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    pounce.until_metric("events_pending", 0).await;
    assert_eq!((pounce.metric("event_failures_total").await, pounce.metric("events_total").await), (5, 2));
}

#[tokio::test]
async fn an_endpoint_that_hangs_ends_by_its_timeout() {
    let receiver = Receiver::start().await;
    let once = std::sync::atomic::AtomicBool::new(true);
    receiver.behave(move |_| {
        let is_first = once.swap(false, std::sync::atomic::Ordering::SeqCst);
        if is_first { Manner::Hang } else { Manner::Status(204) }
    });
    let pounce = pounce(&receiver, "timeout: 100ms").await;
    // The client waits for none of it.
    let pushed = push(&pounce, 1).await;
    receiver.until(2).await;
    pounce.until_metric("events_pending", 0).await;
    assert_eq!(digests(&receiver.events()), [pushed[0].clone(), pushed[0].clone()]);
    assert_eq!(pounce.metric("event_failures_total").await, 1);
}

/// The queue is bounded, so is memory: what is more is dropped, counted, and said once.
#[tokio::test]
async fn an_endpoint_that_never_takes_any_costs_a_bounded_queue() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Manner::Status(500));
    let endpoint = format!("[{}]", receiver.endpoint("threshold: 1, backoff: 1h"));
    let mut process = Process::start(&[(ENDPOINTS, &endpoint), ("REGISTRY_HTTP_DRAINTIMEOUT", "0s")]);
    let (client, image) = (reqwest::Client::new(), Image::new(1, &[]));
    let blob = process.url(&format!("/v2/a/b/blobs/uploads/?digest={}", digest(&image.blobs[0])));
    let tag = process.url("/v2/a/b/manifests/t");
    let manifest = client.put(&tag).header("content-type", OCI_MANIFEST).body(image.manifest.clone());
    assert_eq!(client.post(&blob).body(image.blobs[0].clone()).send().await.unwrap().status(), 201);
    assert_eq!(manifest.send().await.unwrap().status(), 201);
    let pull = |_| async { client.head(&tag).send().await.unwrap().status() };
    let pulls = stream::iter(0..10_048).map(pull).buffer_unordered(16).collect::<Vec<_>>().await;
    assert!(pulls.iter().all(|status| *status == 200));
    assert_eq!(process.metric("events_pending").await, 10_000);
    assert_eq!(process.metric("events_total").await, 50);
    process.until("events were dropped");
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0);
    assert_eq!(log.matches("events were dropped").count(), 1, "{log}");
    assert_eq!(log.matches("did not take one").count(), 1, "{log}");
    assert!(log.contains("\"lost\":10000"), "{log}");
}

#[tokio::test]
async fn redirects_are_followed_inside_the_host_only() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let away = other.url("/stolen");
    receiver.behave(move |posted| match &posted.path[..] {
        "/events" => Manner::Redirect(307, "/moved".to_owned()),
        "/moved" => Manner::Redirect(308, away.clone()),
        _ => Manner::Status(500),
    });
    let pounce = pounce(&receiver, "headers: {Authorization: [Bearer s3cret]}").await;
    push(&pounce, 1).await;
    pounce.until_metric("events_total", 1).await;
    let posted = receiver.posted();
    let paths: Vec<_> = posted.iter().map(|it| (&it.method[..], &it.path[..])).collect();
    assert_eq!(paths, [("POST", "/events"), ("POST", "/moved")]);
    assert_eq!(
        (posted[1].event(), &posted[1].headers["authorization"]),
        (posted[0].event(), &"Bearer s3cret".parse().unwrap())
    );
    assert!(other.posted().is_empty());
    // Any other 3xx is the endpoint's own business.
    receiver.behave(|_| Manner::Redirect(302, "/login".to_owned()));
    push(&pounce, 1).await;
    pounce.until_metric("events_total", 2).await;
    assert_eq!((receiver.posted().len(), pounce.metric("event_failures_total").await), (3, 0));
}

#[tokio::test]
async fn a_circle_of_redirects_is_a_failure() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Manner::Redirect(307, "/events".to_owned()));
    let pounce = pounce(&receiver, "threshold: 1, backoff: 1h").await;
    push(&pounce, 1).await;
    pounce.until_metric("event_failures_total", 1).await;
    assert_eq!(receiver.posted().len(), 6);
}

/// An endpoint that fails does not keep another one waiting.
#[tokio::test]
async fn endpoints_have_queues_of_their_own() {
    let (bad, good) = (Receiver::start().await, Receiver::start().await);
    bad.behave(|_| Manner::Hang);
    let endpoints = format!("[{}, {}]", bad.endpoint("timeout: 1h"), good.endpoint(""));
    let pounce = Pounce::with(&[(ENDPOINTS, &endpoints)]).await;
    let pushed = push(&pounce, 5).await;
    good.until(5).await;
    assert_eq!((digests(&good.events()), bad.posted().len()), (pushed, 1));
}

#[tokio::test]
async fn the_shutdown_sends_what_waits() {
    let receiver = Receiver::start().await;
    // It takes nothing before the shutdown.
    receiver.behave(|_| Manner::Status(503));
    let mut pounce = pounce(&receiver, "threshold: 1, backoff: 5ms").await;
    let pushed = push(&pounce, 20).await;
    let before = receiver.until(1).await.len();
    pounce.end_from_outside();
    receiver.until(before + 2).await;
    receiver.behave(|_| Manner::Status(200));
    pounce.end().await;
    let mut came = digests(&receiver.events());
    came.dedup();
    assert_eq!(came, pushed);
}

/// The time of the shutdown bounds it, whatever the endpoint does.
#[tokio::test]
async fn a_shutdown_ends_with_an_endpoint_that_hangs() {
    let receiver = Receiver::start().await;
    receiver.behave(|_| Manner::Hang);
    let endpoint = format!("[{}]", receiver.endpoint("timeout: 1h"));
    let process = Process::start(&[(ENDPOINTS, &endpoint), ("REGISTRY_HTTP_DRAINTIMEOUT", "100ms")]);
    let blob = process.url(&format!("/v2/a/b/blobs/uploads/?digest={}", digest(b"x")));
    assert_eq!(reqwest::Client::new().post(&blob).body("x").send().await.unwrap().status(), 201);
    receiver.until(1).await;
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0);
    assert!(log.contains("events are lost") && log.contains("\"lost\":1"), "{log}");
}

/// The CAs of the system, or of `SSL_CERT_FILE`, as for upstreams.
#[tokio::test]
async fn an_endpoint_over_tls_needs_a_certificate_that_is_trusted() {
    let authority = Authority::new();
    authority.sign("events");
    let receiver = Receiver::with_tls(&authority.path("events.crt")).await;
    let endpoint =
        format!("[{{name: tls, url: 'https://localhost:{}/', threshold: 1, backoff: 1h}}]", receiver.addr.port());
    let root = authority.text("root.crt");
    for (trusted, variables) in
        [(true, vec![(ENDPOINTS, &endpoint[..]), ("SSL_CERT_FILE", &root)]), (false, vec![(ENDPOINTS, &endpoint[..])])]
    {
        let process = Process::start(&variables);
        let blob = process.url(&format!("/v2/a/b/blobs/uploads/?digest={}", digest(b"x")));
        assert_eq!(reqwest::Client::new().post(&blob).body("x").send().await.unwrap().status(), 201);
        let (took, failed) = if trusted { ("events_total", 1) } else { ("event_failures_total", 1) };
        while process.metric(took).await != failed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(receiver.posted().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn check_looks_for_an_endpoint_and_sends_no_event() {
    let (good, closed, away) = (Receiver::start().await, Receiver::start().await, Receiver::start().await);
    good.behave(|_| Manner::Status(405));
    closed.behave(|_| Manner::Status(401));
    away.behave(|_| Manner::Redirect(301, "https://b.example.com/".to_owned()));
    let dead = "{name: dead, url: 'http://127.0.0.1:1/'}".to_owned();
    let endpoints = [good.endpoint("headers: {Authorization: [s3cret]}"), closed.endpoint(""), away.endpoint(""), dead];
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let variables = [
        (ENDPOINTS, &format!("[{}, {{name: off, disabled: true}}]", endpoints.join(", "))[..]),
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.to_str().unwrap()),
        ("REGISTRY_AUTH_ANONYMOUS", "pull"),
    ];
    let (status, said, errors) = run(&["check"], &variables, "").await;
    assert_eq!((status, &errors[..]), (1, ""), "{said}");
    for line in [
        "ok events for test: reached by a HEAD, which it answered with 405; no event was sent",
        "warning events for test: it answers a HEAD with 401",
        "warning events for test: it redirects a HEAD (301)",
        "warning events for dead: a HEAD, which is no event, failed: ",
        "(notifications.endpoints.3.url)",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert!(!said.contains("s3cret") && !said.contains("events for off"), "{said}");
    let posted = good.posted();
    assert_eq!(
        (posted.len(), &posted[0].method[..], &posted[0].headers["authorization"]),
        (1, "HEAD", &"s3cret".parse().unwrap())
    );
}

#[test]
fn wrong_settings_name_themselves() {
    let endpoint = |settings: &str| format!("notifications: {{endpoints: [{{{settings}}}]}}");
    let url = "url: 'http://h/'";
    let [none, scheme, timeout, action, threshold] = [
        endpoint("name: a"),
        endpoint("url: 'ftp://h/'"),
        endpoint(&format!("{url}, timeout: 500")),
        endpoint(&format!("{url}, ignore: {{actions: [pulls]}}")),
        endpoint(&format!("{url}, threshold: -1")),
    ];
    let [header, value, framing, format] = [
        endpoint(&format!("{url}, headers: {{'a b': [c]}}")),
        endpoint(&format!("{url}, headers: {{A: [\"s3cret\\n\"]}}")),
        endpoint(&format!("{url}, headers: {{Content-Length: [1]}}")),
        "notifications: {events: {format: v3}}".to_owned(),
    ];
    let cases: [Case; 9] = [
        (&none, &[], "notifications.endpoints.0.url"),
        (&scheme, &[], "notifications.endpoints.0.url"),
        (&timeout, &[], "notifications.endpoints.0.timeout"),
        (&action, &[], "notifications.endpoints.0.ignore.actions"),
        (&threshold, &[], "notifications.endpoints.0.threshold"),
        (&header, &[], "notifications.endpoints.0.headers"),
        (&value, &[], "notifications.endpoints.0.headers"),
        (&framing, &[], "notifications.endpoints.0.headers"),
        (&format, &[], "notifications.events.format"),
    ];
    name_their_setting(&cases);
    assert!(!load(&value, &[]).unwrap_err().to_string().contains("s3cret"));
}

/// As distribution reads them: numbers are nanoseconds, zeros are the defaults, the lists are joined.
#[test]
fn settings_mean_what_they_mean_to_distribution() {
    let file = "
notifications:
  events: {includereferences: true}
  endpoints:
    - {url: 'http://h.example.com/', timeout: 500000000, backoff: 0, threshold: 0, headers: {A: b},
       ignoredmediatypes: [a/b], ignore: {mediatypes: [c/d], actions: [pull]}}
    - {name: off, disabled: true}";
    let loaded = load(file, &[]).unwrap();
    assert_eq!(loaded.notices.len(), 1, "{:?}", loaded.notices);
    let notifications = loaded.config.notifications;
    assert!(notifications.events.includereferences && !notifications.events.blobpulls);
    let (_, endpoint) = notifications.enabled().next().unwrap();
    assert_eq!(notifications.enabled().count(), 1);
    let (timeout, second) = (Duration::from_millis(500), Duration::from_secs(1));
    assert_eq!((endpoint.timeout(), endpoint.backoff(), endpoint.threshold()), (timeout, second, 10));
    assert_eq!((endpoint.name(), endpoint.headers.map().len()), ("h.example.com", 1));
    assert!(endpoint.ignores_media_type("a/b") && endpoint.ignores_media_type("c/d"));
    let of_variables = [
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_NAME", "a"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_URL", "http://h/"),
        ("REGISTRY_NOTIFICATIONS_ENDPOINTS_0_HEADERS", "{X-A: [b]}"),
    ];
    let loaded = load("", &of_variables).unwrap();
    assert_eq!((loaded.config.notifications.endpoints[0].name(), loaded.notices.len()), ("a", 0));
}
