//! Clients that ask for many large answers at once and do not read them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::attacks::answers::{Windowless, unread};
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest, noise};
use crate::support::scripted::{Said, Scripted, refusal};
use crate::support::upstream::Manners;
use crate::support::{Image, Process, Upstream, borrowed};

/// The process's memory limit, in MiB.
const MOST_MIB: u64 = 256;
const ATTACKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A manifest of almost 4 MiB, another one for each name.
fn large(name: &str) -> Said {
    let config = json!({"mediaType": "a/b", "digest": digest(name.as_bytes()), "size": 1});
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [],
        "annotations": {"name": name, "filler": "FILLER"}});
    let text = manifest.to_string();
    let (before, after) = text.split_once("FILLER").unwrap();
    let headers = vec![("content-type", OCI_MANIFEST.to_owned())];
    // The text is built by hand because a serializer takes seconds for all of them.
    let bytes = [before.as_bytes(), &vec![b'a'; 4_000_000], after.as_bytes()].concat();
    (200, headers, bytes.into())
}

/// A well-behaved client with its own address: the status and the size of its answer.
async fn get(process: &Process, path: &str) -> (u16, usize) {
    let client = reqwest::Client::builder().no_proxy();
    let client = client.redirect(reqwest::redirect::Policy::none());
    let client = client.timeout(Duration::from_secs(30)).build().unwrap();
    let reply = client.get(process.url(path)).send().await.unwrap();
    let status = reply.status().as_u16();
    (status, reply.bytes().await.unwrap().len())
}

#[tokio::test]
async fn a_hundred_large_manifests_that_nobody_takes() {
    let upstream = Scripted::start(|request| async move {
        match request.path.rsplit_once("/manifests/") {
            Some((_, tag)) => large(tag),
            None => refusal(404, "NAME_UNKNOWN"),
        }
    })
    .await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let addr = process.addr.parse().unwrap();
    let paths = (0..100).map(|index| format!("/v2/a/manifests/m{index}"));
    let attack = Windowless::ask(addr, ATTACKER, paths.collect()).await;
    // Another client gets one of the same size.
    let other = get(&process, "/v2/a/manifests/other").await;
    assert!(other.0 == 200 && other.1 > 4_000_000, "{other:?}");
    let mut counts = BTreeMap::<_, usize>::new();
    for status in attack.statuses().await {
        *counts.entry(status).or_default() += 1;
    }
    println!("{counts:?}, {} MiB", process.peak());
    // A request that got no memory was answered 503, or its connection was closed to free memory for others.
    assert!(counts.keys().all(|status| [200, 503, 0].contains(status)));
    assert!(counts[&200] >= 8, "{counts:?}");
    assert!(process.peak() < MOST_MIB, "{} MiB", process.peak());
}

#[tokio::test]
async fn a_manifest_that_many_ask_for_takes_memory_once() {
    let upstream = Scripted::start(|_| async { large("one") }).await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    assert_eq!(get(&process, "/v2/a/manifests/m").await.0, 200);
    let before = process.peak();
    let addr = process.addr.parse().unwrap();
    let paths = vec!["/v2/a/manifests/m".to_owned(); 90];
    let attack = Windowless::ask(addr, ATTACKER, paths).await;
    assert!(attack.statuses().await.iter().all(|status| *status == 200));
    let grown = process.peak() - before;
    assert!(grown < 16, "{grown} MiB");
}

#[tokio::test]
async fn a_thousand_followers_of_a_cold_blob_that_do_not_read() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[16 << 20]);
    upstream.add("a", "1", &image);
    upstream.behave(Manners { holds_after: Some(12 << 20), ..Manners::default() });
    let small = Image::new(2, &[1000]);
    let other = Scripted::start(move |request| {
        let small = small.clone();
        async move {
            let said = crate::support::scripted::by_digest(&small, &request.path);
            said.unwrap_or_else(|| refusal(404, "BLOB_UNKNOWN"))
        }
    })
    .await;
    let process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "other.example.com"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &other.url()),
    ]);
    let addr = process.addr.parse().unwrap();
    let path = format!("/v2/a/blobs/{}", digest(image.layer()));
    let before = process.peak();
    let attack = unread(addr, ATTACKER, &path, 1000).await;
    // By then every answer has begun: pounce answers each request before it reads the next one.
    for connection in &attack {
        let _ = tokio::time::timeout(Duration::from_secs(20), connection.readable()).await;
    }
    let layer = digest(Image::new(2, &[1000]).layer());
    let served = get(&process, &format!("/v2/other.example.com/a/blobs/{layer}")).await;
    assert_eq!(served, (200, 1000));
    let grown = process.peak() - before;
    println!("{grown} MiB for a thousand");
    assert!(process.peak() < MOST_MIB, "{} MiB", process.peak());
    upstream.release();
}

#[tokio::test]
async fn twenty_long_lists_of_referrers_at_once() {
    let upstream = Scripted::start(|request| async move {
        let Some((_, subject)) = request.path.rsplit_once("/referrers/") else {
            return refusal(404, "NAME_UNKNOWN");
        };
        let text = |page: usize| format!("{subject}{page}");
        let page = subject.rsplit_once("page=").map_or(0, |it| it.1.parse().unwrap());
        let listed: Vec<Value> = (0..300)
            .map(|index| {
                json!({"mediaType": OCI_MANIFEST, "digest": digest(format!("{}{index}", text(page)).as_bytes()),
                    "size": 1, "annotations": {"filler": "a".repeat(12_000)}})
            })
            .collect();
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed});
        let mut headers = vec![("content-type", OCI_INDEX.to_owned())];
        if page < 3 {
            let (subject, next) = (subject.split('?').next().unwrap(), page + 1);
            headers.push(("link", format!("</v2/a/referrers/{subject}?page={next}>; rel=\"next\"")));
        }
        (200, headers, index.to_string().into())
    })
    .await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let ask = |index: usize| {
        let subject = digest(&noise(index as u64, 8));
        let url = process.url(&format!("/v2/a/referrers/{subject}"));
        tokio::spawn(async move {
            let reply = reqwest::get(url).await.unwrap();
            let retry = reply.headers().contains_key("retry-after");
            let status = reply.status().as_u16();
            let bytes: Bytes = reply.bytes().await.unwrap();
            (status, retry, bytes.len())
        })
    };
    let lists: Vec<_> = (0..20).map(ask).collect();
    let mut whole = 0;
    for list in lists {
        let (status, retry, len) = list.await.unwrap();
        assert!((status == 200 && len > 1_000_000) || (status == 503 && retry), "{status} {len}");
        whole += usize::from(status == 200);
    }
    println!("{whole} of 20, {} MiB", process.peak());
    assert!(whole > 0 && process.peak() < MOST_MIB, "{} MiB", process.peak());
}

#[tokio::test]
async fn twenty_long_lists_of_tags_at_once() {
    let page = |page: usize| {
        let tags: Vec<_> = (0..20_000).map(|index| format!("{page}{index:0>120}")).collect();
        Bytes::from(json!({"name": "a", "tags": tags}).to_string())
    };
    let pages: Vec<Bytes> = (0..5).map(page).collect();
    let upstream = Scripted::start(move |request| {
        let pages = pages.clone();
        async move {
            let (path, page) = request.path.rsplit_once("page=").unwrap_or((&request.path, "0"));
            let page: usize = page.parse().unwrap();
            let mut headers = vec![("content-type", "application/json".to_owned())];
            if page + 1 < pages.len() {
                let (path, next) = (path.split('?').next().unwrap(), page + 1);
                headers.push(("link", format!("<{path}?page={next}>; rel=\"next\"")));
            }
            (200, headers, pages[page].clone())
        }
    })
    .await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let ask = |index: usize| {
        let url = process.url(&format!("/v2/a{index}/tags/list?n=10"));
        tokio::spawn(async move { reqwest::get(url).await.unwrap().status().as_u16() })
    };
    let lists: Vec<_> = (0..20).map(ask).collect();
    let mut whole = 0;
    for list in lists {
        let status = list.await.unwrap();
        assert!([200, 503].contains(&status), "{status}");
        whole += usize::from(status == 200);
    }
    println!("{whole} of 20, {} MiB", process.peak());
    assert!(whole > 0 && process.peak() < MOST_MIB, "{} MiB", process.peak());
}

#[tokio::test]
async fn blobs_of_the_bucket_that_nobody_takes() {
    let bucket = Process::start(&[]);
    let s3 = bucket.as_s3();
    let mut variables = borrowed(&s3);
    variables.push(("REGISTRY_STORAGE_REDIRECT_DISABLE", "true"));
    let process = Process::start(&variables);
    let addr = process.addr.parse().unwrap();
    let blob = noise(1, 16 << 20);
    let path = process.url(&format!("/v2/a/blobs/uploads/?digest={}", digest(&blob)));
    let pushed = reqwest::Client::new().post(path).body(blob.clone()).send();
    assert_eq!(pushed.await.unwrap().status(), 201);
    let path = format!("/v2/a/blobs/{}", digest(&blob));
    let attack = unread(addr, ATTACKER, &path, 300).await;
    // Another client gets it, while the attacker's excess connections wait.
    let others = get(&process, &path).await;
    assert_eq!(others, (200, blob.len()));
    let mut begun = 0;
    for connection in &attack {
        let ready = tokio::time::timeout(Duration::from_secs(15), connection.readable()).await;
        begun += usize::from(ready.is_ok());
    }
    println!("{begun} of 300, {} MiB", process.peak());
    assert!(begun == 300 && process.peak() < MOST_MIB, "{begun} {} MiB", process.peak());
}

/// Five thousand requests at once to an upstream that does not answer.
#[tokio::test]
async fn requests_that_wait_for_an_upstream() {
    let upstream = Scripted::start(|_| std::future::pending()).await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let addr = process.addr.parse().unwrap();
    let mut attack = Vec::new();
    for connection in 0..50 {
        let path = |index| format!("/v2/a{connection}/manifests/m{index}");
        attack.push(Windowless::ask(addr, ATTACKER, (0..100).map(path).collect()).await);
    }
    for _ in 0..10 {
        assert_eq!(get(&process, "/v2/").await.0, 200);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    println!("{} MiB", process.peak());
    assert!(process.peak() < MOST_MIB, "{} MiB", process.peak());
    // Requests beyond the client's share are refused.
    let statuses = attack.pop().unwrap().statuses().await;
    assert!(statuses.contains(&503), "{statuses:?}");
}
