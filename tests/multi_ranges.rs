//! Several ranges in one request, where pounce streams the blob itself.

use std::ops::Range;

use bytes::Bytes;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Reply, Upstream};

const SIZE: usize = 100_000;

/// A pounce that streams, with a blob in its bucket.
async fn warm(more: &[(&str, &str)]) -> (Pounce, String, Bytes) {
    let pounce = Pounce::with(&[&[("REGISTRY_STORAGE_REDIRECT_DISABLE", "true")], more].concat()).await;
    let blob = Image::new(7, &[SIZE]).layer().clone();
    let path = format!("/v2/a/blobs/{}", pounce.push("a", blob.clone()).await);
    (pounce, path, blob)
}

/// The parts of a `multipart/byteranges` response, each with its `Content-Range`.
fn parts(reply: &Reply) -> Vec<(String, Bytes)> {
    assert!(reply.status == 206 && reply.whole, "{reply:?}");
    assert_eq!(reply.header("content-length"), reply.body.len().to_string());
    assert_eq!(reply.header("content-range"), "");
    let boundary = reply.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut rest = reply.body.clone();
    let mut parts = Vec::new();
    loop {
        let delimiter = format!("\r\n--{boundary}");
        assert!(rest.starts_with(delimiter.as_bytes()), "{rest:?}");
        let mut behind = rest.slice(delimiter.len()..);
        if behind == "--\r\n" {
            return parts;
        }
        let end = behind.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
        let fields = String::from_utf8(behind.split_to(end).to_vec()).unwrap();
        let range = fields.strip_prefix("\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes ").unwrap();
        let (first, last) = range.split_once('/').unwrap().0.split_once('-').unwrap();
        let length = last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap();
        let mut bytes = behind.slice(4..);
        rest = bytes.split_off(length);
        parts.push((range.to_owned(), bytes));
    }
}

/// The parts that a response must have.
fn expected(blob: &Bytes, ranges: &[Range<usize>]) -> Vec<(String, Bytes)> {
    let part = |range: &Range<usize>| {
        let text = format!("{}-{}/{}", range.start, range.end - 1, blob.len());
        (text, blob.slice(range.clone()))
    };
    ranges.iter().map(part).collect()
}

#[tokio::test]
async fn several_ranges_are_several_parts() {
    let (pounce, path, blob) = warm(&[]).await;
    for (ranges, wanted) in [
        ("bytes=0-1,10-19", &[0..2, 10..20][..]),
        ("bytes=0-1, 50000-89999, -5", &[0..2, 50_000..90_000, 99_995..SIZE]),
        // As they were asked for.
        ("bytes=500-599,0-9", &[500..600, 0..10]),
        // One is not there.
        ("bytes=5-9,100000-100001,20-29", &[5..10, 20..30]),
        // Two are one.
        ("bytes=500-599,0-9,10-19,550-699", &[500..700, 0..20]),
    ] {
        let reply = pounce.range(&path, ranges).await;
        assert_eq!(parts(&reply), expected(&blob, wanted), "{ranges}");
        assert_eq!(reply.header("docker-content-digest"), digest(&blob));
        assert_eq!(reply.header("accept-ranges"), "bytes");
    }
}

#[tokio::test]
async fn what_is_one_range_in_the_end_is_a_single_part() {
    let (pounce, path, blob) = warm(&[]).await;
    for (ranges, wanted) in
        [("bytes=0-9,10-19", 0..20), ("bytes=0-9,5-19", 0..20), ("bytes=100000-,7-8", 7..9), ("bytes=0-,5-6", 0..SIZE)]
    {
        let reply = pounce.range(&path, ranges).await;
        assert_eq!((reply.status, &reply.body), (206, &blob.slice(wanted.clone())), "{ranges}");
        let range = format!("bytes {}-{}/{SIZE}", wanted.start, wanted.end - 1);
        assert_eq!(reply.header("content-range"), range);
    }
    let reply = pounce.range(&path, "bytes=100000-,200000-").await;
    assert_eq!((reply.status, &reply.code()[..]), (416, "RANGE_INVALID"));
    assert_eq!(reply.header("content-range"), format!("bytes */{SIZE}"));
}

#[tokio::test]
async fn too_many_ranges_get_the_whole() {
    let (pounce, path, blob) = warm(&[]).await;
    let many = |count: usize| {
        let ranges: Vec<String> = (0..count).map(|at| format!("{}-{}", 3 * at, 3 * at)).collect();
        format!("bytes={}", ranges.join(","))
    };
    let ranges: Vec<_> = (0..32).map(|at| 3 * at..3 * at + 1).collect();
    assert_eq!(parts(&pounce.range(&path, &many(32)).await), expected(&blob, &ranges));
    for ranges in [many(33), many(1000), "bytes=0-9,1-9,2-9,3-9".into(), format!("bytes={}", vec!["0-"; 100].join(","))]
    {
        let reply = pounce.range(&path, &ranges).await;
        assert_eq!((reply.status, reply.body.len()), (200, SIZE), "{ranges}");
    }
    // A HEAD has no ranges (RFC 9110, section 14.2).
    let head = pounce.send(pounce.request("HEAD", &path).header("range", "bytes=0-1,10-19")).await;
    assert_eq!((head.status, head.header("content-length")), (200, "100000"));
    let has = pounce.request("GET", &path).header("range", "bytes=0-1,10-19").header("if-none-match", "*");
    assert_eq!(pounce.send(has).await.status, 304);
}

#[tokio::test]
async fn a_redirect_stays_one() {
    let pounce = Pounce::with(&[]).await;
    let path = format!("/v2/a/blobs/{}", pounce.push("a", Image::new(7, &[SIZE]).layer().clone()).await);
    assert_eq!(pounce.range(&path, "bytes=0-1,10-19").await.status, 307);
}

#[tokio::test]
async fn parts_of_a_cold_blob_come_from_its_fill() {
    let upstream = Upstream::start().await;
    let image = Image::new(7, &[SIZE]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { ranges: true, ..Manners::default() });
    let pounce = Pounce::before(&upstream).await;
    let path = format!("/v2/a/blobs/{}", digest(image.layer()));
    let reply = pounce.range(&path, "bytes=0-1,50000-59999,-5").await;
    assert_eq!(parts(&reply), expected(image.layer(), &[0..2, 50_000..60_000, 99_995..SIZE]));
    pounce.until_stored(&digest(image.layer())).await;
    assert_eq!(upstream.blob_bytes(), SIZE);
}

/// Where a part cannot be opened, the response ends before its announced length.
#[tokio::test]
async fn a_part_that_cannot_be_had_breaks_the_response() {
    let (pounce, path, blob) = warm(&[]).await;
    let hex = digest(&blob).strip_prefix("sha256:").unwrap().to_owned();
    let data = pounce.root().join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
    let request = pounce.request("GET", &path).header("range", "bytes=0-99,500-599");
    std::fs::write(&data, &blob[..300]).unwrap();
    let reply = pounce.send(request).await;
    assert!(!reply.whole, "{reply:?}");
}
