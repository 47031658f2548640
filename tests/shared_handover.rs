//! A shared fill goes to the replica that has a better way to the upstream, and followers leave that no client needs.

use std::time::Duration;

use crate::support::Sharing;
use crate::support::sharing::{CHUNK, whole};
use crate::support::upstream::Manners;

/// How long the upstream may send nothing in these tests.
const STALL: Duration = Duration::from_millis(300);

/// Every body stops at the third chunk.
fn stalled() -> Manners {
    Manners { ranges: true, holds_after: Some(3 * CHUNK), ..Manners::default() }
}

/// The upstream sent the blob once, but for a chunk that was asked for again when it did not come.
fn one_copy(sharing: &Sharing) {
    let (bytes, size) = (sharing.upstream.blob_bytes(), sharing.layer().len());
    assert!(bytes <= size + CHUNK + CHUNK / 2, "{bytes} of {size}");
}

#[tokio::test]
async fn a_filler_whose_upstream_stalls_hands_over() {
    let mut sharing = Sharing::start(8).await;
    sharing.tuning.stall = STALL;
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    sharing.upstream.behave(stalled());
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        whole(&two, &path).await
    };
    let served = async {
        let has_left = |it: &Sharing| it.leases(|lease| lease["state"] == "leaving") || it.generations() == 2;
        sharing.until("one lets others take over", has_left).await;
        // The connections of one stay as they are.
        sharing.upstream.behave(Manners { ranges: true, ..Manners::default() });
    };
    let (first, second, ()) = tokio::join!(whole(&one, &path), follower, served);
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    assert!(first.whole && first.body == sharing.layer(), "{}", first.status);
    // The chunks from the third one on, of which one may have asked for one again.
    let bytes = sharing.upstream.blob_bytes();
    assert!(bytes <= 6 * CHUNK, "{bytes}");
    sharing.until_done().await;
    assert_eq!(one.metric("fills_robbed_total").await + two.metric("fill_takeovers_total").await, 2);
}

#[tokio::test]
async fn replicas_of_one_stalled_upstream_hand_over_once_each() {
    let mut sharing = Sharing::start(6).await;
    sharing.tuning.stall = STALL;
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    sharing.upstream.behave(stalled());
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        whole(&two, &path).await
    };
    let released = async {
        sharing.until("two took over", |it| it.generations() >= 2).await;
        let (writes, looks) = (sharing.lease_writes().len(), sharing.looks("one") + sharing.looks("two"));
        // Ten times as long as an upstream may stall, by the owner's heartbeats.
        sharing.until("the owner goes on", |it| it.lease_writes().len() >= writes + 30).await;
        assert!(sharing.generations() <= 3, "{:?}", sharing.lease());
        assert!(sharing.looks("one") + sharing.looks("two") > looks);
        sharing.upstream.release();
    };
    let (first, second, ()) = tokio::join!(whole(&one, &path), follower, released);
    assert!(first.whole && first.body == sharing.layer(), "{}", first.status);
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    sharing.until_done().await;
}

#[tokio::test]
async fn a_stalled_filler_without_a_follower_goes_on() {
    let mut sharing = Sharing::start(5).await;
    sharing.tuning.stall = STALL;
    let (one, path) = (sharing.replica("one").await, sharing.path());
    sharing.upstream.behave(stalled());
    let released = async {
        sharing.until_hashed(3).await;
        let writes = sharing.lease_writes().len();
        sharing.until("the owner goes on", |it| it.lease_writes().len() >= writes + 10).await;
        assert!(sharing.leases(|lease| lease["state"] == "filling"), "{:?}", sharing.lease());
        sharing.upstream.release();
    };
    let (reply, ()) = tokio::join!(whole(&one, &path), released);
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until_done().await;
}

#[tokio::test]
async fn a_follower_without_a_client_leaves_and_comes_back() {
    let sharing = Sharing::start(6).await;
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    sharing.upstream.behave(stalled());
    let others = async {
        sharing.until_hashed(3).await;
        let mut response = two.request("GET", &path).send().await.unwrap();
        assert!(!response.chunk().await.unwrap().unwrap().is_empty());
        drop(response);
        // Its fill is a task in the background.
        two.until_quiet().await;
        assert!(sharing.leases(|lease| lease["state"] == "filling"), "{:?}", sharing.lease());
        let released = async {
            let looks = sharing.looks("two");
            sharing.until("two follows again", |it| it.looks("two") > looks).await;
            sharing.upstream.release();
        };
        tokio::join!(whole(&two, &path), released).0
    };
    let (first, second) = tokio::join!(whole(&one, &path), others);
    assert!(first.whole && first.body == sharing.layer(), "{}", first.status);
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    sharing.until_done().await;
    one_copy(&sharing);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetch_follows_without_a_client_and_takes_over() {
    let mut sharing = Sharing::start(6).await;
    sharing.upstream.behave(stalled());
    let one = sharing.mortal("one").await;
    sharing.variables.push(("REGISTRY_PROXY_PREFETCH", "true".into()));
    let two = sharing.stranger("two").await;
    let response = one.pounce.request("GET", &sharing.path()).send().await.unwrap();
    sharing.until_hashed(3).await;
    assert_eq!(two.get("/v2/a/manifests/v1").await.status, 200);
    // For longer than a client's follower would: it looks three times in a heartbeat at most.
    sharing.until("two follows", |it| it.looks("two") >= 45).await;
    one.kill();
    drop(response);
    sharing.upstream.release();
    sharing.until_done().await;
    one_copy(&sharing);
}
