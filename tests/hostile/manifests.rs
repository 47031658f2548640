//! Manifests with as many descriptors as fit into 4 MiB.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::attacks::manifests::{FULL, answer, naming, pull, upstream};
use crate::support::front::Front;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::scripted::{Scripted, by_digest, manifest};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Process, Upstream, borrowed};

/// The process's memory limit, in MiB.
const MOST_MIB: u64 = 256;

/// A pounce behind a front that counts its calls to the bucket.
async fn counted(url: &str, prefetch: &'static str) -> (Pounce, Front, Pounce) {
    let bucket = Pounce::with(&[]).await;
    let front = Front::before(bucket.addr).await;
    let mut variables = bucket.as_s3_behind(front.addr);
    variables.push(("REGISTRY_PROXY_REMOTEURL", url.to_owned()));
    variables.push(("REGISTRY_PROXY_PREFETCH", prefetch.to_owned()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    front.take();
    (pounce, front, bucket)
}

#[tokio::test]
async fn a_pull_looks_for_as_many_blobs_as_an_image_may_have() {
    for prefetch in ["true", "false"] {
        let upstream = upstream(FULL).await;
        let (pounce, front, _bucket) = counted(&upstream.url(), prefetch).await;
        let reply = pounce.get("/v2/a/manifests/1").await;
        assert!(reply.status == 200 && reply.body.len() > 4_000_000);
        pounce.until_quiet().await;
        // 128 blobs, the tag and the manifest, with their writes.
        assert!(front.total() < 160, "{:?}", front.take());
        let seen = upstream.seen();
        let blobs = seen.iter().filter(|it| it.path.contains("/blobs/"));
        let most = if prefetch == "true" { 128 } else { 0 };
        assert_eq!(blobs.count(), most);
        assert!(seen.len() < most + 10, "{}", seen.len());
        // pounce checks the remaining blobs when a client asks for them.
        let digest = format!("sha256:{:032x}{:032x}", 1, FULL - 1);
        let path = format!("/v2/a/blobs/{digest}");
        assert_eq!(pounce.get(&path).await.status, 404);
        assert_eq!(upstream.count("GET", &digest), 1);
    }
}

#[tokio::test]
async fn one_digest_that_is_named_often_is_looked_for_once() {
    let upstream = Upstream::start().await;
    let layer = json!({"mediaType": "a/b", "digest": digest(b"x"), "size": 1});
    let text =
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": layer, "layers": vec![layer.clone(); 30_000]});
    upstream.add_manifest("a", "1", OCI_MANIFEST, text.to_string());
    let (pounce, front, _bucket) = counted(&upstream.url(), "true").await;
    assert_eq!(pounce.get("/v2/a/manifests/1").await.status, 200);
    pounce.until_quiet().await;
    assert!(front.total() < 16, "{:?}", front.take());
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn an_image_of_more_layers_than_are_remembered_is_pulled_as_any_other() {
    let upstream = Upstream::start().await;
    let image = Image::new(4, &[10; 200]);
    upstream.add("a", "1", &image);
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_PREFETCH", "true")];
    let pounce = Pounce::with(&variables).await;
    assert_eq!(pounce.get("/v2/a/manifests/1").await.status, 200);
    for blob in &image.blobs {
        assert_eq!(pounce.pull("a", &digest(blob)).await, *blob);
    }
    pounce.until_quiet().await;
    assert_eq!(upstream.count("GET", "/blobs/"), image.blobs.len());
    upstream.behave(Manners { status: Some(500), ..Manners::default() });
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &url)]).await;
    for blob in &image.blobs {
        let path = format!("/v2/a/blobs/{}", digest(blob));
        assert_eq!(pounce.get(&path).await.status, 307);
    }
}

#[tokio::test]
async fn a_push_stops_after_what_is_missing() {
    let upstream = upstream(1).await;
    let (pounce, front, _bucket) = counted(&upstream.url(), "true").await;
    for (media_type, count) in [(OCI_INDEX, 25_000), (OCI_MANIFEST, FULL)] {
        let (before, bytes) = (upstream.seen().len(), naming(media_type, 5, count));
        front.take();
        let reply = pounce.put_manifest("a", "1", media_type, bytes).await;
        assert_eq!(reply.code(), "MANIFEST_BLOB_UNKNOWN", "{media_type}");
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert!((1..=16).contains(&body["errors"].as_array().unwrap().len()));
        pounce.until_quiet().await;
        let asked = upstream.seen().len() - before;
        // The missing ones, and the lookups that run beside the last of them: each as a manifest and as a blob.
        assert!(asked <= 2 * (16 + 32), "{media_type}: {asked}");
        assert!(front.total() < 400, "{media_type}: {:?}", front.take());
    }
}

#[tokio::test]
async fn a_manifest_of_many_blobs_that_are_there_is_taken_and_vouches_for_each() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let image = Image::new(8, &[10; 300]);
    pounce.push_image("team", "1", &image).await;
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    upstream.forget();
    assert_eq!(pounce.get("/v2/team/manifests/1").await.status, 200);
    for blob in &image.blobs {
        let path = format!("/v2/team/blobs/{}", digest(blob));
        assert_eq!(pounce.get(&path).await.status, 307);
    }
    assert_eq!(upstream.count("HEAD", "/blobs/"), 0);
}

/// Seventy manifests of 4 MiB with 37,000 descriptors each, and a well-behaved pull beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seventy_large_manifests_take_little_memory_and_let_others_pull() {
    let image = Image::new(2, &[100_000, 200_000]);
    let (own, base) = (image.clone(), naming(OCI_MANIFEST, 0, FULL));
    let upstream = Scripted::start(move |request| {
        let said = if request.path.starts_with("/v2/team/") {
            by_digest(&own, &request.path).unwrap_or_else(|| manifest(&own))
        } else {
            answer(&request.path, &base)
        };
        async move { said }
    })
    .await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    let ordinary = async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let get = async |path: String| -> Bytes {
            let reply = client.get(process.url(&path)).send().await.unwrap();
            assert_eq!(reply.status().as_u16(), 200, "{path}");
            reply.bytes().await.unwrap()
        };
        assert_eq!(get("/v2/team/manifests/1".into()).await, image.manifest);
        for blob in &image.blobs {
            let path = format!("/v2/team/blobs/{}", digest(blob));
            assert!(get(path).await == *blob);
        }
    };
    let attack = pull(&process.addr, "evil", 70);
    let ordinary = tokio::time::timeout(Duration::from_mins(2), ordinary);
    let (counts, pulled) = tokio::join!(attack, ordinary);
    pulled.unwrap();
    process.until_quiet().await;
    println!("{counts:?}, {} MiB", process.peak());
    assert!(counts.keys().all(|status| [200, 503].contains(status)));
    let blobs = upstream.count("GET", "/v2/evil/blobs/");
    assert!(blobs <= 70 * 128, "{blobs}");
    assert!(process.peak() < MOST_MIB, "{} MiB", process.peak());
}
