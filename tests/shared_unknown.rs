//! Replicas share the fill of a blob whose manifest they have not seen, and do not wait for what they do not know.

use futures_util::future::join_all;
use tokio::sync::watch;

use crate::support::sharing::{CHUNK, whole};
use crate::support::upstream::Manners;
use crate::support::{Pounce, Sharing};

/// A replica that has not seen the manifest, and knows the bucket.
async fn stranger(sharing: &Sharing, name: &str) -> Pounce {
    let pounce = sharing.stranger(name).await;
    pounce.until_quiet().await;
    pounce
}

#[tokio::test]
async fn a_replica_without_the_manifest_shares_without_a_head() {
    let sharing = Sharing::start(6).await;
    let (one, path) = (stranger(&sharing, "one").await, sharing.path());
    let others = [sharing.replica("two").await, stranger(&sharing, "three").await];
    sharing.hold_at(2 * CHUNK + CHUNK / 2);
    let then = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        assert_eq!((sharing.upstream.count("HEAD", "/blobs/"), sharing.looks("one")), (0, 1));
        let released = async {
            sharing.until_followed("two").await;
            sharing.until_followed("three").await;
            sharing.upstream.release();
        };
        tokio::join!(join_all(others.iter().map(|replica| whole(replica, &path))), released).0
    };
    let (first, then) = tokio::join!(whole(&one, &path), then);
    for reply in then.into_iter().chain([first]) {
        assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    }
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    // Each follower asks whether the blob is the repository's, as ever.
    assert_eq!(sharing.upstream.count("HEAD", "/blobs/"), 2);
    sharing.until_done().await;
}

#[tokio::test]
async fn an_upstream_that_answers_no_head_is_shared() {
    for status in [405, 429, 503] {
        let sharing = Sharing::start(5).await;
        let names = ["one", "two", "three"];
        let replicas = join_all(names.map(|name| stranger(&sharing, name))).await;
        let at = Some(2 * CHUNK + CHUNK / 2);
        let manners = Manners { ranges: true, holds_first_at: at, blob_heads_get: Some(status), ..Manners::default() };
        sharing.upstream.behave(manners);
        let path = sharing.path();
        let then = async {
            sharing.until("one owns the lease", |it| it.lease().is_some()).await;
            let released = async {
                sharing.until_followed("two").await;
                sharing.until_followed("three").await;
                sharing.upstream.release();
            };
            tokio::join!(join_all(replicas[1..].iter().map(|replica| whole(replica, &path))), released).0
        };
        let (first, then) = tokio::join!(whole(&replicas[0], &path), then);
        for reply in then.into_iter().chain([first]) {
            assert!(reply.whole && reply.body == sharing.layer(), "{status}: {}", reply.status);
        }
        // Where HEAD tells nothing, the first byte does.
        let bytes = sharing.upstream.blob_bytes();
        assert!(bytes <= sharing.layer().len() + 2, "{status}: {bytes}");
        sharing.until_done().await;
    }
}

#[tokio::test]
async fn replicas_that_ask_the_upstream_at_once_share() {
    let sharing = Sharing::start(4).await;
    let replicas = [stranger(&sharing, "one").await, stranger(&sharing, "two").await];
    sharing.upstream.behave(Manners { ranges: true, holds_after: Some(10), ..Manners::default() });
    // No lease is written before both have asked.
    let (open, gate) = watch::channel(false);
    sharing.s3.on("PutObject", usize::MAX, move |seen| {
        let mut gate = gate.clone();
        async move {
            if seen.path.contains("/lease") {
                let _ = gate.wait_for(|open| *open).await;
            }
            None
        }
    });
    let path = sharing.path();
    let released = async {
        sharing.until("both asked", |it| it.upstream.count("GET", "/blobs/") == 2).await;
        open.send_replace(true);
        // Two looks before, the loser's two after its write, and one more.
        sharing.until("one follows", |it| it.looks("one") + it.looks("two") >= 5).await;
        assert_eq!(sharing.generations(), 1);
        sharing.upstream.release();
    };
    let (replies, ()) = tokio::join!(join_all(replicas.iter().map(|replica| whole(replica, &path))), released);
    for reply in replies {
        assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    }
    let (bytes, size) = (sharing.upstream.blob_bytes(), sharing.layer().len());
    assert!(bytes <= size + (64 << 10), "{bytes} of {size}");
    assert_eq!(sharing.upstream.count("HEAD", "/blobs/"), 0);
    sharing.until_done().await;
}

#[tokio::test]
async fn the_first_pull_does_not_wait_for_what_the_bucket_can() {
    for knows_manifest in [false, true] {
        let sharing = Sharing::start(3).await;
        let (open, gate) = watch::channel(false);
        sharing.s3.on("PutObject", usize::MAX, move |seen| {
            let mut gate = gate.clone();
            async move {
                if seen.path.contains("_check/") {
                    let _ = gate.wait_for(|open| *open).await;
                }
                None
            }
        });
        let one = sharing.stranger("one").await;
        if knows_manifest {
            assert_eq!(one.get("/v2/a/manifests/v1").await.status, 200);
        }
        let reply = one.get(&sharing.path()).await;
        assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
        assert!(sharing.lease_writes().is_empty() && !*open.borrow());
        open.send_replace(true);
        sharing.until("the blob is stored", Sharing::is_stored).await;
        assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    }
}
