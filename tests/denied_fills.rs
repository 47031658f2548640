//! A bucket whose keys do not allow `pounce/fills/`, or not all of it: what memory holds is stored all the same.

use crate::support::process::Process;
use crate::support::scripted::Said;
use crate::support::sharing::{CHUNK, Sharing};
use crate::support::upstream::Manners;
use crate::support::{FakeS3, Image, Upstream, borrowed, image::digest};

/// The bucket denies these operations on objects of fills.
fn deny(s3: &FakeS3, operations: &[&'static str]) {
    for operation in operations {
        s3.on(operation, usize::MAX, |seen| async move {
            let source = seen.headers.get("x-amz-copy-source").and_then(|source| source.to_str().ok());
            let named = format!("{} {}", seen.path, source.unwrap_or_default()).replace("%2F", "/");
            let denied: Said = (403, Vec::new(), "<Error><Code>AccessDenied</Code></Error>".into());
            named.contains("pounce/fills").then_some(denied)
        });
    }
}

const ALL: &[&str] = &["PutObject", "GetObject", "UploadPartCopy", "ListObjectsV2", "DeleteObject", "DeleteObjects"];

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_memory_holds_is_stored_by_sending_it() {
    for denied in [ALL, &["PutObject"], &["UploadPartCopy"], &["ListObjectsV2"]] {
        for shared_size in [(CHUNK + 1).to_string(), "never".to_owned()] {
            let mut sharing = Sharing::start(6).await;
            // The memory of the blob as a whole would be less than `proxy.fill.sharedsize`.
            sharing.variables.push(("REGISTRY_PROXY_FILL_SHAREDSIZE", shared_size));
            deny(&sharing.s3, denied);
            let one = sharing.replica("one").await;
            for _ in 0..2 {
                let reply = one.get(&sharing.path()).await;
                let is_whole = reply.whole && reply.body == sharing.layer();
                assert!(reply.status == 307 || is_whole, "{denied:?}: {}", reply.status);
                one.until_quiet().await;
                assert!(sharing.is_stored(), "{denied:?}");
            }
            assert!(sharing.s3.object(&sharing.blob_key()).unwrap() == sharing.layer(), "{denied:?}");
            assert_eq!(sharing.s3.open_uploads(), Vec::<String>::new());
            let bytes = sharing.upstream.blob_bytes();
            assert!(bytes < 2 * sharing.layer().len(), "{denied:?}: {bytes} bytes came");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_it_once() {
    let (s3, upstream) = (FakeS3::start(&[]).await, Upstream::start().await);
    let image = Image::new(24, &[20 << 20, 20 << 20]);
    upstream.add("a", "v1", &image);
    upstream.behave(Manners { ranges: true, ..Manners::default() });
    deny(&s3, ALL);
    let mut variables = s3.variables();
    variables.extend([
        ("REGISTRY_PROXY_REMOTEURL", upstream.url()),
        ("REGISTRY_PROXY_FILL_SHAREDSIZE", (17 << 20).to_string()),
        ("REGISTRY_PROXY_FILL_MEMORY", (256 << 20).to_string()),
    ]);
    let process = Process::start(&borrowed(&variables));
    for blob in &image.blobs[1..] {
        let url = process.url(&format!("/v2/a/blobs/{}", digest(blob)));
        assert!(reqwest::get(url).await.unwrap().bytes().await.unwrap() == *blob);
        process.until_quiet().await;
    }
    assert_eq!(s3.keys().iter().filter(|key| key.ends_with("/data")).count(), 2);
    process.terminate();
    let (_, log) = process.end();
    let is_of_fills =
        |line: &&str| line.to_lowercase().contains("warn") && (line.contains("fill") || line.contains("chunk"));
    let warnings: Vec<_> = log.lines().filter(is_of_fills).collect();
    assert!(warnings.len() == 1 && warnings[0].contains("DeleteObject of pounce/fills/*"), "{log}");
}
