//! Stores with rules of their own: pushes and pulls work as with any other store.

use bytes::Bytes;
use reqwest::Method;

use crate::support::image::{digest, noise};
use crate::support::requests::closing;
use crate::support::{FakeS3, Image, Pounce, Process, Rule, borrowed};

const MIB: usize = 1 << 20;

/// A pounce over this store.
async fn over(s3: &FakeS3, more: &[(&'static str, &str)]) -> Pounce {
    let variables = s3.variables();
    let all = [borrowed(&variables), more.to_vec()].concat();
    Pounce::with(&all).await
}

/// POST, a PATCH for each chunk, and PUT, as docker and clients with chunks do.
async fn push_in_chunks(pounce: &Pounce, blob: &Bytes, chunks: &[usize]) {
    let (mut location, mut at) = (pounce.begin("me/app").await, 0);
    for size in chunks {
        let chunk = pounce.chunk(&location, at, blob.slice(at..at + size));
        let reply = pounce.send(chunk).await;
        assert_eq!(reply.status, 202, "{chunks:?}: {reply:?}");
        reply.header("location").clone_into(&mut location);
        at += size;
    }
    let reply = pounce.close(&location, &digest(blob), blob.slice(at..)).await;
    assert_eq!(reply.status, 201, "{chunks:?}: {reply:?}");
    assert_eq!(pounce.pull("me/app", &digest(blob)).await, blob);
}

/// Ceph RGW and Google answer 411 to a PUT or a POST without `Content-Length`.
#[tokio::test]
async fn requests_without_a_body_say_so() {
    let s3 = FakeS3::start(&[Rule::NeedsContentLength]).await;
    let pounce = over(&s3, &[]).await;
    let image = Image::new(1, &[100, 11 * MIB]);
    pounce.push_image("me/app", "v1", &image).await;
    // Copied whole, and copied in parts.
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

/// Asserts the rule of stores that require equal parts.
fn assert_equal_parts(s3: &FakeS3) {
    for parts in s3.completed() {
        let (last, others) = parts.split_last().unwrap();
        assert!(others.iter().all(|it| it == &others[0]), "{parts:?}");
        assert!(others.first().is_none_or(|it| last <= it), "{parts:?}");
    }
}

/// Cloudflare R2: "All non-trailing parts must have the same length", and the last is not longer.
#[tokio::test]
async fn parts_are_equal_whatever_the_chunks() {
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let pounce = over(&s3, &[]).await;
    let part = 10 * MIB;
    for (seed, chunks) in [
        vec![24 * MIB],
        vec![23 * MIB],
        vec![7 * MIB, 7 * MIB, 7 * MIB, 9 * MIB],
        vec![12 * MIB, 12 * MIB, 12 * MIB],
        vec![1, part, part - 1, 1, part],
        vec![part],
        vec![2 * part],
        vec![part + 1],
        vec![6 * MIB, 31 * MIB, 1],
        vec![35 * MIB, 3],
    ]
    .into_iter()
    .enumerate()
    {
        let blob = noise(seed as u64, chunks.iter().sum());
        push_in_chunks(&pounce, &blob, &chunks).await;
        // With the last bytes in the PUT.
        let blob = noise(100 + seed as u64, chunks.iter().sum());
        push_in_chunks(&pounce, &blob, &chunks[..chunks.len() - 1]).await;
        // As docker does: one PATCH without a length.
        let blob = noise(200 + seed as u64, chunks.iter().sum());
        let location = pounce.begin("me/app").await;
        let reply = pounce.patch(&location, blob.clone()).await;
        let location = reply.header("location").to_owned();
        let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 201, "{chunks:?}: {reply:?}");
    }
    let part_copies = s3.take()["UploadPartCopy"];
    assert!(part_copies > 2, "{part_copies}");
    assert_equal_parts(&s3);
    assert_eq!(s3.open_uploads(), [""; 0]);
}

/// A wrong size is refused, and the client goes on with the right one; the parts are still equal.
#[tokio::test]
async fn parts_are_equal_after_a_size_that_lied() {
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let pounce = over(&s3, &[]).await;
    let blob = noise(1, 33 * MIB);
    let mut location = pounce.begin("me/app").await;
    for (at, end) in [(0, 13), (13, 20), (20, 33)] {
        let bytes = blob.slice(at * MIB..end * MIB);
        for wrong in [bytes.len() - 1, bytes.len() + 2] {
            let range = format!("{}-{}", at * MIB, at * MIB + wrong - 1);
            let body = crate::support::requests::streamed(vec![bytes.clone()]);
            let request = pounce.request("PATCH", &location);
            let request = request.header("content-range", range).body(body);
            let reply = pounce.send(request).await;
            assert_eq!((reply.status, &reply.code()[..]), (400, "SIZE_INVALID"));
        }
        let reply = pounce.send(pounce.chunk(&location, at * MIB, bytes)).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.header("location").clone_into(&mut location);
    }
    let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(pounce.pull("me/app", &digest(&blob)).await, blob);
    assert_equal_parts(&s3);
}

/// There is not enough memory for all pushes at once: some wait, and no part is cut short.
#[tokio::test(flavor = "multi_thread")]
async fn parts_are_equal_where_memory_is_short() {
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let pounce = over(&s3, &[]).await;
    let pushes = (0..40_u64).map(|seed| {
        let pounce = &pounce;
        async move {
            let blob = noise(seed, 21 * MIB);
            if seed % 2 == 0 {
                push_in_chunks(pounce, &blob, &[8 * MIB, 13 * MIB]).await;
            } else {
                pounce.push("me/app", blob).await;
            }
        }
    });
    futures_util::future::join_all(pushes).await;
    assert!(s3.completed().len() >= 40);
    assert_equal_parts(&s3);
}

/// The store's error does not come from a racing request: the client must not be told so, and the log has the store's
/// own sentence.
#[tokio::test(flavor = "multi_thread")]
async fn a_stores_rule_about_parts_is_no_other_request() {
    let s3 = FakeS3::start(&[]).await;
    let variables = s3.variables();
    let mut pounce = Process::start(&borrowed(&variables));
    let client = reqwest::Client::new();
    let ask = |method: reqwest::Method, path: &str| {
        let request = client.request(method, pounce.url(path));
        request.header("content-length", "0")
    };
    let begun = ask(Method::POST, "/v2/me/app/blobs/uploads/").send().await;
    let location = begun.unwrap().headers()["location"].to_str().unwrap().to_owned();
    let blob = noise(1, 25 * MIB);
    let chunk = client.patch(pounce.url(&location)).body(blob.clone());
    let patched = chunk.send().await.unwrap();
    let location = patched.headers()["location"].to_str().unwrap().to_owned();
    s3.on("CompleteMultipartUpload", 1, |_| async {
        let text = "<Error><Code>InvalidPart</Code><Message>Parts must be of one size.</Message></Error>";
        Some((400, Vec::new(), Bytes::from(text)))
    });
    let close = closing(&location, &digest(&blob));
    let refused = ask(Method::PUT, &close).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let text = refused.text().await.unwrap();
    assert!(!text.contains("another request"), "{text}");
    let line = pounce.until("CompleteMultipartUpload failed");
    assert!(line.contains("Parts must be of one size"), "{line}");
    // The next attempt succeeds.
    let closed = client.put(pounce.url(&close)).body("").send().await.unwrap();
    assert_eq!(closed.status(), 201);
}

/// A store with all rules that pounce can work with.
#[tokio::test]
async fn all_rules_at_once() {
    let rules = [
        Rule::NeedsContentLength,
        Rule::IgnoresConditions,
        Rule::EqualParts,
        Rule::RefusesAuthorization,
        Rule::NoDelimiter,
    ];
    let s3 = FakeS3::start(&rules).await;
    let pounce = over(&s3, &[]).await;
    let image = Image::new(1, &[0, 1, 10 * MIB, 43 * MIB]);
    pounce.push_image("me/app", "v1", &image).await;
    push_in_chunks(&pounce, &noise(2, 67 * MIB), &[33 * MIB, 1, 33 * MIB]).await;
    for blob in &image.blobs {
        assert_eq!(&pounce.pull("me/app", &digest(blob)).await, blob);
    }
    let manifest = pounce.get("/v2/me/app/manifests/v1").await;
    assert_eq!(manifest.body, image.manifest);
    assert_equal_parts(&s3);
}

/// The client sends a chunk again that a full disk refused.
#[tokio::test]
async fn a_chunk_that_the_store_refused_can_come_again() {
    for trouble in [Rule::FullDisk(507), Rule::FullDisk(500)] {
        let s3 = FakeS3::start(&[Rule::EqualParts]).await;
        let pounce = over(&s3, &[]).await;
        let blob = noise(1, 36 * MIB);
        let (mut location, mut at) = (pounce.begin("me/app").await, 0);
        for size in [3 * MIB, 20 * MIB, 13 * MIB] {
            let bytes = blob.slice(at..at + size);
            s3.rules(&[Rule::EqualParts, trouble]);
            let reply = pounce.send(pounce.chunk(&location, at, bytes.clone())).await;
            assert_eq!(reply.status, 503, "{trouble:?}: {reply:?}");
            s3.rules(&[Rule::EqualParts]);
            let status = pounce.get(&location).await;
            let range = format!("0-{}", at.saturating_sub(1));
            assert_eq!((status.status, status.header("range")), (204, &range[..]));
            let reply = pounce.send(pounce.chunk(&location, at, bytes)).await;
            assert_eq!(reply.status, 202, "{trouble:?}: {reply:?}");
            reply.header("location").clone_into(&mut location);
            at += size;
        }
        s3.rules(&[Rule::EqualParts, trouble]);
        let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 503, "{trouble:?}: {reply:?}");
        s3.rules(&[Rule::EqualParts]);
        let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 201, "{trouble:?}: {reply:?}");
        assert_eq!(pounce.pull("me/app", &digest(&blob)).await, blob);
        assert_equal_parts(&s3);
    }
}

/// The replica that begins an upload sets its part size.
#[tokio::test]
async fn replicas_with_other_part_sizes_go_on_with_the_upload() {
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let sizes = ["10485760", "5242880", "20971520"];
    let mut replicas = Vec::new();
    for size in sizes {
        let secret = ("REGISTRY_HTTP_SECRET", "shared");
        replicas.push(over(&s3, &[("REGISTRY_STORAGE_S3_CHUNKSIZE", size), secret]).await);
    }
    for start in 0..3 {
        let blob = noise(start as u64, 73 * MIB);
        let (mut location, mut at) = (replicas[start].begin("me/app").await, 0);
        // The first chunk is smaller than one replica's part, and larger than another one's.
        for (index, size) in [9, 13, 26, 25].into_iter().enumerate() {
            let pounce = &replicas[(start + index) % 3];
            let bytes = blob.slice(at..at + size * MIB);
            let reply = pounce.send(pounce.chunk(&location, at, bytes)).await;
            assert_eq!(reply.status, 202, "{reply:?}");
            reply.header("location").clone_into(&mut location);
            at += size * MIB;
        }
        let closes = &replicas[(start + 1) % 3];
        let reply = closes.close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        assert_eq!(closes.pull("me/app", &digest(&blob)).await, blob);
    }
    assert_equal_parts(&s3);
}

/// An upload that is cancelled during a chunk stays cancelled, and leaves no parts behind.
#[tokio::test]
async fn a_chunk_that_is_overtaken_by_a_cancellation_is_lost() {
    let s3 = FakeS3::start(&[Rule::EqualParts, Rule::NeedsContentLength]).await;
    let pounce = over(&s3, &[]).await;
    let blob = noise(1, 40 * MIB);
    let first = pounce.begin("me/app").await;
    let reply = pounce.patch(&first, blob.slice(..12 * MIB)).await;
    let second = reply.header("location").to_owned();
    let held = s3.hold("UploadPart");
    let (patched, ()) = tokio::join!(pounce.patch(&second, blob.slice(12 * MIB..)), async {
        held.came().await;
        assert_eq!(pounce.delete(&first).await.status, 204);
        held.release();
    });
    assert_eq!(patched.status, 404, "{patched:?}");
    for location in [&first, &second] {
        assert_eq!(pounce.get(location).await.status, 404);
        let reply = pounce.close(location, &digest(&blob), blob.clone()).await;
        assert_eq!(reply.status, 404, "{reply:?}");
    }
    assert_eq!(s3.open_uploads(), [""; 0]);
}

/// If the copy fails after the completion, it is repeated when the client asks again.
#[tokio::test]
async fn an_upload_whose_copy_failed_can_be_closed_again() {
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let pounce = over(&s3, &[]).await;
    for (seed, size, operation) in
        [(1, 12 * MIB, "CopyObject"), (2, 20 * MIB, "CopyObject"), (3, 43 * MIB, "UploadPartCopy")]
    {
        let blob = noise(seed, size);
        let reply = pounce.patch(&pounce.begin("me/app").await, blob.clone()).await;
        let location = reply.header("location").to_owned();
        s3.on(operation, 8, |_| async {
            let text = "<Error><Code>AccessDenied</Code></Error>";
            Some((403, Vec::new(), Bytes::from(text)))
        });
        let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 503, "{size}: {reply:?}");
        s3.forget_hooks();
        let reply = pounce.close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 201, "{size}: {reply:?}");
        assert_eq!(pounce.pull("me/app", &digest(&blob)).await, blob);
    }
    pounce.until_quiet().await;
    assert!(!s3.keys().iter().any(|key| key.contains("_uploads")));
}
