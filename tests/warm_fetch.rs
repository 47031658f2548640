//! `pounce warm --fetch`: which blobs it reads, how often, and what it makes of a bucket that does not send them.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::support::image::digest;
use crate::support::{FakeS3, Pounce, Said, borrowed};
use crate::warm::Stage;

/// The layer of [`Stage`]'s image has so many bytes.
const LAYER: usize = 100_000;

/// Warms [`Stage`]'s image into an S3; the exit status, and the output.
fn fetch(stage: &Stage, s3: &FakeS3, arguments: &[&str]) -> (i32, String) {
    let variables = s3.variables();
    stage.warm_with(&[&["org/app:v1"], arguments].concat(), &borrowed(&variables), "")
}

/// The reads through presigned URLs: what of which blob's hex.
fn reads(s3: &FakeS3) -> Vec<(String, String)> {
    let seen = s3.seen("GetObject").into_iter().filter(|seen| seen.path.contains("X-Amz-Signature"));
    let reads = seen.map(|seen| {
        let path = seen.path.split('?').next().unwrap();
        let hex = path.strip_suffix("/data").unwrap().rsplit('/').next().unwrap();
        let range = seen.headers.get("range").map_or("", |range| range.to_str().unwrap());
        (hex.to_owned(), range.to_owned())
    });
    let mut reads: Vec<_> = reads.collect();
    reads.sort();
    reads
}

fn hex(bytes: &[u8]) -> String {
    digest(bytes).replace("sha256:", "")
}

/// From now on, presigned reads of the layer get these answers, or the store's.
fn answer_layer(stage: &Stage, s3: &FakeS3, answer: impl Fn(usize) -> Option<Said> + Send + Sync + 'static) {
    let (layer, times) = (hex(&stage.image.blobs[1]), AtomicUsize::new(0));
    s3.on("GetObject", usize::MAX, move |seen| {
        let is_read = seen.path.contains(&layer) && seen.path.contains("X-Amz-Signature");
        let said = is_read.then(|| answer(times.fetch_add(1, Ordering::Relaxed))).flatten();
        async move { said }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn each_blob_is_read_through_its_url_once() {
    let (stage, s3) = (Stage::new().await, FakeS3::start(&[]).await);
    let (status, said) = fetch(&stage, &s3, &[]);
    assert!(status == 0 && reads(&s3).is_empty(), "{said}");
    // The same image again has nothing more to read.
    let (status, said) = fetch(&stage, &s3, &["--fetch", "org/app:v1"]);
    assert!(status == 0 && said.contains("org/app:v1: read 3 blobs"), "{said}");
    let mut expected: Vec<_> = stage.image.blobs.iter().map(|blob| (hex(blob), String::new())).collect();
    expected.sort();
    assert_eq!(reads(&s3), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_breaks_goes_on_where_it_broke() {
    let (stage, s3) = (Stage::new().await, FakeS3::start(&[]).await);
    let half = stage.image.blobs[1].slice(..LAYER / 2);
    answer_layer(&stage, &s3, move |times| (times == 0).then(|| (200, Vec::new(), half.clone())));
    let (status, said) = fetch(&stage, &s3, &["--fetch"]);
    assert!(status == 0 && said.contains("read 3 blobs"), "{said}");
    let mut reads = reads(&s3);
    reads.retain(|(blob, _)| *blob == hex(&stage.image.blobs[1]));
    let ranges: Vec<_> = reads.iter().map(|(_, range)| &range[..]).collect();
    assert_eq!(ranges, ["", "bytes=50000-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_the_range_is_read_from_the_beginning() {
    let (stage, s3) = (Stage::new().await, FakeS3::start(&[]).await);
    let whole = stage.image.blobs[1].clone();
    answer_layer(&stage, &s3, move |times| {
        let sent = if times == 0 { whole.slice(..LAYER / 2) } else { whole.clone() };
        Some((200, Vec::new(), sent))
    });
    let (status, said) = fetch(&stage, &s3, &["--fetch"]);
    assert!(status == 0 && said.contains("read 3 blobs"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_told() {
    let (stage, s3) = (Stage::new().await, FakeS3::start(&[]).await);
    let layer = digest(&stage.image.blobs[1]);
    answer_layer(&stage, &s3, |_| Some((403, Vec::new(), Bytes::new())));
    let (status, said) = fetch(&stage, &s3, &["--fetch"]);
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(&format!("{layer} cannot be read: it answered 403")), "{said}");
    assert!(said.contains("org/app:v1: read 2 blobs"), "{said}");
    assert!(said.contains("everything is in the bucket, but 1 blobs cannot be read from it"), "{said}");
    // No line has a signature.
    assert!(!said.contains("X-Amz"), "{said}");
    assert_eq!(reads(&s3).iter().filter(|(blob, _)| layer.ends_with(blob)).count(), 5);
    s3.forget_hooks();
    answer_layer(&stage, &s3, |_| Some((200, Vec::new(), Bytes::from(vec![0; LAYER]))));
    let (status, said) = fetch(&stage, &s3, &["--fetch"]);
    assert!(status == 1 && said.contains("other bytes came: 100000 of 100000"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_read_with_and_without_a_pounce_that_serves_it() {
    let stage = Stage::new().await;
    let (status, said) = stage.warm(&["--fetch", "org/app:v1"]);
    assert!(status == 0 && said.contains("read 3 blobs"), "{said}");
    let pounce = Pounce::before(&stage.upstream).await;
    let (root, addr) = (pounce.root(), pounce.addr.to_string());
    let variables =
        [("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.to_str().unwrap()), ("REGISTRY_HTTP_ADDR", &addr[..])];
    let (status, said) = stage.warm_with(&["--fetch", "org/app:v1"], &variables, "");
    assert!(status == 0 && said.contains("read 3 blobs"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_clients_get_through_pounce_are_read_so() {
    let (stage, s3) = (Stage::new().await, FakeS3::start(&[]).await);
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_REDIRECT_DISABLE", "true".into()));
    let (status, said) = stage.warm_with(&["--fetch", "org/app:v1"], &borrowed(&variables), "");
    assert!(status == 0 && said.contains("read 3 blobs"), "{said}");
    assert!(reads(&s3).is_empty());
}
