//! A bucket that ignores conditions on writes (Garage 2, `MinIO` of 2019): no acknowledged push loses to a pull,
//! whichever request is slow.

use std::time::Duration;

use crate::support::faults::Held;
use crate::support::image::OCI_MANIFEST;
use crate::support::upstream::Manners;
use crate::support::upstream::Seen;
use crate::support::{FakeS3, Image, Pounce, Process, Rule, Upstream, borrowed};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const TAG: &str = "/v2/a/b/manifests/v1";
const LINK: &str = "_manifests/tags/v1/current/link";
const MARKER: &str = "_manifests/pushed/v1/link";

/// A request to the store: its operation, a part of its path, and whether it carries the upstream's name.
#[derive(Clone, Copy, Debug)]
struct Point {
    operation: &'static str,
    part: &'static str,
    of_upstream: Option<bool>,
}

const fn point(operation: &'static str, part: &'static str, of_upstream: Option<bool>) -> Point {
    Point { operation, part, of_upstream }
}

/// The requests at which a write-back may be slow.
const OF_WRITE_BACKS: [Point; 7] = [
    point("PutObject", "/blobs/", None),
    point("PutObject", "/revisions/", None),
    point("PutObject", "/tags/v1/index/", None),
    point("GetObject", LINK, None),
    point("GetObject", MARKER, None),
    point("PutObject", LINK, Some(true)),
    // The second check, after the link was written.
    point("GetObject", MARKER, Some(true)),
];

/// The requests at which a push may be slow.
const OF_PUSHES: [Point; 4] = [
    point("PutObject", MARKER, None),
    point("PutObject", LINK, Some(false)),
    point("PutObject", "/tags/v1/index/", None),
    point("GetObject", MARKER, None),
];

/// Holds the next request at this point. A GET "of the upstream" is one after the upstream's link was written.
fn hold(s3: &FakeS3, point: Point) -> Arc<Held> {
    let held = Arc::new(Held::default());
    let (armed, wrote) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
    let is_upstreams = |seen: &Seen| seen.headers.contains_key("x-amz-meta-pounce-upstream");
    if point.operation == "GetObject" && point.of_upstream == Some(true) {
        let wrote = Arc::clone(&wrote);
        s3.on("PutObject", 1_000, move |seen| {
            if seen.path.contains(LINK) && is_upstreams(&seen) {
                wrote.store(true, Ordering::SeqCst);
            }
            async { None }
        });
    } else {
        wrote.store(true, Ordering::SeqCst);
    }
    let waits = Arc::clone(&held);
    s3.on(point.operation, 1_000, move |seen| {
        let fits = seen.path.contains(point.part)
            && (seen.method == "GET" || point.of_upstream.is_none_or(|it| it == is_upstreams(&seen)))
            && wrote.load(Ordering::SeqCst)
            && armed.swap(false, Ordering::SeqCst);
        let held = Arc::clone(&waits);
        async move {
            if fits {
                held.wait().await;
            }
            None
        }
    });
    held
}

struct Site {
    s3: FakeS3,
    upstream: Upstream,
    ours: Image,
    theirs: Image,
}

impl Site {
    async fn start() -> Self {
        let s3 = FakeS3::start(&[Rule::IgnoresConditions]).await;
        let upstream = Upstream::start().await;
        let (ours, theirs) = (Image::new(1, &[10]), Image::new(2, &[10]));
        upstream.add("a/b", "v1", &theirs);
        Self { s3, upstream, ours, theirs }
    }

    async fn replica(&self) -> Pounce {
        let mut variables = self.s3.variables();
        variables.push(("REGISTRY_PROXY_REMOTEURL", self.upstream.url()));
        variables.push(("REGISTRY_PROXY_TAGTTL", "0".into()));
        Pounce::with(&borrowed(&variables)).await
    }

    /// Two replicas, or one as both; the pushed image's blobs are there, and the old tag if `there`.
    async fn replicas(&self, is_one: bool, there: bool) -> (Arc<Pounce>, Arc<Pounce>) {
        let one = Arc::new(self.replica().await);
        let two = if is_one { Arc::clone(&one) } else { Arc::new(self.replica().await) };
        for blob in &self.ours.blobs {
            two.push("a/b", blob.clone()).await;
        }
        if there {
            self.upstream.add("a/b", "v1", &Image::new(3, &[10]));
            assert_eq!(one.get(TAG).await.status, 200);
            one.until_quiet().await;
            assert!(self.s3.keys().iter().any(|key| key.ends_with(LINK)));
            self.upstream.add("a/b", "v1", &self.theirs);
        }
        (one, two)
    }

    fn push(&self, pounce: &Arc<Pounce>) -> tokio::task::JoinHandle<()> {
        let (pounce, manifest) = (Arc::clone(pounce), self.ours.manifest.clone());
        tokio::spawn(async move {
            let reply = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, manifest);
            assert_eq!(reply.await.status, 201);
        })
    }

    /// Asserts that all replicas serve the pushed image, and so does a fresh one.
    async fn pushed(&self, replicas: [&Pounce; 2], when: &str) {
        for replica in replicas {
            replica.until_quiet().await;
        }
        let fresh = self.replica().await;
        for replica in [replicas[0], replicas[1], &fresh] {
            let reply = replica.get(TAG).await;
            assert_eq!(reply.body, self.ours.manifest, "{when}");
            replica.until_quiet().await;
        }
        let link = self.s3.keys().into_iter().find(|key| key.ends_with(LINK));
        let link = self.s3.object(&link.unwrap()).unwrap();
        assert_eq!(link, self.ours.digest(), "{when}");
    }
}

/// Waits a moment for a push, which may depend on the held request; whether it ended.
async fn soon(push: &mut tokio::task::JoinHandle<()>) -> bool {
    let wait = tokio::time::timeout(Duration::from_millis(400), push);
    wait.await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_wins_whatever_a_write_back_is_at() {
    for is_one in [false, true] {
        for there in [false, true] {
            for point in OF_WRITE_BACKS {
                let when = format!("{point:?}, one: {is_one}, there: {there}");
                let site = Site::start().await;
                let (one, two) = site.replicas(is_one, there).await;
                let held = hold(&site.s3, point);
                let pull = {
                    let one = Arc::clone(&one);
                    tokio::spawn(async move { one.get(TAG).await.status })
                };
                held.came().await;
                let mut push = site.push(&two);
                let acknowledged = soon(&mut push).await;
                assert!(acknowledged || is_one, "{when}");
                held.release();
                assert_eq!(pull.await.unwrap(), 200, "{when}");
                if !acknowledged {
                    push.await.unwrap();
                }
                site.pushed([&one, &two], &when).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_wins_whatever_it_is_at_itself() {
    for there in [false, true] {
        for point in OF_PUSHES {
            let when = format!("{point:?}, there: {there}");
            let site = Site::start().await;
            let (one, two) = site.replicas(false, there).await;
            let held = hold(&site.s3, point);
            let push = site.push(&two);
            held.came().await;
            assert_eq!(one.get(TAG).await.status, 200, "{when}");
            one.until_quiet().await;
            held.release();
            push.await.unwrap();
            site.pushed([&one, &two], &when).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_wins_while_the_upstream_is_asked() {
    for is_one in [false, true] {
        for there in [false, true] {
            let site = Site::start().await;
            let (one, two) = site.replicas(is_one, there).await;
            site.upstream.behave(Manners { stalls: true, ..Manners::default() });
            let pull = {
                let one = Arc::clone(&one);
                tokio::spawn(async move { one.get(TAG).await.status })
            };
            tokio::time::sleep(Duration::from_millis(200)).await;
            let mut push = site.push(&two);
            let acknowledged = soon(&mut push).await;
            assert!(acknowledged || is_one);
            site.upstream.release();
            site.upstream.behave(Manners::default());
            pull.await.unwrap();
            if !acknowledged {
                push.await.unwrap();
            }
            let when = format!("one: {is_one}, there: {there}");
            site.pushed([&one, &two], &when).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_back_overwrote_before_it_died_comes_back() {
    let site = Site::start().await;
    let (one, two) = site.replicas(false, true).await;
    site.push(&two).await.unwrap();
    // The state that such a write-back leaves, with the manifest.
    site.upstream.add("a/b", "v2", &site.theirs);
    assert_eq!(one.get("/v2/a/b/manifests/v2").await.status, 200);
    one.until_quiet().await;
    let key = |part: &str| {
        let mut keys = site.s3.keys().into_iter();
        keys.find(|key| key.ends_with(part)).unwrap()
    };
    assert_eq!(site.s3.object(&key(MARKER)).unwrap(), site.ours.digest());
    let headers = [("x-amz-meta-pounce-upstream", "x")];
    site.s3.put_with(&key(LINK), site.theirs.digest(), &headers);
    let fresh = site.replica().await;
    assert_eq!(fresh.get(TAG).await.status, 200);
    fresh.until_quiet().await;
    site.pushed([&one, &fresh], "after a death").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_deleted_is_the_upstreams_again() {
    for by_distribution in [false, true] {
        let site = Site::start().await;
        let (one, two) = site.replicas(false, false).await;
        site.push(&two).await.unwrap();
        if by_distribution {
            for key in site.s3.keys() {
                if key.contains("/tags/v1/") {
                    site.s3.remove(&key);
                }
            }
            site.s3.age("/pushed/", Duration::from_hours(1));
        } else {
            assert_eq!(two.delete(TAG).await.status, 202);
        }
        for _ in 0..2 {
            assert_eq!(one.get(TAG).await.body, site.theirs.manifest);
            one.until_quiet().await;
        }
        let keys = site.s3.keys();
        assert!(!keys.iter().any(|key| key.ends_with(MARKER)), "{keys:?}");
        assert!(keys.iter().any(|key| key.ends_with(LINK)), "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_does_not_take_a_tag_that_is_pushed_meanwhile() {
    let points =
        [point("GetObject", MARKER, None), point("DeleteObject", MARKER, None), point("DeleteObject", LINK, None)];
    let rules = [Rule::IgnoresConditions, Rule::IgnoresConditionsOfDeletes];
    for (point, rule) in points.into_iter().flat_map(|it| rules.map(|rule| (it, rule))) {
        let s3 = FakeS3::start(&[rule]).await;
        let variables = s3.variables();
        let variables = borrowed(&variables);
        let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
        let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
        one.push_image("a/b", "v1", &old).await;
        for blob in &new.blobs {
            two.push("a/b", blob.clone()).await;
        }
        let held = hold(&s3, point);
        let delete = one.request("DELETE", &format!("/v2/a/b/manifests/{}", old.digest()));
        let delete = tokio::spawn(delete.send());
        held.came().await;
        let manifest = new.manifest.clone();
        let reply = two.put_manifest("a/b", "v1", OCI_MANIFEST, manifest).await;
        assert_eq!(reply.status, 201);
        held.release();
        assert_eq!(delete.await.unwrap().unwrap().status(), 202);
        let fresh = Pounce::with(&variables).await;
        for replica in [&fresh, &two, &one] {
            assert_eq!(replica.get(TAG).await.body, new.manifest, "{point:?}");
        }
        let gone = format!("/v2/a/b/manifests/{}", old.digest());
        assert_eq!(fresh.get(&gone).await.status, 404);
    }
}

#[tokio::test]
async fn a_manifest_that_is_there_is_not_written_again() {
    let site = Site::start().await;
    let (one, _) = site.replicas(true, false).await;
    site.push(&one).await.unwrap();
    let writes = |s3: &FakeS3| {
        let hex = site.ours.digest();
        let hex = hex.strip_prefix("sha256:").unwrap().to_owned();
        let seen = s3.seen("PutObject").into_iter();
        seen.filter(|it| it.path.contains("/blobs/") && it.path.contains(&hex)).count()
    };
    assert_eq!(writes(&site.s3), 1);
    site.push(&one).await.unwrap();
    assert_eq!(writes(&site.s3), 1);
}

#[tokio::test]
async fn where_conditions_are_kept_a_push_costs_nothing_more() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    // pounce deletes its test objects at start: one PUT without a condition, one with the object's own ETag, and two whose
    // conditions do not hold.
    assert_eq!(s3.keys(), [""; 0]);
    assert_eq!(s3.take().get("PutObject"), Some(&4));
    pounce.push_image("a/b", "v1", &Image::new(1, &[10])).await;
    assert!(!s3.keys().iter().any(|key| key.contains("/pushed/")));
    // Which keys are condemned.
    assert_eq!(s3.take().get("GetObject"), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_warning_says_it_at_start_which_does_not_wait_for_it() {
    let s3 = FakeS3::start(&[Rule::IgnoresConditions]).await;
    let held = s3.hold("PutObject");
    let variables = s3.variables();
    let mut process = Process::start(&borrowed(&variables));
    held.came().await;
    held.release();
    let line = process.until("does not keep conditions");
    assert!(line.contains("\"WARN\"") || line.contains("warn"), "{line}");
    process.until_quiet().await;
    assert_eq!(s3.keys(), [""; 0]);
    process.terminate();
    let (status, log) = process.end();
    assert_eq!((status, log.matches("does not keep conditions").count()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_why_replicas_do_not_share_fills() {
    for (rule, lack) in [(Rule::NoConditions, "refuses"), (Rule::IgnoresConditions, "ignores")] {
        let (s3, upstream) = (FakeS3::start(&[rule]).await, Upstream::start().await);
        let mut variables = s3.variables();
        variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
        let mut process = Process::start(&borrowed(&variables));
        let line = process.until("replicas do not share the copies of large blobs").to_lowercase();
        assert!(line.contains("info") && line.contains(&format!("{lack} if-none-match and if-match")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_cannot_be_found_out_it_counts_as_not_kept() {
    let site = Site::start().await;
    site.s3.rules(&[]);
    site.s3.on("PutObject", 1_000, |seen| async move {
        let refused = seen.path.contains("/_check/");
        let body = "<Error><Code>AccessDenied</Code></Error>";
        refused.then(|| (403, Vec::new(), body.into()))
    });
    let (one, two) = site.replicas(false, false).await;
    site.push(&two).await.unwrap();
    let keys = site.s3.keys();
    assert!(keys.iter().any(|key| key.ends_with(MARKER)), "{keys:?}");
    site.pushed([&one, &two], "unknown").await;
    // pounce tested the bucket once.
    let asked = site.s3.seen("PutObject").into_iter();
    let asked = asked.filter(|it| it.path.contains("/_check/")).count();
    assert_eq!(asked, 3);
}
