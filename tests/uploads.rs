//! The life of an upload: its signed state, its end, racing requests, and leftovers.

use bytes::Bytes;

use crate::support::Pounce;
use crate::support::image::{digest, noise};
use crate::support::requests::closing;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn end_14_a_cancelled_upload_is_gone() {
    let pounce = Pounce::with(&[]).await;
    // Without bytes, with few, and with a multipart upload.
    for size in [0, 1000, 12 * MIB] {
        let blob = noise(1, size);
        let mut location = pounce.begin("a/b").await;
        if size > 0 {
            let reply = pounce.patch(&location, blob.clone()).await;
            reply.header("location").clone_into(&mut location);
        }
        let reply = pounce.delete(&location).await;
        assert_eq!((reply.status, reply.body.len()), (204, 0));
        assert_eq!(pounce.open_uploads(), 0);
        for reply in [
            pounce.get(&location).await,
            pounce.delete(&location).await,
            pounce.patch(&location, Bytes::from_static(b"x")).await,
            pounce.close(&location, &digest(&blob), Bytes::new()).await,
        ] {
            assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
        }
        assert!(!pounce.has_blob(&digest(&blob)));
    }
}

#[tokio::test]
async fn any_of_its_states_cancels_an_upload() {
    let pounce = Pounce::with(&[]).await;
    let first = pounce.begin("a/b").await;
    let second = pounce.patch(&first, noise(1, 12 * MIB)).await;
    let second = second.header("location").to_owned();
    assert_eq!(pounce.open_uploads(), 1);
    assert_eq!(pounce.delete(&first).await.status, 204);
    assert_eq!(pounce.open_uploads(), 0);
    let digest = digest(&noise(1, 12 * MIB));
    let reply = pounce.close(&second, &digest, Bytes::new()).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn a_put_that_fails_leaves_nothing_of_what_it_began() {
    let pounce = Pounce::with(&[]).await;
    let few = pounce.patch(&pounce.begin("a/b").await, noise(1, 1000)).await;
    let reply = pounce.close(few.header("location"), &digest(b"other"), noise(2, 30 * MIB)).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    pounce.until("nothing is left", |it| it.scratch().is_empty()).await;
}

/// A chunked body arrives in many small pieces; they must not take more memory than their bytes.
#[tokio::test]
async fn a_body_of_single_bytes_is_a_body() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 20_000);
    let pieces = blob.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
    let request = pounce.request("PATCH", &pounce.begin("a/b").await);
    let body = crate::support::requests::streamed(pieces);
    let reply = pounce.send(request.body(body)).await;
    let reply = pounce.close(reply.header("location"), &digest(&blob), Bytes::new()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
}

/// More clients than permits and memory for them: all succeed in the end.
#[tokio::test(flavor = "multi_thread")]
async fn forty_pushes_at_once_all_succeed() {
    let pounce = Pounce::with(&[]).await;
    let push = |seed| pounce.push("a/b", noise(seed, 11 * MIB));
    let pushed = futures_util::future::join_all((0..40).map(push)).await;
    for (seed, digest) in (0..40).zip(pushed) {
        assert_eq!(pounce.pull("a/b", &digest).await, noise(seed, 11 * MIB));
    }
    pounce.until("nothing is left", |it| it.scratch().is_empty()).await;
}

#[tokio::test]
async fn a_second_put_is_201_again_if_the_blob_is_there() {
    let pounce = Pounce::with(&[]).await;
    for (seed, size) in [(1, 1000), (2, 12 * MIB)] {
        let blob = noise(seed, size);
        let digest = digest(&blob);
        let reply = pounce.patch(&pounce.begin("a/b").await, blob.clone()).await;
        let location = reply.header("location").to_owned();
        for _ in 0..3 {
            let reply = pounce.close(&location, &digest, Bytes::new()).await;
            assert_eq!(reply.status, 201, "{reply:?}");
        }
        pounce.until("nothing is left", |it| it.scratch().is_empty()).await;
        let reply = pounce.close(&location, &digest, Bytes::new()).await;
        assert_eq!(reply.status, 201);
        // The upload is over, so it takes no more bytes and no other digest.
        let more = pounce.patch(&location, noise(3, 6 * MIB)).await;
        assert_eq!((more.status, more.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
        let other = crate::support::image::digest(b"other");
        let reply = pounce.close(&location, &other, Bytes::new()).await;
        assert!([400, 404].contains(&reply.status), "{reply:?}");
        // After the blob's deletion, a repeated PUT does not bring it back.
        pounce.delete(&format!("/v2/a/b/blobs/{digest}")).await;
        let reply = pounce.close(&location, &digest, Bytes::new()).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    }
}

#[tokio::test]
async fn a_state_is_good_for_its_own_upload_only() {
    let pounce = Pounce::with(&[]).await;
    let first = pounce.patch(&pounce.begin("a/b").await, noise(1, 1000)).await;
    let first = first.header("location").to_owned();
    let second = pounce.begin("a/b").await;
    let (path, state) = first.split_once("?_state=").unwrap();
    let (other_path, _) = second.split_once("?_state=").unwrap();
    let mut forged = state.to_owned();
    let flipped = if forged.pop() == Some('A') { 'B' } else { 'A' };
    forged.push(flipped);
    let mut early = state.to_owned();
    early.replace_range(3..4, if &state[3..4] == "x" { "y" } else { "x" });
    for location in [
        format!("{other_path}?_state={state}"),
        first.replace("/a/b/", "/a/c/"),
        format!("{path}?_state={early}"),
        format!("{path}?_state={}", &state[..state.len() - 5]),
        format!("{path}?_state="),
        format!("{path}?_state=%00%ff"),
        path.to_owned(),
        "/v2/a/b/blobs/uploads/00000000-0000-0000-0000-000000000000".to_owned(),
        "/v2/a/b/blobs/uploads/..".to_owned(),
    ] {
        let digest = digest(&noise(1, 1000));
        for reply in [
            pounce.get(&location).await,
            pounce.delete(&location).await,
            pounce.patch(&location, Bytes::from_static(b"x")).await,
            pounce.close(&location, &digest, Bytes::new()).await,
        ] {
            assert!(reply.status == 404 || location.ends_with(".."), "{location}: {reply:?}");
        }
    }
    // A pounce with another secret rejects the location; one with the same secret accepts it.
    let pounce = pounce.restart(&[("REGISTRY_HTTP_SECRET", "one")]).await;
    assert_eq!(pounce.get(&first).await.status, 404);
    let third = pounce.patch(&pounce.begin("a/b").await, noise(1, 6 * MIB)).await;
    let third = third.header("location").to_owned();
    let pounce = pounce.restart(&[("REGISTRY_HTTP_SECRET", "one")]).await;
    let blob = noise(1, 6 * MIB);
    let reply = pounce.close(&third, &digest(&blob), Bytes::new()).await;
    assert_eq!(reply.status, 201);
    assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
}

/// Two requests race on one state: bytes under a digest always have that digest.
#[tokio::test(flavor = "multi_thread")]
async fn racing_patches_never_commit_bytes_that_were_not_hashed() {
    let pounce = Pounce::with(&[]).await;
    let mut committed = 0;
    for round in 0..30_u64 {
        // Parts, tails, and both.
        let size = [11 * MIB, 1000, 22 * MIB][usize::try_from(round % 3).unwrap()];
        let prefix = noise(round * 10, if round % 2 == 0 { 0 } else { 5 * MIB + 7 });
        let mut location = pounce.begin("a/b").await;
        if !prefix.is_empty() {
            let reply = pounce.patch(&location, prefix.clone()).await;
            reply.header("location").clone_into(&mut location);
        }
        let tails = [noise(round * 10 + 1, size), noise(round * 10 + 2, size)];
        let replies =
            tokio::join!(pounce.patch(&location, tails[0].clone()), pounce.patch(&location, tails[1].clone()));
        let wholes = tails.map(|tail| Bytes::from([prefix.clone(), tail].concat()));
        let [first, second] = [&replies.0, &replies.1].map(|reply| {
            // One request may have ended before the replica looked at the other one.
            assert!([202, 416].contains(&reply.status), "{reply:?}");
            reply.header("location").to_owned()
        });
        let digests = wholes.clone().map(|whole| digest(&whole));
        let closed = tokio::join!(
            pounce.close(&first, &digests[0], Bytes::new()),
            pounce.close(&second, &digests[1], Bytes::new())
        );
        // One request's state with the other one's digest.
        let crossed = pounce.close(&first, &digests[1], Bytes::new()).await;
        assert_ne!(crossed.status, 500);
        for (reply, (whole, digest)) in [closed.0, closed.1].iter().zip(wholes.iter().zip(&digests)) {
            assert!([201, 400, 404].contains(&reply.status), "{reply:?}");
            if reply.status == 201 {
                committed += 1;
                assert!(pounce.pull("a/b", digest).await == *whole, "wrong bytes under {digest}");
            }
        }
    }
    // From a new upload, both requests may begin a multipart upload of their own, so both may win; but some have to
    // win.
    assert!(committed >= 10, "only {committed} of 60 were committed");
    for key in pounce.objects().iter().filter(|key| key.contains("/blobs/")) {
        let bytes = std::fs::read(pounce.root().join(key)).unwrap();
        let hex = digest(&bytes);
        assert!(key.contains(hex.strip_prefix("sha256:").unwrap()), "{key}");
    }
}

#[tokio::test]
async fn a_read_only_registry_refuses_every_write() {
    let pounce = Pounce::with(&[]).await;
    let digest = pounce.push("a/b", noise(1, 1000)).await;
    let upload = pounce.begin("a/b").await;
    let pounce = pounce
        .restart(&[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true"), ("REGISTRY_HTTP_SECRET", "x")])
        .await;
    for (method, path) in [
        ("POST", "/v2/a/b/blobs/uploads/"),
        ("POST", &format!("/v2/a/c/blobs/uploads/?mount={digest}")),
        ("POST", &closing("/v2/a/b/blobs/uploads/", &digest)),
        ("PATCH", upload.as_str()),
        ("PUT", &closing(&upload, &digest)),
        ("DELETE", upload.as_str()),
        ("PUT", "/v2/a/b/manifests/v1"),
        ("DELETE", "/v2/a/b/manifests/v1"),
        ("DELETE", &format!("/v2/a/b/blobs/{digest}")),
    ] {
        let reply = pounce.send(pounce.request(method, path)).await;
        assert_eq!((reply.status, reply.code().as_str()), (405, "UNSUPPORTED"), "{method} {path}");
    }
    assert_eq!(pounce.pull("a/b", &digest).await.len(), 1000);
}
