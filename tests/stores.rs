//! Buckets of stores that have rules of their own: what is pushed and pulled there is what it is elsewhere.

use bytes::Bytes;

use crate::support::image::{digest, noise};
use crate::support::{FakeS3, Image, Pounce, Rule, borrowed};

const MIB: usize = 1 << 20;

/// pounce over it.
async fn over(s3: &FakeS3, more: &[(&'static str, &str)]) -> Pounce {
    let variables = s3.variables();
    let all = [borrowed(&variables), more.to_vec()].concat();
    Pounce::with(&all).await
}

/// POST, a PATCH for each chunk, and PUT: what docker does, and clients that push in chunks.
async fn push_in_chunks(pounce: &Pounce, blob: &Bytes, chunks: &[usize]) {
    let (mut location, mut at) = (pounce.begin("me/app").await, 0);
    for size in chunks {
        let chunk = pounce.chunk(&location, at, blob.slice(at..at + size));
        let reply = pounce.send(chunk).await;
        assert_eq!(reply.status, 202, "{chunks:?}: {reply:?}");
        reply.header("location").clone_into(&mut location);
        at += size;
    }
    let reply = pounce
        .close(&location, &digest(blob), blob.slice(at..))
        .await;
    assert_eq!(reply.status, 201, "{chunks:?}: {reply:?}");
    assert_eq!(pounce.pull("me/app", &digest(blob)).await, blob);
}

/// Ceph RGW and Google answer 411 to a PUT or a POST without the header.
#[tokio::test]
async fn requests_without_a_body_say_so() {
    let s3 = FakeS3::start(&[Rule::NeedsContentLength]).await;
    let pounce = over(&s3, &[]).await;
    let image = Image::new(1, &[100, 11 * MIB]);
    pounce.push_image("me/app", "v1", &image).await;
    // Copied whole, and in parts.
    for (seed, size) in [(1, 12 * MIB), (2, 40 * MIB)] {
        push_in_chunks(&pounce, &noise(seed, size), &[size]).await;
    }
    for operation in ["CreateMultipartUpload", "CopyObject", "UploadPartCopy"] {
        let seen = s3.seen(operation);
        assert!(!seen.is_empty(), "{operation}");
        for request in seen {
            assert_eq!(request.headers["content-length"], "0", "{operation}");
            assert!(!request.headers.contains_key("transfer-encoding"));
        }
    }
    for (operation, seen) in s3.all_seen() {
        let has_length = seen.headers.contains_key("content-length");
        let writes = ["PUT", "POST"].contains(&&seen.method[..]);
        assert_eq!(has_length, writes, "{operation}");
    }
    assert!(!s3.keys().iter().any(|key| key.contains("_uploads")));
}
