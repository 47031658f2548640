//! Replicas that fill one blob together: one downloads it, and the others follow through the bucket.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::ranged::{RangedClient, Shape};
use crate::support::sharing::{CHUNK, is_by, rest, whole};
use crate::support::upstream::{Manners, Seen};
use crate::support::{Image, Pounce, Reply, Sharing};

/// Three clients of each of these replicas.
async fn three_each(replicas: &[Pounce], path: &str) -> Vec<Reply> {
    join_all(replicas.iter().flat_map(|replica| (0..3).map(move |_| whole(replica, path)))).await
}

#[tokio::test]
async fn three_replicas_cost_the_upstream_one_copy() {
    let sharing = Sharing::start(6).await;
    sharing.hold_at(2 * CHUNK + CHUNK / 2);
    let (one, path) = (sharing.replica("one").await, sharing.path());
    let others = [sharing.replica("two").await, sharing.replica("three").await];
    let first = async { join_all((0..3).map(|_| whole(&one, &path))).await };
    let then = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let released = async {
            sharing.until_followed("two").await;
            sharing.until_followed("three").await;
            sharing.upstream.release();
        };
        tokio::join!(three_each(&others, &path), released).0
    };
    let (first, then) = tokio::join!(first, then);
    for reply in first.into_iter().chain(then) {
        assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    }
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    sharing.until_done().await;
}

#[tokio::test]
async fn three_replicas_cost_one_copy_in_ranges_too() {
    let mut sharing = Sharing::start(12).await;
    sharing.variables.push(("REGISTRY_PROXY_FILL_CONNECTIONS", "4".into()));
    let replicas = [sharing.replica("one").await, sharing.replica("two").await, sharing.replica("three").await];
    let size = sharing.layer().len();
    for shape in [Shape::closed(4, CHUNK * 3 / 2), Shape::open(3, 5 * CHUNK)] {
        let clients = replicas.iter().map(|it| RangedClient::new(it.url(&sharing.path()), size));
        let pulls = clients.map(|client| async move { client.pull(shape).await.unwrap() });
        for pulled in join_all(pulls).await {
            assert!(pulled == *sharing.layer());
        }
    }
    let bytes = sharing.upstream.blob_bytes();
    assert!(bytes <= size * 115 / 100, "{bytes} of {size}");
    sharing.until_done().await;
}

#[tokio::test]
async fn losers_of_the_race_open_no_body() {
    let sharing = Sharing::start(3).await;
    // Every body stops at once: a loser's would stay open, and be counted.
    sharing.upstream.behave(Manners { ranges: true, holds_after: Some(10), ..Manners::default() });
    let replicas = [sharing.replica("one").await, sharing.replica("two").await, sharing.replica("three").await];
    let path = sharing.path();
    let released = async {
        sharing
            .until("two of three read the lease", |it| {
                let reads = it.s3.seen("GetObject");
                let reads = |name| reads.iter().any(|seen| seen.path.contains("/lease") && is_by(seen, name));
                ["one", "two", "three"].into_iter().filter(|name| reads(name)).count() >= 2
            })
            .await;
        sharing.until("the owner asked", |it| it.upstream.count("GET", "/blobs/") > 0).await;
        sharing.upstream.release();
    };
    let (replies, ()) = tokio::join!(three_each(&replicas, &path), released);
    assert!(replies.iter().all(|reply| reply.whole && reply.body == sharing.layer()));
    let first =
        |seen: &Seen| seen.headers.get("range").is_some_and(|range| range.to_str().unwrap().starts_with("bytes=0-"));
    let bodies =
        sharing.upstream.seen().into_iter().filter(|seen| seen.path.contains("/blobs/") && first(seen)).count();
    assert_eq!((bodies, sharing.upstream.blob_bytes()), (1, sharing.layer().len()));
    sharing.until_done().await;
}

#[tokio::test]
async fn a_follower_gets_its_first_byte_before_chunk_zero() {
    let mut sharing = Sharing::with(&[], 9 << 20).await;
    sharing.tuning.chunk = Some(4 << 20);
    // Chunk 0 is not whole before the upstream goes on.
    sharing.hold_at(3 << 20);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let mut response = two.request("GET", &path).send().await.unwrap();
        let mut body = response.chunk().await.unwrap().unwrap().to_vec();
        assert_eq!(sharing.chunks(), Vec::<String>::new());
        sharing.upstream.release();
        assert!(rest(response, &mut body).await);
        body
    };
    let (first, body) = tokio::join!(one.get(&path), follower);
    assert!(first.whole && first.body == sharing.layer());
    assert!(body == *sharing.layer());
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
}

#[tokio::test]
async fn a_follower_of_a_slow_upstream_is_not_silent() {
    const STEP: usize = 256 << 10;
    let mut sharing = Sharing::with(&[], 9 << 20).await;
    (sharing.tuning.chunk, sharing.tuning.heartbeat) = (Some(4 << 20), Duration::from_millis(20));
    sharing.hold_at(1 << 20);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let mut response = two.request("GET", &path).send().await.unwrap();
        let (mut body, mut named) = (Vec::new(), Vec::new());
        for upto in (0..7).map(|step| (1 << 20) + step * STEP) {
            sharing.upstream.release_to(upto);
            while body.len() < upto {
                body.extend_from_slice(&response.chunk().await.unwrap().unwrap());
            }
            named.clear();
            for head in sharing.lease().unwrap().1["heads"].as_array().unwrap() {
                named.push((head[0].as_u64().unwrap(), head[1].as_u64().unwrap()));
            }
        }
        // The fifth, of all that was there of the chunk, took the place of the four before.
        let ends = [0, (1 << 20) + 4 * STEP, (1 << 20) + 5 * STEP, (1 << 20) + 6 * STEP].map(|end| end as u64);
        assert_eq!(named, [(ends[0], ends[1]), (ends[1], ends[2]), (ends[2], ends[3])]);
        assert_eq!(sharing.chunks(), Vec::<String>::new());
        sharing.upstream.release();
        assert!(rest(response, &mut body).await);
        body
    };
    let (first, body) = tokio::join!(one.get(&path), follower);
    assert!(first.whole && first.body == sharing.layer());
    assert!(body == *sharing.layer());
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    sharing.until_done().await;
}

#[tokio::test]
async fn a_follower_of_another_repository_needs_membership() {
    let sharing = Sharing::start(4).await;
    sharing.upstream.add("c", "v1", &sharing.image);
    sharing.upstream.add("b", "v1", &Image::new(1, &[10]));
    sharing.hold_at(CHUNK + 10);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let others = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let stranger = two.get(&path.replace("/a/", "/b/")).await;
        assert_eq!((stranger.status, stranger.code().as_str()), (404, "BLOB_UNKNOWN"));
        let member = path.replace("/a/", "/c/");
        let released = async {
            sharing.until_followed("two").await;
            sharing.upstream.release();
        };
        tokio::join!(whole(&two, &member), released).0
    };
    let (first, member) = tokio::join!(one.get(&path), others);
    assert!(first.whole && first.body == sharing.layer());
    assert!(member.whole && member.body == sharing.layer(), "{}", member.status);
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    sharing.until_done().await;
    // The blob is each repository's own whose client was allowed to have it.
    assert_eq!(two.get(&path.replace("/a/", "/b/")).await.status, 404);
}

#[tokio::test]
async fn a_far_range_at_a_follower_is_fetched_next() {
    let sharing = Sharing::start(32).await;
    let slow = Manners { ranges: true, pace: Some(Duration::from_millis(25)), ..Manners::default() };
    sharing.upstream.behave(slow);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let (path, size) = (sharing.path(), sharing.layer().len());
    let far = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let reply = two.range(&path, &format!("bytes={}-{}", size - CHUNK, size - 1)).await;
        let bytes = sharing.upstream.blob_bytes();
        assert!(bytes < size * 3 / 4, "it waited for {bytes} bytes");
        sharing.upstream.behave(Manners { ranges: true, ..Manners::default() });
        reply
    };
    let (first, far) = tokio::join!(one.get(&path), far);
    assert_eq!(far.status, 206);
    assert!(far.body == sharing.layer().slice(size - CHUNK..));
    assert!(first.whole && first.body == sharing.layer());
}

#[tokio::test(flavor = "multi_thread")]
async fn warm_three_times_costs_one_copy() {
    let sharing = Sharing::with(&[], 40 << 20).await;
    sharing.hold_at(20 << 20);
    let warm = |name: &'static str| {
        let mut command = tokio::process::Command::new(crate::support::program());
        command.env_clear().envs(sharing.s3.variables()).env("REGISTRY_STORAGE_S3_ACCESSKEY", name);
        command
            .env("REGISTRY_PROXY_REMOTEURL", sharing.upstream.url())
            .env("REGISTRY_PROXY_FILL_SHAREDSIZE", "1000000");
        command.args(["warm", "a:v1"]).output()
    };
    let released = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let follows = |it: &Sharing, name: &str| {
            it.s3.seen("GetObject").iter().any(|seen| seen.path.contains("/lease") && is_by(seen, name))
        };
        let names = ["one", "two", "three"];
        sharing.until("two follow", |it| names.iter().filter(|name| follows(it, name)).count() >= 2).await;
        sharing.upstream.release();
    };
    let (one, two, three, ()) = tokio::join!(warm("one"), warm("two"), warm("three"), released);
    for output in [one, two, three] {
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(sharing.s3.object(&sharing.blob_key()).unwrap() == sharing.layer());
    let bytes = sharing.upstream.blob_bytes();
    // Each may fetch the image's config for itself.
    assert!(bytes <= sharing.layer().len() + 10_000, "{bytes}");
}
