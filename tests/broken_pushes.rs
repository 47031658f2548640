//! Pushes whose calls to the bucket hang or fail, and pushes that fail.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use tokio::sync::oneshot;

use crate::support::faults::Faulty;
use crate::support::front::Front;
use crate::support::image::{OCI_MANIFEST, digest, noise};
use crate::support::requests::closing;
use crate::support::{Image, Pounce, Upstream, borrowed};

/// Long enough for what must not come to come.
const A_WHILE: Duration = Duration::from_millis(300);
/// For what would otherwise wait for ever.
const LIMIT: Duration = Duration::from_secs(20);

const TAG: &str = "/v2/a/b/manifests/v1";

/// A bucket, and a replica that reaches it through a proxy with faults. Deletes are on.
async fn site() -> (Pounce, Faulty, Pounce) {
    let bucket = Pounce::with(&[]).await;
    let s3 = Faulty::before(bucket.addr, 1).await;
    let pounce = replica(bucket.as_s3_behind(s3.addr)).await;
    (bucket, s3, pounce)
}

async fn replica(mut variables: Vec<(&'static str, String)>) -> Pounce {
    variables.push(("REGISTRY_STORAGE_DELETE_ENABLED", "true".into()));
    Pounce::with(&borrowed(&variables)).await
}

fn has(bucket: &Pounce, part: &str) -> bool {
    bucket.objects().iter().any(|key| key.contains(part))
}

#[tokio::test]
async fn a_blob_that_hangs_stops_no_other_push_of_it_and_no_reader() {
    let (bucket, s3, pounce) = site().await;
    let blob = noise(1, 1000);
    let path = format!("/v2/a/b/blobs/{}", digest(&blob));
    let held = s3.hold_of("PutObject", "/blobs/sha256/");
    let location = pounce.begin("a/b").await;
    let hangs = pounce.request("PUT", &closing(&location, &digest(&blob))).body(blob.clone());
    let hangs = tokio::spawn(hangs.send());
    held.came().await;
    bucket.until("the link is written", |it| has(it, "/_layers/")).await;
    // A client with another answer would not push the blob.
    let missing = tokio::time::timeout(LIMIT, pounce.head(&path)).await.unwrap();
    assert_eq!(missing.status, 404);
    tokio::time::timeout(LIMIT, pounce.push("a/b", blob.clone())).await.unwrap();
    assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
    held.release();
    assert_eq!(hangs.await.unwrap().unwrap().status(), 201);
}

#[tokio::test]
async fn a_delete_beside_a_push_is_remembered() {
    let (bucket, s3, pounce) = site().await;
    let blob = noise(1, 1000);
    let path = format!("/v2/a/b/blobs/{}", digest(&blob));
    let held = s3.hold_of("PutObject", "/blobs/sha256/");
    let location = pounce.begin("a/b").await;
    let push = pounce.request("PUT", &closing(&location, &digest(&blob))).body(blob.clone());
    let push = tokio::spawn(push.send());
    held.came().await;
    bucket.until("the link is written", |it| has(it, "/_layers/")).await;
    assert_eq!(pounce.delete(&path).await.status, 202);
    held.release();
    assert_eq!(push.await.unwrap().unwrap().status(), 201);
    assert!(!has(&bucket, "/_layers/"));
    assert_eq!(pounce.get(&path).await.status, 404);
}

#[tokio::test]
async fn a_link_of_a_push_that_failed_makes_no_blob_the_repositorys() {
    let (bucket, upstream) = (Pounce::with(&[]).await, Upstream::start().await);
    upstream.add("a/b", "base", &Image::new(1, &[10]));
    let mut variables = bucket.as_s3();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let config = Bytes::from_static(b"{}");
    Pounce::with(&borrowed(&variables)).await.push("a/b", config.clone()).await;
    std::fs::remove_dir_all(bucket.root().join("docker/registry/v2/blobs")).unwrap();
    assert!(has(&bucket, "/_layers/"));
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "a/b", "digest": digest(&config), "size": config.len()}});
    let fresh = Pounce::with(&borrowed(&variables)).await;
    let refused = fresh.put_manifest("a/b", "v1", OCI_MANIFEST, manifest.to_string()).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_tag_whose_push_failed_is_asked_of_the_bucket() {
    let (_bucket, s3, pounce) = site().await;
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    pounce.push_image("a/b", "v1", &old).await;
    pounce.push_image("a/b", "v2", &new).await;
    assert_eq!(pounce.get(TAG).await.body, old.manifest);
    // The tag's link is written, and the entry of its history is not.
    s3.refuse(Some("/tags/v1/index/"));
    let failed = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, new.manifest.clone()).await;
    assert_eq!((failed.status, failed.code().as_str()), (503, "UNAVAILABLE"));
    s3.refuse(None);
    assert_eq!(pounce.get(TAG).await.body, new.manifest);
}

#[tokio::test]
async fn a_referrer_that_cannot_be_entered_does_not_cut_its_tags_off() {
    let (bucket, s3, pounce) = site().await;
    let old = Image::new(1, &[10]);
    pounce.push_image("a/b", "v1", &old).await;
    assert_eq!(pounce.get(TAG).await.body, old.manifest);
    let referrer = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "a/b", "digest": digest(&old.blobs[0]), "size": old.blobs[0].len()},
        "subject": {"mediaType": OCI_MANIFEST, "digest": old.digest(), "size": old.manifest.len()}});
    let referrer = referrer.to_string();
    let (enters, listed) = (s3.hold_of("PutObject", "/referrers/"), s3.hold_of("PutObject", "/tags/v1/index/"));
    let push = pounce.request("PUT", TAG).header("content-type", OCI_MANIFEST).body(referrer.clone());
    let mut push = tokio::spawn(push.send());
    enters.came().await;
    listed.came().await;
    s3.refuse(Some("/referrers/"));
    enters.release();
    assert!(tokio::time::timeout(A_WHILE, &mut push).await.is_err(), "the tag is still being written");
    listed.release();
    assert_eq!(push.await.unwrap().unwrap().status(), 503);
    assert_eq!(pounce.get(TAG).await.body, referrer);
    let entry = digest(referrer.as_bytes()).replace(':', "/");
    assert!(has(&bucket, &format!("/tags/v1/index/{entry}/")));
}

/// The first attempt finds that another replica deletes the manifest, and the second one writes all anew.
#[tokio::test]
async fn no_attempt_of_a_push_tidies_what_the_next_one_writes() {
    let (bucket, s3, one) = site().await;
    let two = replica(bucket.as_s3()).await;
    let image = Image::new(1, &[10]);
    two.push_image("a/b", "v1", &image).await;
    let looks = s3.hold_of("HeadObject", "/_manifests/revisions/");
    let push = one.request("PUT", TAG).header("content-type", OCI_MANIFEST).body(image.manifest.clone());
    let push = tokio::spawn(push.send());
    looks.came().await;
    assert_eq!(two.delete(&format!("/v2/a/b/manifests/{}", image.digest())).await.status, 202);
    let tidies = s3.hold_of("ListObjectsV2", "index");
    looks.release();
    assert_eq!(push.await.unwrap().unwrap().status(), 201);
    tidies.release();
    one.until_quiet().await;
    assert!(has(&bucket, "/tags/v1/index/"), "{:?}", bucket.objects());
    assert_eq!(one.get(TAG).await.body, image.manifest);
}

#[tokio::test]
async fn a_blob_that_goes_while_the_last_bytes_come_is_stored() {
    let (bucket, s3, pounce) = site().await;
    let blob = noise(1, 3000);
    pounce.push("c/d", blob.clone()).await;
    let location = pounce.begin("a/b").await;
    let patched = pounce.patch(&location, blob.slice(..1000)).await;
    let (rest, (open, gate)) = (blob.slice(1000..), oneshot::channel::<()>());
    let body = stream::once(async move { gate.await.map(|()| rest) });
    let (tail, looks) = (s3.hold_of("GetObject", "/_uploads/"), s3.hold_of("HeadObject", "/blobs/sha256/"));
    let close = pounce.request("PUT", &closing(patched.header("location"), &digest(&blob)));
    let close = tokio::spawn(close.body(reqwest::Body::wrap_stream(body)).send());
    tail.came().await;
    tail.release();
    assert!(tokio::time::timeout(A_WHILE, looks.came()).await.is_err(), "it looks before the body has come");
    std::fs::remove_dir_all(bucket.root().join("docker/registry/v2/blobs")).unwrap();
    open.send(()).unwrap();
    looks.came().await;
    looks.release();
    assert_eq!(close.await.unwrap().unwrap().status(), 201);
    assert!(bucket.has_blob(&digest(&blob)));
}

#[tokio::test]
async fn a_first_chunk_that_is_stored_stays_where_the_bucket_cannot_list() {
    let (bucket, s3, pounce) = site().await;
    let blob = noise(1, 1000);
    let begun = pounce.begin("a/b").await;
    let held = s3.hold_of("ListObjectsV2", "_uploads");
    let patch = tokio::spawn(pounce.request("PATCH", &begun).body(blob.clone()).send());
    held.came().await;
    bucket.until("the tail is stored", |it| it.scratch().len() == 1).await;
    s3.refuse(Some("list-type"));
    held.release();
    assert_eq!(patch.await.unwrap().unwrap().status(), 503);
    s3.refuse(None);
    assert_eq!(bucket.scratch().len(), 1);
    // As after an answer that was lost.
    let status = pounce.get(&begun).await;
    assert_eq!((status.status, status.header("range")), (204, "0-999"));
    let closed = pounce.close(status.header("location"), &digest(&blob), Bytes::new()).await;
    assert_eq!(closed.status, 201, "{closed:?}");
}

#[tokio::test]
async fn a_large_manifest_that_names_what_is_missing_leaves_nothing() {
    let bucket = Pounce::with(&[]).await;
    let front = Front::before(bucket.addr).await;
    let pounce = replica(bucket.as_s3_behind(front.addr)).await;
    let config = Bytes::from_static(b"{}");
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [],
        "config": {"mediaType": "a/b", "digest": digest(&config), "size": config.len()},
        "annotations": {"long": "x".repeat(70_000)}});
    let manifest = manifest.to_string();
    front.take();
    let refused = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, manifest.clone()).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(front.take().get("PutObject"), None);
    pounce.push("a/b", config).await;
    assert_eq!(pounce.put_manifest("a/b", "v1", OCI_MANIFEST, manifest.clone()).await.status, 201);
    assert_eq!(pounce.get(TAG).await.body, manifest);
}
