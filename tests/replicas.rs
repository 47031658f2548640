//! Several replicas on one bucket, over the wire: any of them takes any request.

use bytes::Bytes;

use crate::support::faults::{Fault, Faulty};
use crate::support::image::{OCI_MANIFEST, digest, noise};
use crate::support::requests::closing;
use crate::support::{Image, Pounce, Upstream, borrowed};

const MIB: usize = 1 << 20;

/// A bucket, and three replicas on it; with `tigris` the store renames, else it copies.
async fn three(tigris: &str) -> (Pounce, Vec<Pounce>) {
    let bucket = Pounce::with(&[]).await;
    let s3 = bucket.as_s3();
    let mut variables = borrowed(&s3);
    variables.push(("REGISTRY_HTTP_SECRET", "shared"));
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", tigris));
    variables.push(("REGISTRY_STORAGE_S3_MULTIPARTCOPYTHRESHOLDSIZE", "5242880"));
    variables.push(("REGISTRY_STORAGE_S3_MULTIPARTCOPYCHUNKSIZE", "5242880"));
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Pounce::with(&variables).await);
    }
    (bucket, replicas)
}

/// A client did not get the answer to its first PATCH, and repeats it at another replica.
#[tokio::test]
async fn a_first_chunk_that_comes_again_leaves_one_tail() {
    let (bucket, replicas) = three("false").await;
    let blob = noise(1, 1000);
    let begun = replicas[0].begin("a/b").await;
    let first = replicas[0].patch(&begun, blob.clone()).await;
    assert_eq!(first.status, 202, "{first:?}");
    // Buckets date objects by the second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    for bytes in [blob.clone(), noise(2, 1000), noise(3, 500), noise(4, 5000)] {
        let again = replicas[1].patch(&begun, bytes).await;
        assert_eq!((again.status, again.header("range")), (416, "0-999"), "{again:?}");
        assert_eq!(bucket.scratch().len(), 1);
        let location = again.header("location").to_owned();
        let status = replicas[2].get(&location).await;
        assert_eq!((status.status, status.header("range")), (204, "0-999"));
    }
    // At a location from before, the upload goes on where the first chunk ended.
    let status = replicas[2].get(&begun).await;
    let closed = replicas[1].close(status.header("location"), &digest(&blob), Bytes::new()).await;
    assert_eq!(closed.status, 201, "{closed:?}");

    // After a cancellation, a first chunk stores nothing.
    let begun = replicas[0].begin("a/b").await;
    assert_eq!(replicas[1].delete(&begun).await.status, 204);
    let refused = replicas[2].patch(&begun, blob).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    bucket
        .until("only the cancellation is left", |it| it.scratch().iter().all(|key| key.ends_with("/cancelled")))
        .await;
}

#[tokio::test]
async fn an_upload_visits_three_replicas() {
    for tigris in ["true", "false"] {
        let (bucket, replicas) = three(tigris).await;
        let sizes = [3 * MIB, 12 * MIB, 1, 6 * MIB];
        let blob = noise(1, sizes.iter().sum());
        let mut location = replicas[0].begin("a/b").await;
        let mut at = 0;
        for (index, size) in sizes.iter().enumerate() {
            let replica = &replicas[(index + 1) % 3];
            let chunk = replica.chunk(&location, at, blob.slice(at..at + size));
            let reply = replica.send(chunk).await;
            assert_eq!(reply.status, 202, "{reply:?}");
            reply.header("location").clone_into(&mut location);
            at += size;
            let status = replicas[index % 3].get(&location).await;
            assert_eq!(status.header("range"), format!("0-{}", at - 1));
        }
        let reply = replicas[2].close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        for replica in &replicas {
            assert_eq!(replica.pull("a/b", &digest(&blob)).await, blob);
        }
        bucket.until("nothing is left of it", |it| it.scratch().is_empty()).await;
        // One replica's end of the upload holds for all.
        let again = replicas[0].close(&location, &digest(&blob), Bytes::new()).await;
        assert_eq!(again.status, 201);
        assert_eq!(replicas[1].get(&location).await.status, 404);

        let small = replicas[0].patch(&replicas[1].begin("a/b").await, noise(2, 100)).await;
        let small = small.header("location").to_owned();
        assert_eq!(replicas[2].delete(&small).await.status, 204);
        assert_eq!(replicas[0].get(&small).await.status, 404);
    }
}

#[tokio::test]
async fn without_a_shared_secret_an_upload_stays_with_its_replica() {
    let (bucket, replicas) = three("true").await;
    let stranger = Pounce::with(&borrowed(&bucket.as_s3())).await;
    let location = replicas[0].begin("a/b").await;
    let put = stranger.request("PUT", &closing(&location, &digest(b"x")));
    let reply = stranger.send(put.body("x")).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
}

#[tokio::test]
async fn what_one_replica_takes_all_of_them_have() {
    let (_bucket, replicas) = three("true").await;
    let (old, new) = (Image::new(1, &[1000]), Image::new(2, &[1000]));
    replicas[0].push_image("a/b", "v1", &old).await;
    for replica in &replicas {
        assert_eq!(replica.get("/v2/a/b/manifests/v1").await.body, old.manifest);
        let catalog = replica.get("/v2/_catalog").await;
        assert_eq!(&catalog.body[..], br#"{"repositories":["a/b"]}"#);
    }
    // A replica caches a tag for proxy.tagttl, but finds the new manifest's digest at once.
    replicas[1].push_image("a/b", "v1", &new).await;
    assert_eq!(replicas[1].get("/v2/a/b/manifests/v1").await.body, new.manifest);
    let by_digest = format!("/v2/a/b/manifests/{}", new.digest());
    assert_eq!(replicas[2].get(&by_digest).await.body, new.manifest);
    for blob in &new.blobs {
        assert_eq!(replicas[2].pull("a/b", &digest(blob)).await, blob);
    }
    // The manifest goes to another replica than its blobs.
    let third = Image::new(3, &[1000]);
    for blob in &third.blobs {
        replicas[0].push("a/b", blob.clone()).await;
    }
    let reply = replicas[1].put_manifest("a/b", "v3", OCI_MANIFEST, third.manifest.clone()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(replicas[2].get("/v2/a/b/manifests/v3").await.body, third.manifest);
}

#[tokio::test]
async fn replicas_share_a_bucket_over_the_wire() {
    let bucket = Pounce::with(&[]).await;
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[11 << 20]);
    upstream.add("a", "v1", &image);
    let url = upstream.url();
    let s3 = bucket.as_s3();
    let mut variables = borrowed(&s3);
    variables.extend([("REGISTRY_PROXY_REMOTEURL", url.as_str()), ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "/some/root")]);
    let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    let path = format!("/v2/a/blobs/{}", digest(image.layer()));
    assert_eq!(one.get("/v2/a/manifests/v1").await.body, image.manifest);
    assert!(one.get(&path).await.body == image.layer());
    let hex = digest(image.layer()).strip_prefix("sha256:").unwrap().to_owned();
    let link = format!("some/root/docker/registry/v2/repositories/a/_layers/sha256/{hex}/link");
    let tag = "some/root/docker/registry/v2/repositories/a/_manifests/tags/v1/current/link";
    // The link appears before the blob.
    let blob = format!("some/root/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    let all = [link.as_str(), tag, blob.as_str()];
    bucket.until("all is stored", |it| all.iter().all(|path| it.root().join(path).is_file())).await;
    upstream.forget();
    assert_eq!(two.get("/v2/a/manifests/v1").await.body, image.manifest);
    let reply = two.get(&path).await;
    assert!(reply.header("location").starts_with(&bucket.url("/pounce/some/root/")), "{reply:?}");
    assert!(two.follow(&reply).await.body == image.layer());
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn what_another_state_completed_is_not_stored_in_part() {
    for tigris in ["true", "false"] {
        let (bucket, replicas) = three(tigris).await;
        let blob = noise(1, 40 * MIB);
        let path = "/v2/a/b/blobs/uploads/?digest-algorithm=sha512";
        let begun = replicas[0].send(replicas[0].request("POST", path)).await;
        let first = replicas[0].patch(begun.header("location"), blob.slice(..12 * MIB)).await;
        let second = replicas[0].patch(first.header("location"), blob.slice(12 * MIB..)).await;
        // The digest's algorithm is not the upload's, so the replica completes the upload before it reads it. The
        // digest is wrong, and the client does not wait for the answer.
        let wrong = digest(b"wrong");
        let closing = replicas[1].close(second.header("location"), &wrong, Bytes::new());
        let _ = tokio::time::timeout(std::time::Duration::from_millis(30), closing).await;
        // The earlier location, with the digest of the whole blob: if it is stored, it is stored whole.
        let reply = replicas[2].close(first.header("location"), &digest(&blob), Bytes::new()).await;
        assert!([201, 400, 404].contains(&reply.status), "{reply:?}");
        assert_eq!(bucket.has_blob(&digest(&blob)), reply.status == 201);
        if reply.status == 201 {
            assert_eq!(replicas[0].pull("a/b", &digest(&blob)).await, blob);
        }
        bucket.until("nothing is left of it", |it| it.scratch().is_empty()).await;
    }
}

#[tokio::test]
async fn a_push_is_not_acknowledged_on_the_word_of_memory() {
    let (bucket, replicas) = three("true").await;
    let image = Image::new(1, &[1000]);
    replicas[0].push_image("a/b", "v1", &image).await;
    // One replica caches that the repository has the layer, while another one deletes it.
    let layer = format!("/v2/a/b/blobs/{}", digest(image.layer()));
    replicas[1].get("/v2/a/b/manifests/v1").await;
    assert_eq!(replicas[1].head(&layer).await.status, 200);
    assert_eq!(replicas[2].delete(&layer).await.status, 202);
    let manifest = image.manifest.clone();
    let reply = replicas[1].put_manifest("a/b", "v2", OCI_MANIFEST, manifest.clone());
    assert_eq!(reply.await.code(), "MANIFEST_BLOB_UNKNOWN");
    let mount = format!("/v2/c/d/blobs/uploads/?mount={}&from=a/b", digest(image.layer()));
    let mounted = replicas[1].send(replicas[1].request("POST", &mount)).await;
    assert_eq!(mounted.status, 202);
    // As a garbage collector does.
    std::fs::remove_dir_all(bucket.root().join("docker/registry/v2/blobs")).unwrap();
    let reply = replicas[0].put_manifest("a/b", "v3", OCI_MANIFEST, manifest);
    assert_eq!(reply.await.code(), "MANIFEST_BLOB_UNKNOWN");
    let pushed = replicas[0].push("a/b", image.layer().clone()).await;
    assert_eq!(replicas[1].pull("a/b", &pushed).await, image.layer());
}

#[tokio::test]
async fn a_tag_pushed_to_one_replica_is_at_once_with_those_that_missed_it() {
    let upstream = Upstream::start().await;
    upstream.add("a/b", "theirs", &Image::new(9, &[10]));
    let bucket = Pounce::with(&[]).await;
    let (s3, url) = (bucket.as_s3(), upstream.url());
    let mut variables = borrowed(&s3);
    variables.push(("REGISTRY_PROXY_REMOTEURL", &url));
    let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    assert_eq!(two.get("/v2/a/b/manifests/ours").await.status, 404);
    let image = Image::new(1, &[10]);
    one.push_image("a/b", "ours", &image).await;
    assert_eq!(two.get("/v2/a/b/manifests/ours").await.body, image.manifest);
}

#[tokio::test]
async fn a_delete_does_not_take_a_tag_that_another_replica_moves_meanwhile() {
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let deletes = ("REGISTRY_STORAGE_DELETE_ENABLED", "true".to_owned());
    let start = |mut variables: Vec<(&'static str, String)>| {
        variables.push(deletes.clone());
        async move { Pounce::with(&borrowed(&variables)).await }
    };
    let (one, two) = (start(bucket.as_s3_behind(front.addr)).await, start(bucket.as_s3()).await);
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    one.push_image("a/b", "v1", &old).await;
    // The replica has read the tag as the old image's, and its delete is held.
    let held = front.hold("DeleteObject");
    let delete = one.request("DELETE", &format!("/v2/a/b/manifests/{}", old.digest()));
    let delete = tokio::spawn(delete.send());
    held.came().await;
    two.push_image("a/b", "v1", &new).await;
    held.release();
    assert_eq!(delete.await.unwrap().unwrap().status(), 202);
    let fresh = start(bucket.as_s3()).await;
    let gone = format!("/v2/a/b/manifests/{}", old.digest());
    for replica in [&fresh, &one, &two] {
        let tagged = replica.get("/v2/a/b/manifests/v1").await;
        assert_eq!(tagged.body, new.manifest);
    }
    assert_eq!(fresh.get(&gone).await.status, 404);
    assert_eq!(one.get(&gone).await.status, 404);

    // The store's answer to the tag's deletion (the marker's comes first) is lost, so the retry finds nothing.
    front.inject_at(Fault::LostAnswer, "DeleteObject", 1);
    let delete = one.request("DELETE", &format!("/v2/a/b/manifests/{}", new.digest()));
    assert_eq!(one.send(delete).await.status, 202);
    assert_eq!(front.take(), [(Fault::LostAnswer, 1)].into());
    assert_eq!(one.get("/v2/a/b/manifests/v1").await.status, 404);
}

#[tokio::test]
async fn a_tag_whose_manifest_another_replica_deleted_is_looked_up_again() {
    let (_bucket, replicas) = three("true").await;
    let (one, two) = (&replicas[0], &replicas[1]);
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    for (number, method) in ["GET", "HEAD", "GET", "HEAD"].into_iter().enumerate() {
        let name = format!("a/b{number}");
        let path = |reference: &str| format!("/v2/{name}/manifests/{reference}");
        let (tag, gone) = (path("v1"), path(&old.digest()));
        // This replica caches the tag for a minute.
        one.push_image(&name, "v1", &old).await;
        assert_eq!(one.get(&tag).await.body, old.manifest);
        if number < 2 {
            assert_eq!(two.delete(&gone).await.status, 202);
            assert_eq!(one.delete(&gone).await.code(), "MANIFEST_UNKNOWN");
        } else {
            assert_eq!(two.delete(&tag).await.status, 202);
            assert_eq!(one.delete(&gone).await.status, 202);
        }
        assert_eq!(one.get(&gone).await.status, 404);
        two.push_image(&name, "v1", &new).await;
        let reply = one.send(one.request(method, &tag)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert_eq!(reply.header("docker-content-digest"), new.digest());
        // A deleted tag is gone at this replica, too.
        assert_eq!(two.delete(&path(&new.digest())).await.status, 202);
        assert_eq!(one.delete(&path(&new.digest())).await.status, 404);
        assert_eq!(one.send(one.request(method, &tag)).await.status, 404);
    }
}

#[tokio::test]
async fn a_delete_forgets_a_blob_that_another_replica_deleted() {
    let (_bucket, replicas) = three("true").await;
    replicas[0].push("a/b", noise(2, 100)).await;
    let blob = replicas[0].push("a/b", noise(1, 100)).await;
    let path = format!("/v2/a/b/blobs/{blob}");
    // pounce streams the blob because it is young, and this bucket's regions lag.
    assert_eq!(replicas[0].get(&path).await.status, 200);
    assert_eq!(replicas[1].delete(&path).await.status, 202);
    assert_eq!(replicas[0].delete(&path).await.code(), "BLOB_UNKNOWN");
    assert_eq!(replicas[0].get(&path).await.code(), "BLOB_UNKNOWN");
    assert_eq!(replicas[0].head(&path).await.status, 404);
}

#[tokio::test]
async fn a_tag_of_an_upstream_whose_manifest_is_gone_is_asked_for_again() {
    let upstream = Upstream::start().await;
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    upstream.add("a", "v1", &old);
    let bucket = Pounce::with(&[]).await;
    let mut variables = bucket.as_s3();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let one = Pounce::with(&borrowed(&variables)).await;
    assert_eq!(one.get("/v2/a/manifests/v1").await.body, old.manifest);
    one.until_quiet().await;
    // The bucket loses the manifest, and the upstream's tag has moved.
    let revisions = "docker/registry/v2/repositories/a/_manifests/revisions";
    std::fs::remove_dir_all(bucket.root().join(revisions)).unwrap();
    upstream.drop_manifest("a", &old.digest());
    upstream.add("a", "v1", &new);
    // A replica without caches finds a tag in the bucket that was compared a moment ago.
    let two = Pounce::with(&borrowed(&variables)).await;
    for (replica, remembers) in [(&two, false), (&one, true)] {
        if remembers {
            let gone = format!("/v2/a/manifests/{}", old.digest());
            assert_eq!(replica.delete(&gone).await.status, 404);
        }
        let reply = replica.get("/v2/a/manifests/v1").await;
        assert_eq!(reply.body, new.manifest, "{reply:?}");
        replica.until_quiet().await;
    }
}

#[tokio::test]
async fn a_tag_that_was_pushed_anew_is_served_while_the_upstream_is_away() {
    let mut upstream = Upstream::start().await;
    let (old, new) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let bucket = Pounce::with(&[]).await;
    let mut variables = bucket.as_s3();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let one = Pounce::with(&borrowed(&variables)).await;
    let two = Pounce::with(&borrowed(&variables)).await;
    one.push_image("a/b", "v1", &old).await;
    assert_eq!(two.get("/v2/a/b/manifests/v1").await.body, old.manifest);
    let gone = format!("/v2/a/b/manifests/{}", old.digest());
    assert_eq!(one.delete(&gone).await.status, 202);
    assert_eq!(two.delete(&gone).await.status, 404);
    one.push_image("a/b", "v1", &new).await;
    upstream.stop().await;
    assert_eq!(two.get("/v2/a/b/manifests/v1").await.body, new.manifest);
}

#[tokio::test]
async fn what_another_replica_stored_counts_more_than_a_404_that_is_older() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[10]);
    upstream.add("a", "other", &image);
    let bucket = Pounce::with(&[]).await;
    let mut variables = bucket.as_s3();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    variables.push(("REGISTRY_PROXY_TAGTTL", "0".into()));
    let one = Pounce::with(&borrowed(&variables)).await;
    let two = Pounce::with(&borrowed(&variables)).await;
    assert_eq!(two.get("/v2/a/manifests/v1").await.status, 404);
    upstream.add("a", "v1", &image);
    assert_eq!(one.get("/v2/a/manifests/v1").await.status, 200);
    one.until_quiet().await;
    assert_eq!(two.get("/v2/a/manifests/v1").await.status, 200);
}
