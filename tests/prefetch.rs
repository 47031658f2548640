//! Prefetching of a manifest's blobs; and where clients are redirected meanwhile.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::image::{OCI_INDEX, digest};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

async fn stage(layers: &[usize], more: &[(&str, &str)]) -> (Upstream, Pounce, Image) {
    let upstream = Upstream::start().await;
    let image = Image::new(6, layers);
    upstream.add("a", "v1", &image);
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_PREFETCH", "true")];
    let pounce = Pounce::with(&[&variables, more].concat()).await;
    (upstream, pounce, image)
}

async fn until_all_stored(pounce: &Pounce, image: &Image) {
    for blob in &image.blobs {
        pounce.until_stored(&digest(blob)).await;
    }
}

#[tokio::test]
async fn a_manifest_brings_its_blobs_along_once() {
    let (upstream, pounce, image) = stage(&[100, 200_000, 3 << 20], &[]).await;
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.body, image.manifest);
    // A client that asks meanwhile joins the prefetch.
    let paths: Vec<_> = image.blobs.iter().map(|blob| format!("/v2/a/blobs/{}", digest(blob))).collect();
    for (reply, blob) in join_all(paths.iter().map(|path| pounce.get(path))).await.iter().zip(&image.blobs) {
        let body = if reply.status == 307 { pounce.follow(reply).await.body } else { reply.body.clone() };
        assert!(body == *blob);
    }
    until_all_stored(&pounce, &image).await;
    assert_eq!(upstream.count("GET", "/blobs/"), image.blobs.len());
    // Repeated pulls fetch no blob again.
    upstream.forget();
    pounce.get("/v2/a/manifests/v1").await;
    pounce.get(&format!("/v2/a/manifests/{}", image.digest())).await;
    for path in &paths {
        assert_eq!(pounce.get(path).await.status, 307);
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn nobody_has_to_ask() {
    let (upstream, pounce, image) = stage(&[100, 200_000], &[]).await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
        "mediaType": image.media_type, "digest": image.digest(), "size": image.manifest.len(),
        "platform": {"os": "linux", "architecture": "amd64"}}]});
    upstream.add_manifest("a", "index", OCI_INDEX, index.to_string());
    // Neither an index nor a HEAD starts a prefetch.
    pounce.get("/v2/a/manifests/index").await;
    pounce.head("/v2/a/manifests/v1").await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(upstream.count("GET", "/blobs/"), 0);
    // The platform's manifest does, although pounce has it already.
    pounce.get(&format!("/v2/a/manifests/{}", image.digest())).await;
    until_all_stored(&pounce, &image).await;
    assert_eq!(upstream.count("GET", "/blobs/"), image.blobs.len());
}

#[tokio::test]
async fn it_can_be_turned_off() {
    let off = [("REGISTRY_PROXY_PREFETCH", "false")];
    let (upstream, mut pounce, _image) = stage(&[100], &off).await;
    pounce.get("/v2/a/manifests/v1").await;
    // The shutdown waits for all fills that have begun.
    pounce.end().await;
    assert_eq!(upstream.count("GET", "/blobs/"), 0);
}

#[tokio::test]
async fn so_many_at_once_and_those_that_are_asked_for_first() {
    let layers = [300_000; 6];
    let (upstream, pounce, image) = stage(&layers, &[("REGISTRY_PROXY_FILL_CONCURRENCY", "2")]).await;
    upstream.behave(Manners { holds_after: Some(1), ..Manners::default() });
    pounce.get("/v2/a/manifests/v1").await;
    pounce.until("two have begun", |_| upstream.count("GET", "/blobs/") == 2).await;
    // The config and the first layer fill both permits; a client's request for the last layer does not wait for them.
    let last = digest(&image.blobs[6]);
    let mut asked = pounce.request("GET", &format!("/v2/a/blobs/{last}")).send();
    let asked = async { (&mut asked).await.unwrap() };
    let reply = asked.await;
    assert_eq!((reply.status(), upstream.count("GET", &last)), (reqwest::StatusCode::OK, 1));
    assert_eq!(upstream.count("GET", "/blobs/"), 3);
    upstream.release();
    until_all_stored(&pounce, &image).await;
    assert_eq!(upstream.count("GET", "/blobs/"), 7);
}

#[tokio::test]
async fn blobs_that_the_bucket_has_are_not_fetched_again() {
    let (upstream, pounce, image) = stage(&[200_000], &[]).await;
    pounce.get("/v2/a/manifests/v1").await;
    until_all_stored(&pounce, &image).await;
    upstream.add("b", "v1", &image);
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_PREFETCH", "true")];
    let mut pounce = pounce.restart(&variables).await;
    upstream.forget();
    pounce.get("/v2/b/manifests/v1").await;
    pounce.end().await;
    assert_eq!(upstream.count("GET", "/blobs/"), 0);
}

/// An upstream that redirects blobs to a storage host, which has only blobs.
async fn with_storage() -> (Upstream, Upstream, Pounce, Image) {
    let storage = Upstream::start().await;
    let (upstream, pounce, image) =
        stage(&[200_000], &[("REGISTRY_PROXY_ONMISS", "redirect"), ("REGISTRY_PROXY_PREFETCH", "false")]).await;
    storage.add("a", "v1", &image);
    upstream.behave(Manners { redirects_blobs_to: Some(storage.url()), ..Manners::default() });
    (upstream, storage, pounce, image)
}

#[tokio::test]
async fn on_a_miss_clients_can_be_sent_to_the_upstreams_own_place() {
    let (upstream, storage, pounce, image) = with_storage().await;
    storage.behave(Manners { holds_after: Some(100), holds: 1, ..Manners::default() });
    let layer = digest(image.layer());
    let path = format!("/v2/a/blobs/{layer}");
    for reply in join_all((0..10).map(|_| pounce.get(&path))).await {
        assert_eq!(reply.header("location"), format!("{}{path}", storage.url()));
        assert_eq!((reply.status, reply.header("cache-control")), (307, "no-store"));
        assert_eq!(reply.header("docker-content-digest"), layer);
    }
    // All clients share one request, and the fill in the background sends another one.
    pounce.until("the fill asks", |_| upstream.count("GET", "/blobs/") == 2).await;
    let reply = pounce.get(&path).await;
    assert!(pounce.follow(&reply).await.body == image.layer());
    storage.release();
    pounce.until_stored(&layer).await;
    let warm = pounce.get(&path).await;
    assert!(warm.header("location").contains("X-Amz-Signature"), "{warm:?}");
    assert!(pounce.follow(&warm).await.body == image.layer());
    assert_eq!(upstream.count("GET", "/blobs/"), 2);
}

#[tokio::test]
async fn behind_a_redirect_the_bucket_is_filled() {
    let (upstream, storage, pounce, image) = with_storage().await;
    let (layer, storage) = (digest(image.layer()), storage.url());
    let variables = [("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]), ("REGISTRY_PROXY_ONMISS", "redirect")];
    let pounce = pounce.restart(&variables).await;
    let reply = pounce.get(&format!("/v2/a/blobs/{layer}")).await;
    assert!(reply.header("location").starts_with(&storage));
    pounce.until("it is stored", |pounce| pounce.has_blob(&layer)).await;
}

#[tokio::test]
async fn an_upstream_that_fails_meanwhile_opens_no_fill_of_another_repository() {
    let (upstream, storage, pounce, image) = with_storage().await;
    storage.behave(Manners { holds_after: Some(100), holds: 1, ..Manners::default() });
    upstream.add("b", "v1", &image);
    pounce.get("/v2/b/manifests/v1").await;
    let layer = digest(image.layer());
    pounce.get(&format!("/v2/a/blobs/{layer}")).await;
    pounce.until("the fill has begun", |_| storage.count("GET", "/blobs/") == 1).await;
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    let path = format!("/v2/b/blobs/{layer}");
    assert_eq!(pounce.get(&path).await.status, 503);
    upstream.behave(Manners::default());
    let reply = pounce.request("GET", &path).send().await.unwrap();
    storage.release();
    assert_eq!(reply.status().as_u16(), 200);
    assert!(reply.bytes().await.unwrap() == *image.layer());
}

#[tokio::test]
async fn an_upstream_that_does_not_redirect_is_streamed_from() {
    let (upstream, _storage, pounce, image) = with_storage().await;
    // An upstream without redirects; and one that redirects to itself, where a client would need credentials again.
    upstream.behave(Manners::default());
    let path = format!("/v2/a/blobs/{}", digest(image.layer()));
    let reply = pounce.get(&path).await;
    assert!(reply.status == 200 && reply.body == image.layer());
    let missing = format!("/v2/a/blobs/sha256:{}", "0".repeat(64));
    assert_eq!(pounce.get(&missing).await.status, 404);
}

#[tokio::test]
async fn a_redirect_that_clients_could_not_follow_is_none() {
    let (upstream, _storage, pounce, image) = with_storage().await;
    let path = format!("/v2/a/blobs/{}", digest(image.layer()));
    for place in ["ftp://127.0.0.1", "file:///etc", "http://user:secret@127.0.0.1:1", "javascript:"] {
        upstream.behave(Manners { redirects_blobs_to: Some(place.to_owned()), ..Manners::default() });
        let reply = pounce.get(&path).await;
        assert_eq!(reply.header("location"), "", "{place}");
    }
}
