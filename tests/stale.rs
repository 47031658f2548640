//! Stored tags whose upstream is slow, away or refuses: clients get them in time, with a warning.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::support::image::OCI_MANIFEST;
use crate::support::upstream::{Auth, Manners, Seen};
use crate::support::{Image, Pounce, Process, Reply, Said, Scripted, Upstream, borrowed};

const TAG: &str = "/v2/a/manifests/v1";

/// An upstream with one tag, which can hold its answers back.
struct Slow {
    upstream: Scripted,
    shown: Arc<Mutex<Option<Image>>>,
    open: watch::Sender<bool>,
}

impl Slow {
    async fn start(image: &Image) -> Self {
        let shown = Arc::new(Mutex::new(Some(image.clone())));
        let (open, gate) = watch::channel(true);
        let said = Arc::clone(&shown);
        let upstream = Scripted::start(move |seen: Seen| {
            let (said, mut gate) = (Arc::clone(&said), gate.clone());
            async move {
                gate.wait_for(|open| *open).await.unwrap();
                let image = said.lock().unwrap().clone();
                image.filter(|_| seen.path.contains("/manifests/")).map_or_else(unknown, tagged)
            }
        })
        .await;
        Self { upstream, shown, open }
    }

    fn hold(&self) {
        self.open.send_replace(false);
    }

    fn release(&self) {
        self.open.send_replace(true);
    }

    fn show(&self, image: Option<&Image>) {
        *self.shown.lock().unwrap() = image.cloned();
    }

    /// A pounce that has stored the tag, and compares it again after `ttl`.
    async fn stored(&self, ttl: &str) -> Pounce {
        let url = self.upstream.url();
        let variables = [("REGISTRY_PROXY_REMOTEURL", &*url), ("REGISTRY_PROXY_TAGTTL", ttl)];
        let pounce = Pounce::with(&variables).await;
        assert_eq!(pounce.get(TAG).await.status, 200);
        pounce.until_quiet().await;
        pounce
    }
}

fn tagged(image: Image) -> Said {
    let fields = vec![("content-type", OCI_MANIFEST.to_owned()), ("docker-content-digest", image.digest())];
    (200, fields, image.manifest)
}

fn unknown() -> Said {
    let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no"}]}"#;
    (404, Vec::new(), Bytes::from_static(body.as_bytes()))
}

/// The warnings that containerd would show of an answer: the text of each line that is `299 - "..."` as a whole.
fn shown(reply: &Reply) -> Vec<String> {
    let lines = reply.headers.get_all("warning").iter();
    let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap()).collect();
    assert!(lines.iter().map(|line| line.len()).sum::<usize>() < 4096);
    let texts = lines.iter().filter_map(|line| line.strip_prefix("299 - \"")?.strip_suffix('"'));
    let texts: Vec<String> = texts.map(str::to_owned).collect();
    for text in &texts {
        assert!(!text.contains(['"', '\\', '%']), "{text}");
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }
    texts
}

/// Asserts that an answer is the stored tag, with a warning that gives the reason.
fn is_stale(reply: &Reply, image: &Image, why: &str) {
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.header("docker-content-digest"), image.digest());
    assert_eq!(reply.header("warning"), "110 - \"Response is Stale\"");
    let texts = shown(reply);
    let [text] = &texts[..] else {
        panic!("{texts:?}");
    };
    assert!(text.starts_with("a:v1 may be out of date: "), "{text}");
    assert!(text.contains(why), "{text}");
}

/// Asks until the tag points at this image; at most for a while.
async fn until_it_means(pounce: &Pounce, image: &Image) {
    for _ in 0..200 {
        if pounce.head(TAG).await.header("docker-content-digest") == image.digest() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never means {}", image.digest());
}

#[tokio::test]
async fn a_slow_upstream_is_asked_once_in_the_background_and_its_answer_counts() {
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let slow = Slow::start(&old).await;
    let pounce = slow.stored("0").await;
    slow.hold();
    slow.show(Some(&new));
    for reply in join_all((0..20).map(|_| pounce.get(TAG))).await {
        is_stale(&reply, &old, "takes too long");
    }
    is_stale(&pounce.head(TAG).await, &old, "takes too long");
    assert_eq!(slow.upstream.count("HEAD", "/manifests/"), 1);
    slow.release();
    until_it_means(&pounce, &new).await;
    pounce.until_quiet().await;
    assert_eq!(pounce.get(TAG).await.body, new.manifest);
    assert!(shown(&pounce.get(TAG).await).is_empty());
}

#[tokio::test]
async fn a_client_that_leaves_does_not_end_the_comparison() {
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let slow = Slow::start(&old).await;
    let pounce = slow.stored("1s").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    slow.hold();
    slow.show(Some(&new));
    let left = tokio::time::timeout(Duration::from_millis(300), pounce.get(TAG)).await;
    assert!(left.is_err());
    slow.release();
    pounce.until_quiet().await;
    assert_eq!(pounce.get(TAG).await.body, new.manifest);
    assert_eq!(slow.upstream.count("GET", "/manifests/"), 2);
}

#[tokio::test]
async fn a_changed_manifest_that_is_slow_to_come_is_not_waited_for() {
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let (moved, open) = (Arc::new(Mutex::new(false)), watch::channel(false).0);
    let upstream = {
        let (old, new, moved, gate) = (old.clone(), new.clone(), Arc::clone(&moved), open.subscribe());
        Scripted::start(move |seen: Seen| {
            let is_moved = *moved.lock().unwrap();
            let image = if is_moved { new.clone() } else { old.clone() };
            let mut gate = gate.clone();
            async move {
                if is_moved && seen.method == "GET" {
                    gate.wait_for(|open| *open).await.unwrap();
                }
                tagged(image)
            }
        })
        .await
    };
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &*url), ("REGISTRY_PROXY_TAGTTL", "0")];
    let pounce = Pounce::with(&variables).await;
    assert_eq!(pounce.get(TAG).await.body, old.manifest);
    pounce.until_quiet().await;
    *moved.lock().unwrap() = true;
    is_stale(&pounce.get(TAG).await, &old, "takes too long");
    is_stale(&pounce.get(TAG).await, &old, "takes too long");
    open.send_replace(true);
    until_it_means(&pounce, &new).await;
    // The first pull, and the late answer in the background.
    assert_eq!(upstream.count("GET", "/manifests/"), 2);
}

#[tokio::test]
async fn a_token_server_that_hangs_is_not_waited_for() {
    let image = Image::new(1, &[10]);
    let guarded = Arc::new(Mutex::new(false));
    let upstream = {
        let (image, guarded) = (image.clone(), Arc::clone(&guarded));
        Scripted::start(move |seen: Seen| {
            let (image, is_guarded) = (image.clone(), *guarded.lock().unwrap());
            async move {
                if seen.path.starts_with("/token") {
                    std::future::pending::<()>().await;
                }
                if is_guarded {
                    let host = seen.headers["host"].to_str().unwrap();
                    let demand = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
                    return (401, vec![("www-authenticate", demand)], Bytes::new());
                }
                tagged(image)
            }
        })
        .await
    };
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &*url), ("REGISTRY_PROXY_TAGTTL", "0")];
    let pounce = Pounce::with(&variables).await;
    assert_eq!(pounce.get(TAG).await.status, 200);
    pounce.until_quiet().await;
    *guarded.lock().unwrap() = true;
    is_stale(&pounce.get(TAG).await, &image, "takes too long");
}

#[tokio::test]
async fn a_late_answer_does_not_undo_a_push() {
    let (old, new, pushed) = (Image::new(1, &[10]), Image::new(2, &[10]), Image::new(3, &[10]));
    for at_another_replica in [false, true] {
        let bucket = Pounce::with(&[]).await;
        let slow = Slow::start(&old).await;
        let mut variables = bucket.as_s3();
        variables.push(("REGISTRY_PROXY_REMOTEURL", slow.upstream.url()));
        let other = Pounce::with(&borrowed(&variables)).await;
        variables.push(("REGISTRY_PROXY_TAGTTL", "0".to_owned()));
        let pounce = Pounce::with(&borrowed(&variables)).await;
        assert_eq!(pounce.get(TAG).await.body, old.manifest);
        pounce.until_quiet().await;
        slow.hold();
        slow.show(Some(&new));
        is_stale(&pounce.get(TAG).await, &old, "takes too long");
        let replica = if at_another_replica { &other } else { &pounce };
        let push = replica.push_image("a", "v1", &pushed);
        // A push also asks the upstream for blobs that pounce does not know.
        let release = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            slow.release();
        };
        tokio::join!(push, release);
        until_it_means(&pounce, &pushed).await;
        pounce.until_quiet().await;
        for replica in [&pounce, &other] {
            assert_eq!(replica.get(TAG).await.body, pushed.manifest);
        }
        let fresh = Pounce::with(&borrowed(&variables)).await;
        assert_eq!(fresh.get(TAG).await.body, pushed.manifest);
    }
}

#[tokio::test]
async fn a_late_answer_that_the_tag_is_gone_counts() {
    let image = Image::new(1, &[10]);
    let slow = Slow::start(&image).await;
    let pounce = slow.stored("0").await;
    slow.hold();
    slow.show(None);
    is_stale(&pounce.get(TAG).await, &image, "takes too long");
    slow.release();
    pounce.until_quiet().await;
    assert_eq!(pounce.get(TAG).await.code(), "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn as_many_slow_tags_as_there_may_be_do_not_keep_a_process_from_ending() {
    let image = Image::new(1, &[10]);
    let slow = Slow::start(&image).await;
    let mut pounce = slow.stored("0").await;
    let paths: Vec<String> = (0..150).map(|n| format!("/v2/a/manifests/v{n}")).collect();
    join_all(paths.iter().map(|path| pounce.get(path))).await;
    pounce.until_quiet().await;
    slow.hold();
    let before = slow.upstream.count("HEAD", "/manifests/");
    for reply in join_all(paths.iter().map(|path| pounce.get(path))).await {
        assert_eq!((reply.status, shown(&reply).len()), (200, 1), "{reply:?}");
    }
    // The other requests waited for a permit in vain.
    assert_eq!(slow.upstream.count("HEAD", "/manifests/") - before, 128);
    pounce.end().await;
}

#[tokio::test]
async fn an_upstream_that_refuses_leaves_the_stored_tag_with_one_error() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "v1", &image);
    upstream.add("a", "v2", &image);
    for (auth, status, credential) in [
        (Auth::Basic, None, "the credentials of user (proxy.username)"),
        (Auth::Bearer, None, "the credentials of user (proxy.username)"),
        (Auth::Nothing, Some(403), "the credentials of user (proxy.username)"),
        (Auth::Nothing, Some(401), "anonymous access"),
    ] {
        let url = upstream.url();
        let mut variables = vec![("REGISTRY_PROXY_REMOTEURL", url.as_str()), ("REGISTRY_PROXY_TAGTTL", "0")];
        if credential != "anonymous access" {
            variables.push(("REGISTRY_PROXY_USERNAME", "user"));
            variables.push(("REGISTRY_PROXY_PASSWORD", "secret"));
        }
        let good = Manners { auth: auth.clone(), ..Manners::default() };
        upstream.behave(good.clone());
        let process = Process::start(&variables);
        let tag = |tag: &str| process.url(&format!("/v2/a/manifests/{tag}"));
        for name in ["v1", "v2"] {
            assert_eq!(reqwest::get(tag(name)).await.unwrap().status(), 200);
        }
        process.until_quiet().await;
        // Tokens live for at least a minute, and the process caches them as long.
        let folder = process.kill();
        upstream.behave(Manners { secret: "another", status, ..good });
        let process = Process::over(folder, &variables);
        let tag = |tag: &str| process.url(&format!("/v2/a/manifests/{tag}"));
        for name in ["v1", "v1", "v2"] {
            let reply = crate::support::pounce::read(reqwest::get(tag(name)).await.unwrap()).await;
            assert_eq!(reply.status, 200, "{auth:?} {status:?} {reply:?}");
            let texts = shown(&reply);
            assert!(texts[0].contains("does not let this registry read"), "{texts:?}");
        }
        let reply = reqwest::get(tag("v3")).await.unwrap();
        let unknown = if credential == "anonymous access" { 404 } else { 403 };
        assert_eq!(reply.status(), unknown);
        process.terminate();
        let (_, log) = process.end();
        let errors = log.lines().filter(|line| line.contains("\"ERROR\""));
        let errors: Vec<&str> = errors.collect();
        assert!(matches!(errors[..], [line] if line.contains(credential)), "{log}");
        assert!(!log.contains("\"secret\""), "{log}");
    }
}

#[tokio::test]
async fn a_list_without_the_upstreams_part_says_so() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "v1", &image);
    upstream.add("a", "v2", &image);
    let pounce = Pounce::before(&upstream).await;
    assert_eq!(pounce.get(TAG).await.status, 200);
    pounce.until_quiet().await;
    let referrers = format!("/v2/a/referrers/{}", image.digest());
    upstream.behave(Manners { status: Some(500), ..Manners::default() });
    for _ in 0..2 {
        let reply = pounce.get("/v2/a/tags/list").await;
        assert_eq!(&reply.body[..], br#"{"name":"a","tags":["v1"]}"#);
        assert!(shown(&reply)[0].starts_with("tags may be missing: "), "{reply:?}");
        let reply = pounce.get(&referrers).await;
        assert_eq!(reply.status, 200);
        assert!(shown(&reply)[0].starts_with("referrers may be missing: "), "{reply:?}");
    }
    // As soon as the upstream is back, the list is complete.
    upstream.behave(Manners::default());
    let reply = pounce.get("/v2/a/tags/list").await;
    assert_eq!(&reply.body[..], br#"{"name":"a","tags":["v1","v2"]}"#);
    assert!(shown(&reply).is_empty());
}
