//! Pushing blobs (spec, "Push"): end-4, end-5, end-6, end-11, end-13, end-14.

use bytes::Bytes;
use sha2::{Digest as _, Sha512};

use crate::support::image::{digest, noise};
use crate::support::requests::{closing, streamed};
use crate::support::{Pounce, Reply};

const MIB: usize = 1 << 20;

fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", const_hex::encode(Sha512::digest(bytes)))
}

/// Asserts the answer to a stored blob: end-6's, end-4b's and end-11's.
pub(crate) async fn assert_stored(pounce: &Pounce, reply: &Reply, digest: &str, bytes: &Bytes) {
    assert_eq!((reply.status, reply.header("docker-content-digest")), (201, digest), "{reply:?}");
    let location = reply.header("location").to_owned();
    assert_eq!(location, format!("/v2/a/b/blobs/{digest}"));
    assert_eq!(pounce.pull("a/b", digest).await, bytes);
    let head = pounce.head(&location).await;
    assert_eq!((head.status, head.header("content-length")), (200, bytes.len().to_string().as_str()));
    pounce.until("nothing is left of the upload", |it| it.scratch().is_empty()).await;
}

#[tokio::test]
async fn end_4a_begins_an_upload() {
    let pounce = Pounce::with(&[]).await;
    for path in ["/v2/a/b/blobs/uploads/", "/v2/a/b/blobs/uploads"] {
        let reply = pounce.send(pounce.request("POST", path)).await;
        assert_eq!((reply.status, reply.header("range")), (202, "0-0"));
        let location = reply.header("location");
        let id = reply.header("docker-upload-uuid");
        assert_eq!(id.len(), 36);
        assert!(location.starts_with(&format!("/v2/a/b/blobs/uploads/{id}?_state=")));
        assert!(reply.body.is_empty());
    }
    // Nothing is written before the first bytes come.
    assert!(pounce.objects().is_empty() && pounce.scratch().is_empty());
}

#[tokio::test]
async fn end_6_a_blob_in_one_put() {
    let pounce = Pounce::with(&[]).await;
    for size in [0, 1, 1000, 10 * MIB, 10 * MIB + 1, 23 * MIB] {
        let blob = noise(size as u64, size);
        for digest in [digest(&blob), sha512(&blob)] {
            let location = pounce.begin("a/b").await;
            let reply = pounce.close(&location, &digest, blob.clone()).await;
            assert_stored(&pounce, &reply, &digest, &blob).await;
        }
    }
}

#[tokio::test]
async fn end_4b_a_blob_in_one_post() {
    let pounce = Pounce::with(&[]).await;
    for size in [0, 1000, 12 * MIB] {
        let blob = noise(size as u64, size);
        for digest in [digest(&blob), sha512(&blob)] {
            let request = pounce.request("POST", &closing("/v2/a/b/blobs/uploads/", &digest));
            let reply = pounce.send(request.body(blob.clone())).await;
            assert_stored(&pounce, &reply, &digest, &blob).await;
        }
    }
}

#[tokio::test]
async fn end_5_a_blob_in_one_patch_without_a_length() {
    let pounce = Pounce::with(&[]).await;
    for size in [0, 1000, 5 * MIB - 1, 5 * MIB, 15 * MIB, 26 * MIB + 1] {
        let blob = noise(size as u64, size);
        let location = pounce.begin("a/b").await;
        let reply = pounce.patch(&location, blob.clone()).await;
        let range = format!("0-{}", size.saturating_sub(1));
        assert_eq!((reply.status, reply.header("range")), (202, range.as_str()));
        let reply = pounce.close(reply.header("location"), &digest(&blob), Bytes::new()).await;
        assert_stored(&pounce, &reply, &digest(&blob), &blob).await;
    }
}

#[tokio::test]
async fn end_5_chunks_of_any_size_make_one_blob() {
    let pounce = Pounce::with(&[]).await;
    let sizes = [
        vec![1, 1, 1],
        vec![5 * MIB, 1, 5 * MIB],
        vec![3 * MIB, 3 * MIB, 3 * MIB, 3 * MIB],
        vec![16 * MIB, 100, 4 * MIB, 17 * MIB],
        vec![10, 30 * MIB],
    ];
    for (seed, sizes) in sizes.into_iter().enumerate() {
        let blob = noise(seed as u64, sizes.iter().sum());
        // With the last chunk in a PATCH, and in the PUT.
        for with_put in [false, true] {
            let mut location = pounce.begin("a/b").await;
            let (mut at, last) = (0, sizes.len() - 1);
            for (index, size) in sizes.iter().enumerate() {
                if index == last && with_put {
                    break;
                }
                let chunk = blob.slice(at..at + size);
                at += size;
                let reply = pounce.send(pounce.chunk(&location, at - size, chunk)).await;
                let range = format!("0-{}", at - 1);
                assert_eq!((reply.status, reply.header("range")), (202, range.as_str()));
                reply.header("location").clone_into(&mut location);
            }
            let reply = pounce.close(&location, &digest(&blob), blob.slice(at..)).await;
            assert_stored(&pounce, &reply, &digest(&blob), &blob).await;
            let path = format!("/v2/a/b/blobs/{}", digest(&blob));
            assert_eq!(pounce.delete(&path).await.status, 202);
            // Delete the blob, so that the next round does not find it.
            std::fs::remove_dir_all(pounce.root().join("docker/registry/v2/blobs")).unwrap();
        }
    }
}

#[tokio::test]
async fn end_5_a_chunk_out_of_order_is_416_with_the_right_range() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 3000);
    let first = pounce.begin("a/b").await;
    let early = pounce.send(pounce.chunk(&first, 1000, blob.slice(1000..2000)));
    let early = early.await;
    assert_eq!((early.status, early.code().as_str()), (416, "RANGE_INVALID"));
    assert_eq!(early.header("range"), "0-0");

    let second = pounce.send(pounce.chunk(&first, 0, blob.slice(..1000))).await;
    let second = second.header("location").to_owned();
    // A gap, an earlier offset, and an overlap.
    for start in [2000, 0, 500] {
        for method in ["PATCH", "PUT"] {
            let chunk = pounce.chunk(&second, start, blob.slice(start..start + 1000));
            let chunk = match method {
                "PATCH" => chunk,
                _ => pounce
                    .request("PUT", &closing(&second, &digest(&blob)))
                    .header("content-range", format!("{start}-{}", start + 999))
                    .body(blob.slice(start..start + 1000)),
            };
            let reply = pounce.send(chunk).await;
            assert_eq!((reply.status, reply.header("range")), (416, "0-999"), "{start}");
            assert_eq!(reply.code(), "RANGE_INVALID");
            // end-13 answers the same, under the old location and the one in the answer.
            for location in [&second, reply.header("location")] {
                let status = pounce.get(location).await;
                assert_eq!((status.status, status.header("range")), (204, "0-999"));
                assert!(!status.header("location").is_empty());
            }
        }
    }
    let third = pounce.send(pounce.chunk(&second, 1000, blob.slice(1000..))).await;
    let reply = pounce.close(third.header("location"), &digest(&blob), Bytes::new()).await;
    assert_stored(&pounce, &reply, &digest(&blob), &blob).await;
}

#[tokio::test]
async fn lengths_that_lie_are_400() {
    let pounce = Pounce::with(&[]).await;
    let location = pounce.begin("a/b").await;
    let with_range = |range: &str, body: reqwest::Body| {
        let request = pounce.request("PATCH", &location);
        pounce.send(request.header("content-range", range).body(body))
    };
    let bytes = || Bytes::from_static(b"0123456789");
    for (range, code) in [
        ("0-8", "SIZE_INVALID"),
        ("0-10", "SIZE_INVALID"),
        ("bytes=0-9", "BLOB_UPLOAD_INVALID"),
        ("9-0", "BLOB_UPLOAD_INVALID"),
        ("x", "BLOB_UPLOAD_INVALID"),
    ] {
        let reply = with_range(range, bytes().into()).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{range}");
    }
    for range in ["0-8", "0-10"] {
        let reply = with_range(range, streamed(vec![bytes()])).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "SIZE_INVALID"));
    }
    assert_eq!(pounce.get(&location).await.header("range"), "0-0");
    assert_eq!(with_range("0-9", bytes().into()).await.status, 202);
}

#[tokio::test]
async fn another_digest_is_400_and_nothing_is_kept() {
    let pounce = Pounce::with(&[]).await;
    for size in [0, 1000, 12 * MIB] {
        let (blob, other) = (noise(1, size), digest(b"other"));
        let whole = pounce.begin("a/b").await;
        let patched = pounce.patch(&pounce.begin("a/b").await, blob.clone()).await;
        let patched = patched.header("location");
        let post = pounce.request("POST", &closing("/v2/a/b/blobs/uploads/", &other));
        for reply in [
            pounce.close(&whole, &other, blob.clone()).await,
            pounce.close(patched, &other, Bytes::new()).await,
            pounce.send(post.body(blob.clone())).await,
        ] {
            assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
        }
        // An upload without bytes can go on.
        if size > 0 {
            let later = pounce.close(patched, &digest(&blob), Bytes::new()).await;
            assert_eq!((later.status, later.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
            pounce.until("nothing is kept", |it| it.objects().is_empty() && it.open_uploads() == 0).await;
        }
    }
    let missing = pounce.request("PUT", &pounce.begin("a/b").await);
    assert_eq!(pounce.send(missing).await.code(), "DIGEST_INVALID");
}

#[tokio::test]
async fn an_upload_can_be_closed_with_another_algorithm() {
    let pounce = Pounce::with(&[]).await;
    for size in [1000, 12 * MIB] {
        let blob = noise(size as u64, size);
        let location = pounce.begin("a/b").await;
        let reply = pounce.patch(&location, blob.clone()).await;
        let reply = pounce.close(reply.header("location"), &sha512(&blob), Bytes::new()).await;
        assert_stored(&pounce, &reply, &sha512(&blob), &blob).await;

        let location = pounce.begin("a/b").await;
        let reply = pounce.patch(&location, blob.clone()).await;
        let wrong = sha512(b"other");
        let reply = pounce.close(reply.header("location"), &wrong, Bytes::new()).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
        pounce.until("nothing is kept", |it| it.scratch().is_empty()).await;

        // end-4c
        let path = "/v2/a/b/blobs/uploads/?digest-algorithm=sha512";
        let begun = pounce.send(pounce.request("POST", path)).await;
        let reply = pounce.patch(begun.header("location"), blob.clone()).await;
        let reply = pounce.close(reply.header("location"), &sha512(&blob), Bytes::new()).await;
        assert_stored(&pounce, &reply, &sha512(&blob), &blob).await;
    }
}

#[tokio::test]
async fn a_blob_that_is_there_is_hashed_and_not_stored_again() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 12 * MIB);
    let digest = pounce.push("c/d", blob.clone()).await;
    let key = pounce.objects().into_iter().find(|key| key.ends_with("/data")).unwrap();
    let written = || std::fs::metadata(pounce.root().join(&key)).unwrap().modified().unwrap();
    let before = written();
    for bytes in [blob.clone(), noise(2, 12 * MIB)] {
        let whole = pounce.begin("a/b").await;
        let whole = pounce.close(&whole, &digest, bytes.clone()).await;
        let patched = pounce.patch(&pounce.begin("a/b").await, bytes.clone()).await;
        let patched = pounce.close(patched.header("location"), &digest, Bytes::new()).await;
        let expected = if bytes == blob { 201 } else { 400 };
        assert_eq!((whole.status, patched.status), (expected, expected));
    }
    assert_eq!(written(), before);
    assert_eq!(pounce.pull("a/b", &digest).await, blob);
    pounce.until("nothing is left", |it| it.scratch().is_empty()).await;
}
