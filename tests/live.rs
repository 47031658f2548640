//! The live figures of the page (`/-/live`): which fills a user sees, how many browsers listen, and how it ends.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use reqwest::{Client, Response};

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::users::{by, user};
use crate::support::wire::raise_descriptors;
use crate::support::{Image, Pounce, Process, Upstream, borrowed};

const HALF: usize = 1 << 19;

/// The events of a stream.
struct Events {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Events {
    fn of(response: Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { bytes: response.bytes_stream().boxed(), text: String::new() }
    }

    /// The first event with this text.
    async fn until(&mut self, text: &str) -> String {
        loop {
            let found = self.text.split_inclusive("\n\n").find(|event| event.contains(text) && event.ends_with("\n\n"));
            if let Some(found) = found {
                return found.to_owned();
            }
            let next = tokio::time::timeout(Duration::from_secs(20), self.bytes.next()).await;
            let bytes = next.unwrap_or_else(|_| panic!("no event has {text}: {}", self.text)).unwrap().unwrap();
            self.text.push_str(str::from_utf8(&bytes).unwrap());
        }
    }
}

async fn listen(pounce: &Pounce) -> Events {
    Events::of(pounce.request("GET", "/-/live").send().await.unwrap())
}

/// A page as a browser without scripts gets it.
async fn overview(pounce: &Pounce) -> String {
    let reply = pounce.send(pounce.request("GET", "/").header("accept", "text/html")).await;
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// An upstream that holds the second half of its blobs back, and an image there.
async fn slow(name: &str) -> (Upstream, String) {
    let (upstream, image) = (Upstream::start().await, Image::new(1, &[2 * HALF]));
    upstream.add(name, "v1", &image);
    upstream.behave(Manners { holds_after: Some(HALF), ..Manners::default() });
    (upstream, digest(image.layer()))
}

#[tokio::test]
async fn a_fill_is_seen_while_it_runs() {
    let (upstream, blob) = slow("library/alpine").await;
    let pounce = Pounce::before(&upstream).await;
    let mut events = listen(&pounce).await;
    events.until("Nothing is being copied").await;
    let path = format!("/v2/library/alpine/blobs/{blob}");
    let pull = async { pounce.get(&path).await };
    let watch = async {
        let event = events.until(&format!("value=\"{HALF}\"")).await;
        assert!(event.contains("library/alpine") && event.contains("50 %"), "{event}");
        assert!(event.contains("1 client waits"), "{event}");
        let page = overview(&pounce).await;
        assert!(page.contains(&format!("value=\"{HALF}\"")), "{page}");
        upstream.release();
    };
    let (pulled, ()) = tokio::join!(pull, watch);
    assert_eq!(pulled.body.len(), 2 * HALF);
    pounce.until_stored(&blob).await;
    let location = pounce.get(&path).await;
    assert_eq!(location.status, 307);
    // Two clients got what came once.
    let mut events = listen(&pounce).await;
    let event = events.until("Saved today").await;
    assert!(event.contains("1.05 MB</dd>") && event.contains("1 of 2 answers"), "{event}");
    assert!(event.contains("<bdi>Bucket</bdi>") && event.contains("answers"), "{event}");
}

/// Two upstreams, of which anonymous clients may pull from one.
#[tokio::test]
async fn a_user_sees_the_fills_that_it_may_pull() {
    let (open, _) = slow("library/alpine").await;
    let (closed, blob) = slow("org/secret").await;
    let variables = [
        ("REGISTRY_PROXY_REMOTEURL", open.url()),
        ("REGISTRY_PROXY_HOST", "docker.io".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", closed.url()),
        ("REGISTRY_AUTH_HTPASSWD_USERS", user("admin")),
        (
            "REGISTRY_AUTH_RULES",
            "[{ users: [anonymous], repositories: ['docker.io/**'], actions: [pull] }, { users: [admin], actions: [pull] }]"
                .to_owned(),
        ),
    ];
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let request = pounce.request("GET", &format!("/v2/ghcr.io/org/secret/blobs/{blob}"));
    let pull = async { pounce.send(by("admin", request)).await };
    let watch = async {
        let waits = async {
            while closed.count("GET", &blob) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waits).await.unwrap();
        let event = listen(&pounce).await.until("data: ").await;
        for text in [&event, &overview(&pounce).await] {
            assert!(text.contains("Nothing is being copied"), "{text}");
            // Nor what others do, the bucket, or an upstream of which nothing is open.
            for hidden in ["secret", "Saved", "Bucket</bdi>", "ghcr.io"] {
                assert!(!text.contains(hidden), "{hidden}: {text}");
            }
            assert!(text.contains("<bdi>docker.io</bdi>"), "{text}");
        }
        closed.release();
    };
    let (pulled, ()) = tokio::join!(pull, watch);
    assert_eq!(pulled.body.len(), 2 * HALF);
}

/// Nothing is asked for the page, and a stream ends with the process.
#[tokio::test]
async fn a_view_asks_no_upstream_and_a_stream_ends_at_shutdown() {
    let (upstream, _) = slow("library/alpine").await;
    let mut pounce = Pounce::before(&upstream).await;
    let before = upstream.requests();
    let mut events = listen(&pounce).await;
    events.until("data: ").await;
    overview(&pounce).await;
    let head = pounce.head("/-/live").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(upstream.requests(), before);
    pounce.end().await;
    // In order: the body has its end.
    while let Some(bytes) = events.bytes.next().await {
        bytes.unwrap();
    }
}

#[tokio::test]
async fn a_thousand_browsers_leave_room_for_clients() {
    raise_descriptors();
    let pounce = Process::start(&[]);
    let (url, before) = (pounce.url("/-/live"), pounce.peak());
    let mut open = Vec::new();
    let mut refused = 0;
    for network in 2..10 {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, network));
        let client = Client::builder().local_address(from).build().unwrap();
        for _ in 0..128 {
            // Headers only: these browsers do not read.
            let response = client.get(&url).send().await.unwrap();
            match response.status().as_u16() {
                200 => open.push(response),
                503 => {
                    assert_eq!(response.headers()["retry-after"], "30");
                    refused += 1;
                }
                status => panic!("{status}"),
            }
        }
    }
    assert_eq!((open.len(), refused), (512, 512));
    // Another client is served, and so is a browser that takes the place of one that left.
    let reply = reqwest::get(pounce.url("/v2/")).await.unwrap();
    assert_eq!(reply.status(), 200);
    open.truncate(500);
    let began = std::time::Instant::now();
    while reqwest::get(&url).await.unwrap().status() != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "no browser makes room");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // In MiB, with what the connections have: 1,024 of them, and 512 streams.
    let grown = pounce.peak() - before;
    assert!(grown < 64, "{grown} MiB");
}

#[tokio::test]
async fn health_is_what_the_last_answers_said() {
    let upstream = Upstream::start().await;
    upstream.add("library/alpine", "v1", &Image::new(1, &[1000]));
    let url = upstream.url();
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &url), ("REGISTRY_PROXY_HOST", "docker.io")]).await;
    let health = async || {
        let page = overview(&pounce).await;
        let row = page.split("<bdi>docker.io</bdi>").nth(1).unwrap();
        row.split("</li>").next().unwrap().to_owned()
    };
    let row = health().await;
    assert!(row.contains("was not asked yet"), "{row}");
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    assert_eq!(pounce.get("/v2/library/alpine/manifests/v1").await.status, 503);
    let row = health().await;
    assert!(row.contains("fails") && row.contains("last answer: 503 in"), "{row}");
    // Why, and where, is for the log.
    assert!(!row.contains("127.0.0.1"), "{row}");
    upstream.behave(Manners::default());
    // The failure is remembered for a moment.
    let began = std::time::Instant::now();
    while pounce.get("/v2/library/alpine/manifests/v1").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(20), "the upstream is not asked again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let row = health().await;
    assert!(row.contains("answers") && row.contains("last answer: 200 in"), "{row}");
    assert!(row.contains("last error: 503 in") && !row.contains("fails"), "{row}");
}
