//! An upstream that breaks, stalls, refuses and lies: how clients notice, and which requests pounce repeats.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const MIB: usize = 1 << 20;

struct Cold {
    upstream: Upstream,
    pounce: Pounce,
    image: Image,
    path: String,
}

/// A layer of so many bytes, from an upstream with these manners.
async fn cold(size: usize, manners: Manners) -> Cold {
    cold_with(size, manners, "20s").await
}

async fn cold_with(size: usize, manners: Manners, stall: &str) -> Cold {
    let upstream = Upstream::start().await;
    let image = Image::new(3, &[size]);
    upstream.add("a/b", "v1", &image);
    upstream.behave(manners);
    let variables = [("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]), ("REGISTRY_PROXY_FILL_STALLTIMEOUT", stall)];
    let pounce = Pounce::with_s3(&variables).await;
    let path = format!("/v2/a/b/blobs/{}", digest(image.layer()));
    Cold { upstream, pounce, image, path }
}

impl Cold {
    /// Asserts that the blob arrives whole and right, and is stored.
    async fn arrives(&self) {
        let reply = self.pounce.get(&self.path).await;
        let len = reply.body.len();
        assert!(reply.whole && reply.body == self.image.layer(), "{len} came");
        self.pounce.until_stored(&digest(self.image.layer())).await;
        assert_eq!(self.pounce.open_uploads(), 0);
    }

    /// Asserts that no client gets the whole blob, that nothing is left, and that the next request starts a new fill.
    async fn fails(&self) {
        let size = self.image.layer().len();
        for reply in join_all((0..3).map(|_| self.pounce.get(&self.path))).await {
            let told = reply.status == 503 && reply.code() == "UNAVAILABLE";
            let broken = !reply.whole && reply.body.len() < size.max(1);
            assert!(told || broken, "{} with {} bytes", reply.status, reply.body.len());
        }
        self.pounce.until("its upload is gone", |pounce| pounce.open_uploads() == 0).await;
        assert_eq!(self.pounce.objects(), Vec::<String>::new());
        self.upstream.behave(Manners::default());
        self.arrives().await;
    }
}

fn ranges() -> Manners {
    Manners { ranges: true, ..Manners::default() }
}

#[tokio::test]
async fn a_large_blob_comes_over_several_connections_each_byte_once() {
    // Each connection waits until all are open.
    let manners = Manners { holds_after: Some(5 * MIB), ..ranges() };
    let cold = cold(40 * MIB + 7, manners).await;
    let release = async {
        while cold.upstream.most_open() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cold.upstream.release();
    };
    let ((), ()) = tokio::join!(cold.arrives(), release);
    each_byte_once(&cold);
    assert_eq!(cold.upstream.most_open(), 4);
}

/// Or nearly so: on a slow machine a segment may look slow and be split, and the bytes in flight are lost.
fn each_byte_once(cold: &Cold) {
    let (bytes, size) = (cold.upstream.blob_bytes(), 40 * MIB + 7);
    assert!((size..size + 8 * MIB).contains(&bytes), "{bytes} bytes of {size}");
    let asked = cold.upstream.count("GET", "/blobs/");
    assert!((3..=9).contains(&asked), "{asked} requests");
}

#[tokio::test]
async fn all_of_a_blob_comes_once() {
    let cold = cold(40 * MIB + 7, ranges()).await;
    let replies = join_all((0..8).map(|_| cold.pounce.get(&cold.path))).await;
    for reply in replies {
        assert!(reply.whole && reply.body == cold.image.layer());
    }
    each_byte_once(&cold);
}

#[tokio::test]
async fn one_connection_is_enough_where_ranges_are_ignored_or_refused() {
    let refuses = Manners { refuses_ranges: true, ..Manners::default() };
    let shifts = Manners { shifts_ranges: true, ..ranges() };
    for (manners, asked) in [(Manners::default(), 1), (refuses, 2), (shifts, 2)] {
        let cold = cold(20 * MIB, manners).await;
        cold.arrives().await;
        assert_eq!(cold.upstream.count("GET", "/blobs/"), asked);
        assert!(cold.upstream.most_open() <= asked);
    }
}

#[tokio::test]
async fn one_connection_is_what_the_configuration_can_ask_for() {
    let cold = cold(20 * MIB, ranges()).await;
    let variables = [("REGISTRY_PROXY_REMOTEURL", &cold.upstream.url()[..]), ("REGISTRY_PROXY_FILL_CONNECTIONS", "1")];
    let pounce = Pounce::with(&variables).await;
    assert!(pounce.get(&cold.path).await.body == cold.image.layer());
    // Segments double, because each request is a pause.
    assert_eq!((cold.upstream.count("GET", "/blobs/"), cold.upstream.most_open()), (2, 1));
}

#[tokio::test]
async fn small_blobs_are_asked_for_without_a_range() {
    let cold = cold(MIB, ranges()).await;
    cold.pounce.get("/v2/a/b/manifests/v1").await;
    cold.arrives().await;
    let seen = cold.upstream.seen();
    let blob = seen.iter().find(|seen| seen.path.contains("/blobs/"));
    assert!(!blob.unwrap().headers.contains_key("range"));
}

#[tokio::test]
async fn broken_connections_are_resumed() {
    // Each of the first four connections breaks, with ranges and without them.
    for manners in [ranges(), Manners::default()] {
        let manners = Manners { cuts_after: Some(3 * MIB), cuts: 4, ..manners };
        let resumes = manners.ranges;
        let cold = cold(20 * MIB, manners).await;
        cold.arrives().await;
        if resumes {
            let bytes = cold.upstream.blob_bytes();
            assert!(bytes < 30 * MIB, "{bytes} bytes for 20 MiB");
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_too_early_in_every_connection_still_arrives() {
    let manners = Manners { cuts_after: Some(MIB), ..ranges() };
    let cold = cold(9 * MIB, manners).await;
    cold.arrives().await;
    assert!(cold.upstream.count("GET", "/blobs/") >= 9);
}

#[tokio::test]
async fn a_connection_that_stalls_is_made_anew() {
    for manners in [ranges(), Manners::default()] {
        let manners = Manners { holds_after: Some(2 * MIB), holds: 1, ..manners };
        let cold = cold_with(4 * MIB, manners, "500ms").await;
        cold.arrives().await;
        assert!(cold.upstream.count("GET", "/blobs/") >= 2);
    }
}

#[tokio::test]
async fn a_429_or_503_that_passes_is_waited_for() {
    for (status, times) in [(429, 1), (503, 2), (500, 1)] {
        let manners = Manners { first_blobs_get: Some((status, "1")), first: times, ..ranges() };
        cold(MIB, manners).await.arrives().await;
    }
}

#[tokio::test]
async fn a_429_that_asks_for_long_patience_is_passed_on() {
    let manners = Manners { first_blobs_get: Some((429, "77")), first: usize::MAX, ..ranges() };
    let cold = cold(MIB, manners).await;
    let reply = cold.pounce.get(&cold.path).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "77"));
    assert_eq!(cold.upstream.count("GET", "/blobs/"), 1);
}

#[tokio::test]
async fn what_does_not_pass_ends_every_follower_and_leaves_nothing() {
    let cuts = Manners { cuts_after: Some(2 * MIB), ..Manners::default() };
    cold(9 * MIB, cuts).await.fails().await;
}

#[tokio::test]
async fn a_wrong_content_length_is_no_blob() {
    let claims = |bytes| Manners { claims: Some(bytes), ..Manners::default() };
    cold(MIB, claims(MIB - 1)).await.fails().await;
    cold(MIB, claims(MIB + 1)).await.fails().await;
    cold(100, claims(99)).await.fails().await;
}

#[tokio::test]
async fn wrong_bytes_over_several_connections_are_no_blob() {
    let manners = Manners { corrupts: true, ..ranges() };
    cold(20 * MIB, manners).await.fails().await;
}

#[tokio::test]
async fn a_web_page_is_no_blob() {
    for size in [10, MIB] {
        let manners = Manners { sends_html: true, ..ranges() };
        let cold = cold(size, manners).await;
        let reply = cold.pounce.get(&cold.path).await;
        assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"));
        cold.fails().await;
    }
}

#[tokio::test]
async fn a_redirect_loop_is_told() {
    let cold = cold(MIB, ranges()).await;
    cold.upstream.behave(Manners { redirects_blobs_to: Some(cold.upstream.url()), ..ranges() });
    let reply = cold.pounce.get(&cold.path).await;
    assert_eq!((reply.status, &reply.code()[..]), (503, "UNAVAILABLE"));
    assert!(cold.upstream.count("GET", "/blobs/") < 30);
}

#[tokio::test]
async fn a_zero_length_layer_and_a_layer_named_twice() {
    let upstream = Upstream::start().await;
    upstream.behave(ranges());
    let image = Image::new(5, &[0, 3 * MIB]);
    upstream.add("a", "v1", &image);
    let (empty, layer) = (digest(&image.blobs[1]), digest(&image.blobs[2]));
    let twice = format!(
        r#"{{"schemaVersion":2,"layers":[{},{},{}]}}"#,
        descriptor(&layer, 3 * MIB),
        descriptor(&layer, 3 * MIB),
        descriptor(&empty, 0)
    );
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    upstream.add_manifest("a", "twice", media_type, twice);
    for prefetch in ["true", "false"] {
        upstream.behave(ranges());
        upstream.forget();
        let variables = [("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]), ("REGISTRY_PROXY_PREFETCH", prefetch)];
        let pounce = Pounce::with(&variables).await;
        assert_eq!(pounce.get("/v2/a/manifests/twice").await.status, 200);
        for digest in [&layer, &empty, &layer] {
            let reply = pounce.get(&format!("/v2/a/blobs/{digest}")).await;
            let reply = if reply.status == 307 { pounce.follow(&reply).await } else { reply };
            assert!(reply.whole && crate::support::image::digest(&reply.body) == **digest);
        }
        pounce.until_stored(&layer).await;
        pounce.until_stored(&empty).await;
        assert_eq!(upstream.blob_bytes(), 3 * MIB);
    }
}

fn descriptor(digest: &str, size: usize) -> String {
    format!(r#"{{"mediaType":"a/b","digest":"{digest}","size":{size}}}"#)
}
