//! The cold path over an S3: one fill for each digest, in spite of racing clients and a bad upstream. `folder_fill.rs`
//! has the folder's.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream, borrowed};

/// Large enough for a multipart upload of several parts, which have 10 MiB each.
const LARGE: usize = 25 << 20;

async fn cold(size: usize) -> (Upstream, Pounce, Image, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(7, &[size]);
    upstream.add("a/b", "v1", &image);
    let pounce = Pounce::with_s3(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    let path = format!("/v2/a/b/blobs/{}", digest(image.layer()));
    (upstream, pounce, image, path)
}

#[tokio::test]
async fn eight_clients_cause_one_upstream_get() {
    let (upstream, pounce, image, path) = cold(LARGE).await;
    let replies = join_all((0..8).map(|_| pounce.get(&path))).await;
    for reply in replies {
        assert_eq!(reply.status, 200);
        assert!(reply.body == image.layer(), "{} bytes came", reply.body.len());
    }
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
    pounce.until_stored(&digest(image.layer())).await;
    let warm = pounce.get(&path).await;
    assert!(pounce.follow(&warm).await.body == image.layer());
    assert_eq!((upstream.count("GET", "/blobs/"), pounce.open_uploads()), (1, 0));
}

#[tokio::test]
async fn headers_and_first_bytes_leave_before_the_upstream_is_done() {
    let (upstream, pounce, image, path) = cold(1 << 20).await;
    upstream.behave(Manners { holds_after: Some(200_000), ..Manners::default() });
    let mut reply = pounce.request("GET", &path).send().await.unwrap();
    assert_eq!(reply.headers()["content-length"], (1 << 20).to_string().as_str());
    let first = reply.chunk().await.unwrap().unwrap();
    assert_eq!(first, image.layer()[..first.len()]);
    assert!(!pounce.has_blob(&digest(image.layer())));
    upstream.release();
    let mut len = first.len();
    while let Some(piece) = reply.chunk().await.unwrap() {
        len += piece.len();
    }
    assert_eq!(len, 1 << 20);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_fill() {
    let (upstream, pounce, image, path) = cold(LARGE).await;
    upstream.behave(Manners { holds_after: Some(LARGE / 2), ..Manners::default() });
    let mut reply = pounce.request("GET", &path).send().await.unwrap();
    reply.chunk().await.unwrap().unwrap();
    drop(reply);
    upstream.release();
    pounce.until_stored(&digest(image.layer())).await;
    let warm = pounce.get(&path).await;
    assert!(pounce.follow(&warm).await.body == image.layer());
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn a_late_client_gets_the_whole_from_memory() {
    let (upstream, pounce, image, path) = cold(1 << 20).await;
    upstream.behave(Manners { holds_after: Some(900_000), ..Manners::default() });
    let mut first = pounce.request("GET", &path).send().await.unwrap();
    first.chunk().await.unwrap().unwrap();
    let (late, ()) = tokio::join!(pounce.get(&path), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        upstream.release();
    });
    assert!(late.whole && late.body == image.layer());
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn a_range_follows_the_fill_as_well() {
    let (upstream, pounce, image, path) = cold(1 << 20).await;
    upstream.behave(Manners { holds_after: Some(500_000), ..Manners::default() });
    let reply = pounce.range(&path, "bytes=1000-1999").await;
    assert_eq!((reply.status, &reply.body), (206, &image.layer().slice(1000..2000)));
    upstream.release();
    pounce.until_stored(&digest(image.layer())).await;
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn wrong_bytes_break_the_connection_and_leave_nothing() {
    for size in [40, 500_000, LARGE] {
        let (upstream, pounce, image, path) = cold(size).await;
        upstream.behave(Manners { corrupts: true, ..Manners::default() });
        for reply in join_all((0..3).map(|_| pounce.get(&path))).await {
            if size == 40 {
                // No byte of a small blob leaves before all are verified, so the client gets an error.
                assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"));
                continue;
            }
            assert!(!reply.whole && reply.body.len() < size, "{} of {size} bytes came", reply.body.len());
        }
        pounce.until("its upload is gone", |pounce| pounce.open_uploads() == 0).await;
        assert_eq!(pounce.objects(), Vec::<String>::new());
        // The next request starts a new fill.
        upstream.behave(Manners::default());
        assert!(pounce.get(&path).await.body == image.layer());
        pounce.until_stored(&digest(image.layer())).await;
    }
}

#[tokio::test]
async fn a_body_cut_short_breaks_the_connection_and_leaves_nothing() {
    for (size, chunked) in [(500_000, false), (500_000, true), (LARGE, false)] {
        let (upstream, pounce, image, path) = cold(size).await;
        upstream.behave(Manners { cuts_after: Some(size - 10), chunked, ..Manners::default() });
        let reply = pounce.get(&path).await;
        assert!(!reply.whole && reply.body.len() < size, "{} of {size} bytes came", reply.body.len());
        pounce.until("its upload is gone", |pounce| pounce.open_uploads() == 0).await;
        assert_eq!(pounce.objects(), Vec::<String>::new());
        upstream.behave(Manners::default());
        assert!(pounce.get(&path).await.body == image.layer());
    }
}

#[tokio::test]
async fn a_blob_of_unannounced_size_is_filled_too() {
    let (upstream, pounce, image, path) = cold(LARGE).await;
    upstream.behave(Manners { chunked: true, ..Manners::default() });
    let reply = pounce.get(&path).await;
    assert!(reply.whole && reply.body == image.layer());
    pounce.until_stored(&digest(image.layer())).await;
    let warm = pounce.get(&path).await;
    assert!(pounce.follow(&warm).await.body == image.layer());
}

#[tokio::test]
async fn one_manifests_wrong_size_does_not_keep_anybody_from_the_blob() {
    let (upstream, pounce, image, _) = cold(1000).await;
    let layer = digest(image.layer());
    let manifest = format!(r#"{{"schemaVersion":2,"layers":[{{"mediaType":"a/b","digest":"{layer}","size":999}}]}}"#);
    upstream.add_manifest("a/b", "lie", "application/vnd.oci.image.manifest.v1+json", manifest);
    assert_eq!(pounce.get("/v2/a/b/manifests/lie").await.status, 200);
    let path = format!("/v2/a/b/blobs/{layer}");
    assert_eq!(pounce.get(&path).await.body, image.layer());
    pounce.until_stored(&layer).await;
    assert_eq!(pounce.head(&path).await.header("content-length"), "1000");
}

#[tokio::test]
async fn an_orderly_end_waits_for_fills() {
    let (upstream, mut pounce, image, path) = cold(LARGE).await;
    upstream.behave(Manners { holds_after: Some(LARGE / 2), ..Manners::default() });
    let mut reply = pounce.request("GET", &path).send().await.unwrap();
    reply.chunk().await.unwrap().unwrap();
    drop(reply);
    let release = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        upstream.release();
    };
    tokio::join!(pounce.end(), release);
    assert!(pounce.has_blob(&digest(image.layer())));
}

#[tokio::test]
async fn a_fill_that_outlasts_the_drain_is_aborted() {
    let upstream = Upstream::start().await;
    let image = Image::new(9, &[LARGE]);
    upstream.add("a", "v1", &image);
    let variables = [("REGISTRY_PROXY_REMOTEURL", upstream.url()), ("REGISTRY_HTTP_DRAINTIMEOUT", "100ms".into())];
    let mut pounce = Pounce::with_s3(&borrowed(&variables)).await;
    upstream.behave(Manners { holds_after: Some(LARGE / 2), ..Manners::default() });
    let mut reply = pounce.request("GET", &format!("/v2/a/blobs/{}", digest(image.layer()))).send().await.unwrap();
    reply.chunk().await.unwrap().unwrap();
    pounce.until("its upload began", |pounce| pounce.open_uploads() == 1).await;
    pounce.end().await;
    assert_eq!((pounce.open_uploads(), pounce.objects()), (0, Vec::new()));
}

#[tokio::test]
async fn a_fill_that_begins_during_the_drain_is_waited_for() {
    let (upstream, mut pounce, image, path) = cold(LARGE).await;
    upstream.behave(Manners { stalls: true, ..Manners::default() });
    let reply = pounce.request("GET", &path).send();
    let begin = async {
        // The shutdown starts before the upstream has answered.
        tokio::time::sleep(Duration::from_millis(200)).await;
        upstream.release();
    };
    let ((), (), reply) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            pounce.end_from_outside();
        },
        begin,
        async { reply.await.unwrap().bytes().await.unwrap() },
    );
    assert!(reply == image.layer());
    pounce.end().await;
    assert!(pounce.has_blob(&digest(image.layer())));
    assert_eq!(pounce.open_uploads(), 0);
}

#[tokio::test]
async fn a_blob_gets_its_link_whoever_stored_the_manifest() {
    let (upstream, image) = (Upstream::start().await, Image::new(1, &[10_000]));
    upstream.add("a/b", "1", &image);
    let pounce = Pounce::before(&upstream).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
    let tagged = |it: &Pounce| it.objects().iter().any(|key| key.ends_with("current/link"));
    pounce.until("the tag is stored", tagged).await;
    // Another process finds the manifest in the bucket, and fills the blob.
    let url = upstream.url();
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &url)]).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
    let layer = digest(image.layer());
    assert_eq!(pounce.pull("a/b", &layer).await, image.layer());
    pounce.until_stored(&layer).await;
    // A replica without an upstream relies on links only.
    let pounce = pounce.restart(&[]).await;
    assert_eq!(pounce.pull("a/b", &layer).await, image.layer());
}
