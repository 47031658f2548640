//! Replicas that take a fill over from one that died, was paused, or shuts down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::faults::{Fault, Faulty};
use crate::support::sharing::{CHUNK, Cut, NEVER, rest, whole};
use crate::support::upstream::Manners;
use crate::support::{Reply, Sharing};

/// The layer from two replicas, of which the first one falls asleep when five chunks are hashed, so that the second one
/// takes over.
async fn pull_through_a_pause(sharing: &Sharing) -> (Reply, Reply) {
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
    let replies = tokio::join!(one.get(&path), others);
    sharing.upstream.release();
    replies
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
    let (first, second) = pull_through_a_pause(&sharing).await;
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
    let (first, second) = pull_through_a_pause(&sharing).await;
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    assert!(!first.whole && first.body.len() < 7 * CHUNK && sharing.layer().starts_with(&first.body));
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
