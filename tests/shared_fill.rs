//! Replicas that fill one blob together: one downloads it, and the others follow through the bucket.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::json;

use crate::support::faults::{Fault, Faulty};
use crate::support::image::digest;
use crate::support::ranged::{RangedClient, Shape};
use crate::support::sharing::{CHUNK, Cut, is_by, whole};
use crate::support::upstream::{Manners, Seen};
use crate::support::{Image, Pounce, Reply, Rule, Sharing};

/// Longer than any test takes.
const NEVER: Duration = Duration::from_mins(10);

/// Three clients of each of these replicas.
async fn three_each(replicas: &[Pounce], path: &str) -> Vec<Reply> {
    join_all(replicas.iter().flat_map(|replica| (0..3).map(move |_| whole(replica, path)))).await
}

/// Reads what is left of a response; whether it is whole.
async fn rest(mut response: reqwest::Response, body: &mut Vec<u8>) -> bool {
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
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

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_filler_is_replaced_from_its_midstate() {
    let sharing = Sharing::start(8).await;
    sharing.hold_at(5 * CHUNK);
    let (one, two) = (sharing.mortal("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let response = one.pounce.request("GET", &path).send().await.unwrap();
    let client = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        whole(&two, &path).await
    };
    let death = async {
        sharing.until_followed("two").await;
        sharing.until_hashed(5).await;
        one.kill();
    };
    let (reply, ()) = tokio::join!(client, death);
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    assert!(!rest(response, &mut Vec::new()).await);
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    sharing.until_done().await;
    // What was hashed is not read again: the client reads it once.
    let reads = sharing.s3.seen("GetObject");
    let first = format!("/{:016x}", 0);
    assert!(reads.iter().filter(|seen| seen.path.contains(&first)).count() <= 1, "{reads:?}");
}

#[tokio::test]
async fn a_paused_filler_that_wakes_follows() {
    let mut sharing = Sharing::start(8).await;
    // It wakes within the grace, and so learns whose chunks were right.
    sharing.tuning.grace = Duration::from_secs(3);
    sharing.hold_at(5 * CHUNK);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let others = async {
        sharing.until_hashed(5).await;
        let asleep = sharing.cut_off("one", Cut::Fills);
        let reply = whole(&two, &path).await;
        // It wakes, and finds out that it was robbed before its upstream goes on.
        asleep.send_replace(Cut::Nothing);
        reply
    };
    let (first, second) = tokio::join!(one.get(&path), others);
    sharing.upstream.release();
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    assert!(first.whole && first.body == sharing.layer(), "{}", first.status);
    sharing.until_done().await;
    let bytes = sharing.upstream.blob_bytes();
    assert!(bytes <= sharing.layer().len() + 3 * CHUNK, "{bytes}");
}

#[tokio::test]
async fn a_client_of_half_a_chunk_that_changes_owner_does_not_get_the_rest_in_vain() {
    let mut sharing = Sharing::start(12).await;
    sharing.tuning.grace = Duration::from_secs(3);
    sharing.hold_at(5 * CHUNK + CHUNK / 2);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let others = async {
        sharing.until_hashed(5).await;
        let asleep = sharing.cut_off("one", Cut::Fills);
        let reply = whole(&two, &path).await;
        asleep.send_replace(Cut::Nothing);
        reply
    };
    let (first, second) = tokio::join!(one.get(&path), others);
    sharing.upstream.release();
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    assert!(!first.whole && first.body.len() < 7 * CHUNK && sharing.layer().starts_with(&first.body));
}

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
async fn a_lost_answer_of_a_heartbeat_is_no_robbery() {
    for after in 0..4 {
        let mut sharing = Sharing::start(5).await;
        let front = Faulty::before(sharing.s3.addr, 1).await;
        let endpoint = format!("http://{}", front.addr);
        sharing.variables.push(("REGISTRY_STORAGE_S3_REGIONENDPOINT", endpoint));
        let one = sharing.replica("one").await;
        let path = sharing.path();
        sharing.hold_at(3 * CHUNK);
        front.inject_at(Fault::LostAnswer, "PutObject", after);
        let released = async {
            sharing.until("three chunks are stored", |it| it.chunks().len() == 3).await;
            sharing.until_hashed(3).await;
            assert_eq!(sharing.generations(), 1);
            sharing.upstream.release();
        };
        let (reply, ()) = tokio::join!(one.get(&path), released);
        assert!(reply.whole && reply.body == sharing.layer(), "{after}");
        assert_eq!(front.take(), [(Fault::LostAnswer, 1)].into(), "{after}");
        assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
        sharing.until_done().await;
    }
}

/// What a gateway says once of a lease's write, although the bucket keeps conditions, is no robbery.
#[tokio::test]
async fn an_odd_answer_to_a_heartbeat_is_no_robbery() {
    for (status, code) in [(412, "PreconditionFailed"), (501, "NotImplemented"), (400, "InvalidRequest")] {
        let sharing = Sharing::start(5).await;
        let one = sharing.replica("one").await;
        let odd = Arc::new(AtomicUsize::new(2));
        let left = Arc::clone(&odd);
        sharing.s3.on("PutObject", usize::MAX, move |seen| {
            let is_beat = seen.path.contains("/lease") && seen.headers.contains_key("if-match");
            let is_odd =
                is_beat && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
            async move { is_odd.then(|| (status, Vec::new(), format!("<Error><Code>{code}</Code></Error>").into())) }
        });
        sharing.hold_at(3 * CHUNK);
        let released = async {
            sharing.until_hashed(3).await;
            assert_eq!(sharing.generations(), 1);
            sharing.upstream.release();
        };
        let path = sharing.path();
        let (reply, ()) = tokio::join!(one.get(&path), released);
        assert!(reply.whole && reply.body == sharing.layer(), "{status}");
        assert_eq!(odd.load(Ordering::Relaxed), 0);
        assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
        sharing.until_done().await;
    }
}

#[tokio::test]
async fn sigterm_hands_over_to_a_follower() {
    let mut sharing = Sharing::start(8).await;
    sharing.tuning.death = NEVER;
    sharing.hold_at(3 * CHUNK);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let stopped = async {
        sharing.until_followed("two").await;
        sharing.until_hashed(3).await;
        one.end_from_outside();
    };
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        whole(&two, &path).await
    };
    let (_, reply, ()) = tokio::join!(one.get(&path), follower, stopped);
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    sharing.until_done().await;
}

#[tokio::test]
async fn sigterm_in_the_middle_of_a_chunk_breaks_no_client() {
    let mut sharing = Sharing::start(8).await;
    sharing.variables.push(("REGISTRY_HTTP_DRAINTIMEOUT", "20s".into()));
    (sharing.tuning.death, sharing.tuning.heartbeat) = (NEVER, Duration::from_secs(1));
    sharing.tuning.grace = NEVER;
    sharing.hold_at(3 * CHUNK + CHUNK / 2);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let stopped = async {
        sharing.until_followed("two").await;
        sharing.until_hashed(3).await;
        one.end_from_outside();
        // Both orders are right; the process that shuts down waits for its chunk for three heartbeats.
        sharing.upstream.release();
    };
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        whole(&two, &path).await
    };
    let (first, second, ()) = tokio::join!(one.get(&path), follower, stopped);
    assert!(first.whole && first.body == sharing.layer(), "{}", first.status);
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
}

#[tokio::test]
async fn sigterm_without_a_follower_ends_the_fill() {
    let mut sharing = Sharing::start(6).await;
    sharing.variables.push(("REGISTRY_HTTP_DRAINTIMEOUT", "20s".into()));
    sharing.hold_at(3 * CHUNK);
    let mut one = sharing.replica("one").await;
    let path = sharing.path();
    let stopped = async {
        sharing.until_hashed(3).await;
        one.end_from_outside();
        sharing.until("the lease says so", |it| it.leases(|lease| lease["state"] == "leaving")).await;
        sharing.upstream.release();
    };
    let (reply, ()) = tokio::join!(one.get(&path), stopped);
    assert!(reply.whole && reply.body == sharing.layer());
    one.end().await;
    assert!(sharing.is_stored());
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
}

#[tokio::test]
async fn released_chunks_are_adopted_by_the_next_process() {
    let mut sharing = Sharing::start(8).await;
    sharing.tuning.death = NEVER;
    sharing.hold_at(5 * CHUNK);
    let mut one = sharing.replica("one").await;
    let path = sharing.path();
    let response = one.request("GET", &path).send().await.unwrap();
    sharing.until_hashed(5).await;
    one.end().await;
    assert!(sharing.leases(|lease| lease["state"] == "released"), "{:?}", sharing.lease());
    assert!(!rest(response, &mut Vec::new()).await);
    let two = sharing.replica("two").await;
    let reply = whole(&two, &path).await;
    assert!(reply.whole && reply.body == sharing.layer());
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    sharing.until_done().await;
}

#[tokio::test]
async fn two_leaving_replicas_do_not_take_from_each_other() {
    let mut sharing = Sharing::start(6).await;
    sharing.tuning.death = NEVER;
    sharing.hold_at(3 * CHUNK);
    let (mut one, mut two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let first = one.request("GET", &path).send().await.unwrap();
    sharing.until_hashed(3).await;
    let second = two.request("GET", &path).send().await.unwrap();
    two.end_from_outside();
    tokio::join!(one.end(), two.end());
    drop((first, second));
    assert_eq!(sharing.generations(), 1);
    assert!(sharing.leases(|lease| lease["state"] == "released"), "{:?}", sharing.lease());
    // The third one goes on.
    let reply = whole(&sharing.replica("three").await, &path).await;
    assert!(reply.whole && reply.body == sharing.layer());
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
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
async fn a_robbed_fillers_client_never_gets_the_whole_of_a_lie() {
    let sharing = Sharing::start(6).await;
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    // One gets a wrong first chunk, which does not reach the bucket, and its client gets it from memory.
    let lie = Manners { ranges: true, corrupts: true, holds_after: Some(3 * CHUNK), holds: 1, ..Manners::default() };
    sharing.upstream.behave(lie);
    let awake = sharing.cut_off("one", Cut::Chunks);
    let mut response = one.request("GET", &path).send().await.unwrap();
    let mut body = response.chunk().await.unwrap().unwrap().to_vec();
    assert_ne!(body[0], sharing.layer()[0]);
    awake.send_replace(Cut::Fills);
    sharing.upstream.behave(Manners { ranges: true, ..Manners::default() });
    let reply = whole(&two, &path).await;
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until("the blob is stored", Sharing::is_stored).await;
    // One wakes and finds out that it was robbed.
    awake.send_replace(Cut::Nothing);
    assert!(!rest(response, &mut body).await);
    assert!(body.len() < sharing.layer().len());
    sharing.until_done().await;
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
