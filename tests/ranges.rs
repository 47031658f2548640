//! Ranges of a cold blob: the fill fetches first what clients wait for.

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const MIB: usize = 1 << 20;
const SIZE: usize = 20 * MIB;

/// A layer whose first connection stalls after so many bytes.
async fn held(after: usize, manners: Manners, more: &[(&str, &str)]) -> (Upstream, Pounce, Image) {
    let upstream = Upstream::start().await;
    let image = Image::new(4, &[SIZE]);
    upstream.add("a/b", "v1", &image);
    upstream.behave(Manners { holds_after: Some(after), holds: 1, ..manners });
    let url = upstream.url();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_FILL_CONNECTIONS", "2")];
    let pounce = Pounce::with(&[&variables, more].concat()).await;
    (upstream, pounce, image)
}

fn ranges() -> Manners {
    Manners { ranges: true, ..Manners::default() }
}

fn path(image: &Image) -> String {
    format!("/v2/a/b/blobs/{}", digest(image.layer()))
}

#[tokio::test]
async fn a_range_comes_before_what_lies_before_it() {
    let (upstream, pounce, image) = held(MIB, ranges(), &[]).await;
    let (path, layer) = (path(&image), image.layer());
    // What is there needs no request.
    let near = pounce.range(&path, "bytes=1000-1999").await;
    assert_eq!((near.status, &near.body), (206, &layer.slice(1000..2000)));
    assert_eq!(near.header("content-range"), format!("bytes 1000-1999/{SIZE}"));
    assert_eq!(upstream.count("GET", "/blobs/"), 1);
    // A footer, which lazy pullers read first; the middle; to the end.
    let last = SIZE - 1;
    let cases = [
        ("bytes=-100", SIZE - 100..SIZE),
        ("bytes=10000000-10000099", 10_000_000..10_000_100),
        (&format!("bytes={last}-{last}")[..], last..SIZE),
        ("bytes=19000000-99999999", 19_000_000..SIZE),
    ];
    for (range, slice) in cases {
        let reply = pounce.range(&path, range).await;
        assert_eq!(reply.status, 206, "{range}");
        let (start, last) = (slice.start, slice.end - 1);
        assert_eq!(reply.header("content-range"), format!("bytes {start}-{last}/{SIZE}"));
        assert!(reply.whole && reply.body == layer.slice(slice), "{range}");
    }
    // All of it came once, but for what the first connection holds.
    assert!(upstream.blob_bytes() <= SIZE, "{}", upstream.blob_bytes());
    // A range without an end may be most of the blob, so its last bytes wait for the digest.
    let range = format!("bytes={}-", SIZE - 50_000);
    let (reply, ()) = tokio::join!(pounce.range(&path, &range), async {
        tokio::task::yield_now().await;
        upstream.release();
    });
    assert!(reply.status == 206 && reply.whole && reply.body == layer.slice(SIZE - 50_000..));
    pounce.until_stored(&digest(layer)).await;
    let warm = pounce.range(&path, "bytes=5-9").await;
    assert_eq!(warm.status, 307);
}

#[tokio::test]
async fn a_range_without_a_byte_is_a_416() {
    let (upstream, pounce, image) = held(SIZE, ranges(), &[]).await;
    let path = path(&image);
    for range in [format!("bytes={SIZE}-"), format!("bytes={SIZE}-,{SIZE}-"), "bytes=-0".into(), "bytes=9-2".into()] {
        let reply = pounce.range(&path, &range).await;
        assert_eq!((reply.status, &reply.code()[..]), (416, "RANGE_INVALID"), "{range}");
    }
    upstream.release();
}

#[tokio::test]
async fn an_upstream_without_ranges_is_waited_for() {
    let (upstream, pounce, image) = held(MIB, Manners::default(), &[]).await;
    let path = path(&image);
    let (reply, ()) = tokio::join!(pounce.range(&path, "bytes=-100"), async {
        while upstream.count("GET", "/blobs/") < 1 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        upstream.release();
    });
    assert_eq!((reply.status, &reply.body), (206, &image.layer().slice(SIZE - 100..)));
}

#[tokio::test]
async fn a_size_that_only_the_manifest_tells_is_good_enough() {
    let chunked = Manners { chunked: true, ..Manners::default() };
    let (upstream, pounce, image) = held(SIZE, chunked, &[]).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    let reply = pounce.range(&path(&image), "bytes=10-19").await;
    assert_eq!((reply.status, &reply.body), (206, &image.layer().slice(10..20)));
    assert_eq!(reply.header("content-range"), format!("bytes 10-19/{SIZE}"));
    upstream.release();
}

#[tokio::test]
async fn a_size_that_a_manifest_makes_up_cuts_nothing_off() {
    let chunked = Manners { chunked: true, ..Manners::default() };
    for (said, range) in [(10_000, "bytes=0-"), (10_000, "bytes=-100"), (SIZE + 9, "bytes=0-")] {
        let (upstream, pounce, image) = held(SIZE, chunked.clone(), &[]).await;
        let layer = digest(image.layer());
        let manifest =
            format!(r#"{{"schemaVersion":2,"layers":[{{"mediaType":"a/b","digest":"{layer}","size":{said}}}]}}"#);
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        upstream.add_manifest("a/b", "lie", media_type, manifest);
        pounce.get("/v2/a/b/manifests/lie").await;
        let reply = pounce.range(&path(&image), range).await;
        assert!(!reply.whole, "{} bytes of what was said to be {said}", reply.body.len());
        // Nor does a manifest's wrong size cause a refusal.
        let (upstream, pounce, image) = held(SIZE, chunked.clone(), &[]).await;
        upstream.add_manifest(
            "a/b",
            "lie",
            media_type,
            format!(r#"{{"schemaVersion":2,"layers":[{{"mediaType":"a/b","digest":"{layer}","size":10}}]}}"#),
        );
        pounce.get("/v2/a/b/manifests/lie").await;
        let reply = pounce.range(&path(&image), "bytes=5000-5009").await;
        assert!(reply.status == 200 && reply.body == image.layer());
    }
}

#[tokio::test]
async fn no_byte_of_an_empty_blob_lies_in_a_range() {
    let upstream = Upstream::start().await;
    let image = Image::new(4, &[0]);
    upstream.add("a/b", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    let path = path(&image);
    assert_eq!(pounce.range(&path, "bytes=-1").await.status, 416);
    pounce.until_stored(&digest(image.layer())).await;
    let url = pounce.get(&path).await.header("location").to_owned();
    for range in ["bytes=-1", "bytes=0-", "bytes=0-0"] {
        let reply = reqwest::Client::new().get(&url).header("range", range).send().await.unwrap();
        assert_eq!(reply.status(), 416, "{range}");
    }
}

#[tokio::test]
async fn a_far_part_of_a_blob_whose_size_only_the_manifest_tells() {
    let chunked = Manners { chunked: true, ..ranges() };
    let (upstream, pounce, image) = held(MIB, chunked, &[]).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    let reply = pounce.range(&path(&image), "bytes=-100").await;
    assert_eq!((reply.status, &reply.body), (206, &image.layer().slice(SIZE - 100..)));
    assert_eq!(reply.header("content-length"), "100");
    upstream.release();
}

#[tokio::test]
async fn a_range_of_everything_is_verified() {
    let corrupts = Manners { corrupts: true, ..ranges() };
    let (upstream, pounce, image) = held(SIZE, corrupts, &[]).await;
    let path = path(&image);
    let wrong = pounce.range(&path, "bytes=0-").await;
    assert!(!wrong.whole && wrong.body.len() < SIZE);
    upstream.behave(ranges());
    let reply = pounce.range(&path, "bytes=0-").await;
    assert_eq!(reply.header("content-range"), format!("bytes 0-{}/{SIZE}", SIZE - 1));
    assert!(reply.status == 206 && reply.body == image.layer());
}

#[tokio::test]
async fn ranged_clients_together_make_one_blob() {
    let (upstream, pounce, image) = held(SIZE, ranges(), &[]).await;
    let path = path(&image);
    let part = SIZE / 4;
    let parts = (0..4).map(|index| {
        let range = format!("bytes={}-{}", index * part, (index + 1) * part - 1);
        let (pounce, path) = (&pounce, &path);
        async move {
            let reply = pounce.range(path, &range).await;
            if reply.status == 206 {
                reply.body
            } else {
                let url = reply.header("location").to_owned();
                let request = reqwest::Client::new().get(url).header("range", range);
                request.send().await.unwrap().bytes().await.unwrap()
            }
        }
    });
    let whole = futures_util::future::join_all(parts).await.concat();
    assert!(whole == image.layer()[..]);
    upstream.release();
}
