//! One replica deletes what another one pushes, or is paused in a delete that its client gave up: what was acknowledged
//! stays. `tests/models/deletes.rs` tries all orders of the steps; here are those that matter, over real requests.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::faults::{Faulty, Held};
use crate::support::image::{OCI_MANIFEST, digest};
use crate::support::scripted::text;
use crate::support::{FakeS3, Image, Pounce, Rule, borrowed};

const TAG: &str = "/v2/a/b/manifests/v1";
/// Parts of the keys of a tag's link, a manifest's link, the list of a repository's tags and an entry of the referrers.
const LINK: &str = "current/link";
const REVISION: &str = "_manifests/revisions/";
const TAGS: &str = "_manifests%2Ftags";
const REFERRER: &str = "/descriptor";

/// Two replicas of one bucket, the first of them behind a proxy.
struct Pair {
    bucket: Pounce,
    front: Faulty,
    one: Arc<Pounce>,
    two: Pounce,
    image: Image,
}

impl Pair {
    async fn start() -> Self {
        let bucket = Pounce::with(&[]).await;
        let front = Faulty::before(bucket.addr, 1).await;
        let one = Arc::new(Pounce::with(&borrowed(&bucket.as_s3_behind(front.addr))).await);
        let two = Pounce::with(&borrowed(&bucket.as_s3())).await;
        let image = Image::new(1, &[10]);
        two.push_image("a/b", "v1", &image).await;
        Self { bucket, front, one, two, image }
    }

    fn by_digest(&self) -> String {
        format!("/v2/a/b/manifests/{}", self.image.digest())
    }

    /// Begins a delete by digest at the first replica, whose `operation` is held.
    async fn delete_up_to(&self, operation: &'static str, part: &'static str) -> (Arc<Held>, JoinHandle<u16>) {
        let held = self.front.hold_of(operation, part);
        let delete = self.delete();
        held.came().await;
        (held, delete)
    }

    fn delete(&self) -> JoinHandle<u16> {
        let (one, path) = (Arc::clone(&self.one), self.by_digest());
        tokio::spawn(async move { one.delete(&path).await.status })
    }

    async fn push(&self) {
        let reply = self.two.put_manifest("a/b", "v1", OCI_MANIFEST, self.image.manifest.clone()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    }

    /// What a process without caches finds: whether the tag is listed, and the statuses of tag and manifest.
    async fn state(&self) -> (bool, u16, u16) {
        let fresh = Pounce::with(&borrowed(&self.bucket.as_s3())).await;
        let list = fresh.get("/v2/a/b/tags/list").await;
        let list: Value = serde_json::from_slice(&list.body).unwrap();
        let is_listed = list["tags"].as_array().is_some_and(|tags| tags.contains(&json!("v1")));
        (is_listed, fresh.get(TAG).await.status, fresh.get(&self.by_digest()).await.status)
    }

    /// What the tag's link holds, as distribution reads it.
    fn link(&self) -> String {
        let link = self.bucket.root().join("docker/registry/v2/repositories/a/b/_manifests/tags/v1/current/link");
        std::fs::read_to_string(link).unwrap()
    }
}

const THERE: (bool, u16, u16) = (true, 200, 200);
const GONE: (bool, u16, u16) = (false, 404, 404);

#[tokio::test]
async fn a_push_of_what_is_being_deleted_keeps_its_tag() {
    // Each step of the delete after the manifest's link is gone.
    let steps = [
        ("ListObjectsV2", TAGS),
        ("GetObject", LINK),
        ("PutObject", LINK),
        ("GetObject", REVISION),
        ("DeleteObject", LINK),
    ];
    for (operation, part) in steps {
        let pair = Pair::start().await;
        // The delete reads the manifest's link before it deletes that.
        if (operation, part) == ("GetObject", REVISION) {
            let first = pair.front.hold_of(operation, part);
            let delete = pair.delete();
            first.came().await;
            let held = pair.front.hold_of(operation, part);
            first.release();
            held.came().await;
            pair.push().await;
            held.release();
            assert_eq!(delete.await.unwrap(), 202);
        } else {
            let (held, delete) = pair.delete_up_to(operation, part).await;
            pair.push().await;
            held.release();
            assert_eq!(delete.await.unwrap(), 202);
        }
        assert_eq!(pair.state().await, THERE, "{operation} {part}");
        assert_eq!(pair.link(), pair.image.digest(), "{operation} {part}");
    }
}

#[tokio::test]
async fn a_delete_that_comes_after_the_push_takes_both() {
    let pair = Pair::start().await;
    let (held, delete) = pair.delete_up_to("DeleteObject", REVISION).await;
    pair.push().await;
    held.release();
    assert_eq!(delete.await.unwrap(), 202);
    assert_eq!(pair.state().await, GONE);
}

/// The client gives a delete up whose replica is paused, deletes at another replica, and pushes again.
#[tokio::test]
async fn a_replica_that_goes_on_with_a_delete_that_was_given_up_takes_nothing() {
    for (operation, part) in [("ListObjectsV2", TAGS), ("PutObject", LINK), ("DeleteObject", LINK)] {
        let pair = Pair::start().await;
        let (held, delete) = pair.delete_up_to(operation, part).await;
        assert_eq!(pair.two.delete(&pair.by_digest()).await.code(), "MANIFEST_UNKNOWN");
        assert_eq!(pair.state().await, GONE);
        pair.push().await;
        held.release();
        delete.await.unwrap();
        assert_eq!(pair.state().await, THERE, "{operation} {part}");
    }
}

#[tokio::test]
async fn a_replica_that_dies_at_its_mark_loses_nothing() {
    let pair = Pair::start().await;
    let (held, delete) = pair.delete_up_to("PutObject", LINK).await;
    pair.push().await;
    let dies = pair.front.hold_of("GetObject", REVISION);
    held.release();
    dies.came().await;
    delete.abort();
    assert_ne!(pair.link(), pair.image.digest());
    assert_eq!(pair.state().await, THERE);
    pair.push().await;
    assert_eq!(pair.link(), pair.image.digest());
    // A mark of a manifest that is gone goes with the next delete, which finds no manifest.
    let (held, _) = (pair.front.hold_of("DeleteObject", LINK), pair.delete());
    held.came().await;
    assert_eq!(pair.two.delete(&pair.by_digest()).await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(pair.state().await, GONE);
}

#[tokio::test]
async fn a_referrer_that_is_pushed_again_stays_listed() {
    let pair = Pair::start().await;
    let signature = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2}, "layers": [],
        "subject": {"mediaType": OCI_MANIFEST, "digest": pair.image.digest(), "size": 1}});
    let signature = Bytes::from(signature.to_string());
    let own = digest(&signature);
    pair.two.push("a/b", Bytes::from_static(b"{}")).await;
    let push = || async {
        let reply = pair.two.put_manifest("a/b", &own, OCI_MANIFEST, signature.clone()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
    };
    let listed = || async {
        let fresh = Pounce::with(&borrowed(&pair.bucket.as_s3())).await;
        let list = fresh.get(&format!("/v2/a/b/referrers/{}", pair.image.digest())).await;
        let list: Value = serde_json::from_slice(&list.body).unwrap();
        list["manifests"].as_array().unwrap().len()
    };
    let path = format!("/v2/a/b/manifests/{own}");
    for (operation, part) in [("GetObject", REFERRER), ("PutObject", REFERRER), ("DeleteObject", REFERRER)] {
        push().await;
        assert_eq!(listed().await, 1);
        let held = pair.front.hold_of(operation, part);
        let (one, path) = (Arc::clone(&pair.one), path.clone());
        let delete = tokio::spawn(async move { one.delete(&path).await.status });
        held.came().await;
        push().await;
        held.release();
        assert_eq!(delete.await.unwrap(), 202);
        assert_eq!(listed().await, 1, "{operation}");
    }
    // A delete that died after it had deleted the manifest's link left the entry.
    let held = pair.front.hold_of("GetObject", REFERRER);
    let (one, same) = (Arc::clone(&pair.one), path.clone());
    tokio::spawn(async move { one.delete(&same).await });
    held.came().await;
    assert_eq!(listed().await, 1);
    assert_eq!(pair.two.delete(&path).await.code(), "MANIFEST_UNKNOWN");
    assert_eq!(listed().await, 0);
}

/// Deletes of a manifest, a tag and a blob whose one step without a condition comes late.
#[tokio::test]
async fn a_delete_that_took_too_long_is_not_done() {
    for number in 0..3 {
        let s3 = FakeS3::start(&[]).await;
        let pounce = Arc::new(Pounce::with(&borrowed(&s3.variables())).await);
        let image = Image::new(1, &[10]);
        pounce.push_image("a/b", "v1", &image).await;
        let manifest = format!("/v2/a/b/manifests/{}", image.digest());
        let blob = format!("/v2/a/b/blobs/{}", digest(&image.blobs[1]));
        let path = [manifest, TAG.to_owned(), blob][number].clone();
        let mut held = s3.hold("DeleteObject");
        let (replica, same) = (Arc::clone(&pounce), path.clone());
        let delete = tokio::spawn(async move { replica.delete(&same).await });
        held.came().await;
        // The delete of a tag deletes the marker of pushes first.
        if number == 1 {
            let next = s3.hold("DeleteObject");
            held.release();
            next.came().await;
            held = next;
        }
        s3.rules(&[Rule::Clock(60)]);
        held.release();
        let reply = delete.await.unwrap();
        assert_eq!((reply.status, reply.code()), (503, "UNAVAILABLE".to_owned()), "{path}");
        let fresh = Pounce::with(&borrowed(&s3.variables())).await;
        assert_eq!(fresh.head(&path).await.status, 200, "{path}");
        // The client repeats it.
        assert_eq!(pounce.delete(&path).await.status, 202, "{path}");
        let fresh = Pounce::with(&borrowed(&s3.variables())).await;
        assert_eq!(fresh.head(TAG).await.status, if number == 2 { 200 } else { 404 }, "{path}");
    }
}

#[tokio::test]
async fn a_bucket_that_refuses_presigned_deletes_gets_plain_ones() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "v1", &image).await;
    s3.on("DeleteObject", 100, |seen| async move {
        let is_presigned = seen.path.contains("X-Amz-Signature");
        is_presigned.then(|| text(403, "application/xml", "<Error><Code>AccessDenied</Code></Error>"))
    });
    for path in [format!("/v2/a/b/manifests/{}", image.digest()), format!("/v2/a/b/blobs/{}", digest(&image.blobs[1]))]
    {
        assert_eq!(pounce.delete(&path).await.status, 202, "{path}");
        assert_eq!(pounce.head(&path).await.status, 404, "{path}");
    }
}
