//! A spool that is too small, full, read-only or missing: blobs bypass it, and are stored all the same.

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Process, Upstream};

/// Several parts of an upload, which have 10 MiB each.
const LARGE: usize = 25 << 20;

async fn small_spool(size: usize) -> (Upstream, Pounce, Image, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(8, &[size]);
    upstream.add("a", "v1", &image);
    let pounce =
        Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_SPOOL_MAXSIZE", "30")]).await;
    let path = format!("/v2/a/blobs/{}", digest(image.layer()));
    (upstream, pounce, image, path)
}

#[tokio::test]
async fn a_blob_beyond_the_budget_is_stored_on_its_way() {
    for size in [500_000, LARGE] {
        let (upstream, pounce, image, path) = small_spool(size).await;
        pounce.get("/v2/a/manifests/v1").await;
        let reply = pounce.get(&path).await;
        assert!(reply.whole && reply.body == image.layer());
        let layer = digest(image.layer());
        pounce.until("it is stored", |pounce| pounce.has_blob(&layer)).await;
        assert_eq!(upstream.blob_bytes(), size);
        let warm = pounce.get(&path).await;
        assert!(pounce.follow(&warm).await.body == image.layer());
        assert_eq!(pounce.open_uploads(), 0);
    }
}

#[tokio::test]
async fn whoever_comes_meanwhile_gets_it_from_the_upstream() {
    let (upstream, pounce, image, path) = small_spool(LARGE).await;
    upstream.behave(Manners { holds_after: Some(LARGE / 2), holds: 1, ranges: true, ..Manners::default() });
    let mut first = pounce.request("GET", &path).send().await.unwrap();
    first.chunk().await.unwrap().unwrap();
    for reply in join_all((0..2).map(|_| pounce.get(&path))).await {
        assert!(reply.whole && reply.body == image.layer());
    }
    upstream.release();
    while first.chunk().await.unwrap().is_some() {}
    let layer = digest(image.layer());
    pounce.until("it is stored", |pounce| pounce.has_blob(&layer)).await;
    assert_eq!(pounce.open_uploads(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_it() {
    let (upstream, pounce, image, path) = small_spool(LARGE).await;
    upstream.behave(Manners { holds_after: Some(LARGE / 2), holds: 1, ..Manners::default() });
    let mut reply = pounce.request("GET", &path).send().await.unwrap();
    reply.chunk().await.unwrap().unwrap();
    drop(reply);
    upstream.release();
    let layer = digest(image.layer());
    pounce.until("it is stored", |pounce| pounce.has_blob(&layer)).await;
}

#[tokio::test]
async fn broken_connections_are_resumed_here_too() {
    let (upstream, pounce, image, path) = small_spool(LARGE).await;
    upstream.behave(Manners { cuts_after: Some(7_000_000), cuts: 3, ranges: true, ..Manners::default() });
    let reply = pounce.get(&path).await;
    assert!(reply.whole && reply.body == image.layer());
    let bytes = upstream.blob_bytes();
    // The bytes in flight when a connection breaks are sent again.
    assert!((LARGE..LARGE * 3 / 2).contains(&bytes), "{bytes} bytes");
    let layer = digest(image.layer());
    pounce.until("it is stored", |pounce| pounce.has_blob(&layer)).await;
}

#[tokio::test]
async fn a_size_that_nobody_tells_may_be_too_large() {
    let (upstream, pounce, image, path) = small_spool(LARGE).await;
    upstream.behave(Manners { chunked: true, ..Manners::default() });
    let reply = pounce.get(&path).await;
    assert!(reply.whole && reply.body == image.layer());
    // The spool is smaller than this blob, although it could hold others.
    let variables = [("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]), ("REGISTRY_PROXY_SPOOL_MAXSIZE", "20000000")];
    let pounce = Pounce::with(&variables).await;
    // The fill meets the limit in the middle; the next fill bypasses the spool.
    assert!(!pounce.get(&path).await.whole);
    let reply = pounce.get(&path).await;
    assert!(reply.whole && reply.body == image.layer());
}

#[tokio::test]
async fn wrong_bytes_are_neither_served_whole_nor_stored() {
    for size in [40, 500_000, LARGE] {
        let (upstream, pounce, _image, path) = small_spool(size).await;
        upstream.behave(Manners { corrupts: true, ..Manners::default() });
        for reply in join_all((0..2).map(|_| pounce.get(&path))).await {
            let told = reply.status == 503 && reply.code() == "UNAVAILABLE";
            assert!(told == (size == 40), "{}", reply.status);
            assert!(told || (!reply.whole && reply.body.len() < size));
        }
        pounce.until("its upload is gone", |pounce| pounce.open_uploads() == 0).await;
        assert_eq!(pounce.objects(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_told_and_passed_by() {
    let upstream = Upstream::start().await;
    let image = Image::new(9, &[500_000]);
    upstream.add("a", "v1", &image);
    let missing = std::env::temp_dir().join("pounce-no-such-directory");
    // No user, not even root, can create a file in them.
    for directory in [missing.to_str().unwrap(), "/proc", "/dev/null"] {
        let mut process = Process::start(&[
            ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
            ("REGISTRY_PROXY_SPOOL_DIRECTORY", directory),
            ("REGISTRY_PROXY_SPOOL_MAXSIZE", "100000000"),
        ]);
        let url = process.url(&format!("/v2/a/blobs/{}", digest(image.layer())));
        let bytes = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        assert!(bytes == image.layer());
        process.until("proxy.spool.directory cannot be used");
        process.until("stored a blob without the spool");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_is_passed_by() {
    let upstream = Upstream::start().await;
    let image = Image::new(9, &[500_000]);
    upstream.add("a", "v1", &image);
    let mut process = Process::start(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_SPOOL_DIRECTORY", "/dev/shm"),
        ("REGISTRY_PROXY_SPOOL_MAXSIZE", "1000000000000000"),
    ]);
    let small = process.url(&format!("/v2/a/blobs/{}", digest(image.layer())));
    // The announced size exceeds any disk, but the bytes end long before.
    upstream.behave(Manners { claims: Some(1 << 48), ..Manners::default() });
    let reply = reqwest::get(&small).await.unwrap();
    assert!(reply.bytes().await.is_err());
    process.until("there is no room for it in proxy.spool.directory");
    upstream.behave(Manners::default());
    let bytes = reqwest::get(&small).await.unwrap().bytes().await.unwrap();
    assert!(bytes == image.layer());
}
