//! Buckets of stores that have rules of their own: what is pushed and pulled there is what it is elsewhere.

use bytes::Bytes;
use reqwest::Method;

use crate::support::image::{digest, noise};
use crate::support::requests::closing;
use crate::support::{FakeS3, Image, Pounce, Process, Rule, borrowed};

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

/// Checks what a store that wants equal parts checks, whichever store it is.
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
        vec![70 * MIB, 3],
    ]
    .into_iter()
    .enumerate()
    {
        let blob = noise(seed as u64, chunks.iter().sum());
        push_in_chunks(&pounce, &blob, &chunks).await;
        // The last bytes with the PUT.
        let blob = noise(100 + seed as u64, chunks.iter().sum());
        push_in_chunks(&pounce, &blob, &chunks[..chunks.len() - 1]).await;
        // docker's: one PATCH without a length.
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

/// A size that lies is refused, and the client goes on with the right one; parts are equal all the same.
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

/// More than there is memory for at once: each waits, none is cut short.
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

/// Nobody else sent anything: the client is not told so, and the log has the store's own sentence.
#[tokio::test(flavor = "multi_thread")]
async fn a_stores_rule_about_parts_is_no_other_request() {
    let s3 = FakeS3::start(&[]).await;
    let variables = s3.variables();
    let mut process = Process::start(&borrowed(&variables));
    let client = reqwest::Client::new();
    let ask = |method: reqwest::Method, path: &str| {
        let request = client.request(method, process.url(path));
        request.header("content-length", "0")
    };
    let begun = ask(Method::POST, "/v2/me/app/blobs/uploads/").send().await;
    let location = begun.unwrap().headers()["location"]
        .to_str()
        .unwrap()
        .to_owned();
    let blob = noise(1, 25 * MIB);
    let patch = client.patch(process.url(&location)).body(blob.clone());
    let patched = patch.send().await.unwrap();
    let location = patched.headers()["location"].to_str().unwrap().to_owned();
    s3.on("CompleteMultipartUpload", 1, |_| async {
        let text =
            "<Error><Code>InvalidPart</Code><Message>Parts must be of one size.</Message></Error>";
        Some((400, Vec::new(), Bytes::from(text)))
    });
    let path = closing(&location, &digest(&blob));
    let refused = ask(Method::PUT, &path).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    let text = refused.text().await.unwrap();
    assert!(!text.contains("another request"), "{text}");
    let line = process.until("CompleteMultipartUpload failed");
    assert!(line.contains("Parts must be of one size"), "{line}");
    // And what was only for once is over.
    let closed = client
        .put(process.url(&path))
        .body("")
        .send()
        .await
        .unwrap();
    assert_eq!(closed.status(), 201);
}
