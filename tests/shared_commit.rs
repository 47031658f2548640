//! How a blob that replicas fill together is stored, and what it costs the bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::support::image::digest;
use crate::support::sharing::{CHUNK, NEVER, is_by, rest, whole};
use crate::support::upstream::Manners;
use crate::support::{Image, Rule, Sharing};

#[tokio::test]
async fn a_failing_look_at_a_stored_blob_costs_no_copy() {
    let mut sharing = Sharing::start(4).await;
    sharing.tuning.grace = NEVER;
    sharing.hold_at(2 * CHUNK);
    let sharing = Arc::new(sharing);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let (path, weak, left) = (sharing.path(), Arc::downgrade(&sharing), Arc::new(AtomicUsize::new(6)));
    sharing.s3.on("HeadObject", usize::MAX, move |seen| {
        let (sharing, left) = (weak.upgrade().unwrap(), Arc::clone(&left));
        async move {
            let is_late = is_by(&seen, "two") && sharing.leases(|lease| lease["state"] == "done");
            let less = |left: usize| left.checked_sub(1);
            let fails = is_late && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok();
            fails.then(|| (503, Vec::new(), Bytes::new()))
        }
    });
    let released = async {
        sharing.until_followed("two").await;
        sharing.until_hashed(2).await;
        sharing.upstream.release();
    };
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        whole(&two, &path).await
    };
    let (first, second, ()) = tokio::join!(one.get(&path), follower, released);
    assert!(first.whole && second.whole && second.body == sharing.layer());
    two.until_quiet().await;
    assert_eq!((sharing.generations(), sharing.upstream.blob_bytes()), (1, sharing.layer().len()));
}

#[tokio::test]
async fn requests_for_64_chunks_stay_within_the_bound() {
    let sharing = Sharing::start(64).await;
    let one = sharing.replica("one").await;
    sharing.s3.take();
    let before = sharing.lease_writes().len();
    let reply = one.get(&sharing.path()).await;
    assert!(reply.whole && reply.body == sharing.layer());
    sharing.until_done().await;
    one.until_quiet().await;
    // Writes of the lease that say no more than that its owner lives depend on the time that the fill takes.
    let heartbeats = sharing.lease_writes().len() - before;
    let calls = sharing.s3.take();
    let all: usize = calls.values().sum();
    assert!(all - heartbeats <= 3 * 64, "{heartbeats} writes of the lease; {calls:?}");
}

#[tokio::test]
async fn unknown_size_has_no_lease() {
    let sharing = Sharing::start(4).await;
    let unknown = Manners { chunked: true, refuses_blob_heads: true, ..Manners::default() };
    sharing.upstream.behave(unknown);
    // No manifest says the size, either.
    sharing.upstream.add("other", "v1", &Image::new(30, &[4 * CHUNK]));
    let layer = Image::new(30, &[4 * CHUNK]).layer().clone();
    let (one, path) = (sharing.replica("one").await, format!("/v2/other/blobs/{}", digest(&layer)));
    let reply = one.get(&path).await;
    assert!(reply.whole && reply.body == layer);
    one.until_quiet().await;
    assert!(sharing.lease_writes().is_empty());
    assert_eq!(sharing.left(), Vec::<String>::new());
}

#[tokio::test]
async fn the_blob_is_composed_by_etag() {
    let sharing = Sharing::start(5).await;
    let one = sharing.replica("one").await;
    assert!(one.get(&sharing.path()).await.whole);
    sharing.until_done().await;
    let copies = sharing.s3.seen("UploadPartCopy");
    assert_eq!(copies.len(), 5);
    let named = |copy: &crate::support::upstream::Seen| copy.headers.contains_key("x-amz-copy-source-if-match");
    assert!(copies.iter().all(named), "{copies:?}");
    assert_eq!(sharing.s3.seen("UploadPart").len(), 0);
    // The chunks that were put are the only bytes that were sent.
    let puts = sharing.s3.seen("PutObject");
    let conditional = puts.iter().filter(|put| put.path.contains("pounce/fills/") && !put.path.contains("/lease"));
    assert!(conditional.clone().count() >= 5);
    assert!(conditional.filter(|put| !put.path.contains("/head-")).all(|put| put.headers["if-none-match"] == "*"));
}

#[tokio::test]
async fn an_exchanged_chunk_is_not_stored() {
    let sharing = Arc::new(Sharing::start(5).await);
    let one = sharing.replica("one").await;
    let weak = Arc::downgrade(&sharing);
    // The blob is verified; then another program writes a chunk.
    sharing.s3.on("CreateMultipartUpload", 1, move |_| {
        let sharing = weak.upgrade().unwrap();
        async move {
            let chunk = sharing.chunks().swap_remove(2);
            sharing.s3.put(&chunk, Bytes::from(vec![0; CHUNK]));
            None
        }
    });
    let reply = one.get(&sharing.path()).await;
    assert!(reply.whole && reply.body == sharing.layer());
    sharing.until_done().await;
    // That chunk is downloaded again.
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len() + CHUNK);
}

#[tokio::test]
async fn a_store_without_copies_gets_parts() {
    let sharing = Sharing::with(&[Rule::NoUploadPartCopy], 5 * CHUNK).await;
    let one = sharing.replica("one").await;
    let reply = one.get(&sharing.path()).await;
    assert!(reply.whole && reply.body == sharing.layer());
    sharing.until_done().await;
    assert_eq!(sharing.s3.seen("UploadPart").len(), 5);
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
}

#[tokio::test]
async fn the_grace_covers_a_slow_follower() {
    // Chunks that stay until the client has all, and chunks that are deleted under it.
    for grace in [NEVER, Duration::ZERO] {
        let mut sharing = Sharing::start(24).await;
        sharing.tuning.grace = grace;
        sharing.hold_at(4 * CHUNK);
        let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
        let path = sharing.path();
        let slow = async {
            sharing.until("one owns the lease", |it| it.lease().is_some()).await;
            let mut response = two.request("GET", &path).send().await.unwrap();
            let mut body = response.chunk().await.unwrap().unwrap().to_vec();
            sharing.upstream.release();
            sharing.until("the blob is stored", Sharing::is_stored).await;
            if grace.is_zero() {
                sharing.until_done().await;
            } else {
                sharing.until("the lease says so", |it| it.leases(|lease| lease["state"] == "done")).await;
                assert_eq!(sharing.chunks().len(), 24);
            }
            (rest(response, &mut body).await, body)
        };
        let (first, (whole, body)) = tokio::join!(one.get(&path), slow);
        assert!(first.whole && first.body == sharing.layer());
        assert!(whole && body == *sharing.layer(), "{grace:?}: {} bytes", body.len());
    }
}

#[tokio::test]
async fn a_done_lease_without_its_blob_is_replaced() {
    let mut sharing = Sharing::start(4).await;
    sharing.tuning.grace = NEVER;
    let one = sharing.replica("one").await;
    let path = sharing.path();
    assert!(one.get(&path).await.whole);
    sharing.until("the lease says so", |it| it.leases(|lease| lease["state"] == "done")).await;
    let before = sharing.lease().unwrap().1["generations"].clone();
    drop(one);
    assert!(sharing.s3.remove(&sharing.blob_key()));
    // A client that comes before the new bytes must wait for them, although those of the old lease were verified.
    sharing.hold_at(CHUNK + 10);
    let two = sharing.replica("two").await;
    let released = async {
        sharing.until("two fills", |it| it.leases(|lease| lease["generations"] != before)).await;
        sharing.until("chunk 0 is stored", |it| it.leases(|lease| lease["hashed"] == json!(1))).await;
        sharing.upstream.release();
    };
    let (reply, ()) = tokio::join!(whole(&two, &path), released);
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until("the blob is stored", Sharing::is_stored).await;
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
}
