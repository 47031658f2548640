//! Deleting (spec, "Content Management"): end-9 and end-10.

use crate::support::image::{OCI_MANIFEST, digest, noise};
use crate::support::{Image, Pounce, Upstream};

async fn tags(pounce: &Pounce) -> Vec<String> {
    let reply = pounce.get("/v2/a/b/tags/list").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    serde_json::from_value(body["tags"].clone()).unwrap()
}

#[tokio::test]
async fn end_9_a_tag_is_gone_at_once_and_its_manifest_stays() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[1000]);
    pounce.push_image("a/b", "v1", &image).await;
    pounce.push_image("a/b", "v2", &image).await;
    assert_eq!(tags(&pounce).await, ["v1", "v2"]);
    let reply = pounce.delete("/v2/a/b/manifests/v1").await;
    assert_eq!((reply.status, reply.body.len()), (202, 0));
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.status, 404);
    assert_eq!(pounce.head("/v2/a/b/manifests/v1").await.status, 404);
    assert_eq!(tags(&pounce).await, ["v2"]);
    let by_digest = format!("/v2/a/b/manifests/{}", image.digest());
    for path in ["/v2/a/b/manifests/v2", &by_digest] {
        assert_eq!(pounce.get(path).await.body, image.manifest);
    }
    let left: Vec<_> = pounce.objects().into_iter().filter(|key| key.contains("/tags/v1/")).collect();
    assert!(left.is_empty(), "{left:?}");
    let again = pounce.delete("/v2/a/b/manifests/v1").await;
    assert_eq!((again.status, again.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    pounce.push_image("a/b", "v1", &image).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.status, 200);
}

#[tokio::test]
async fn end_9_a_manifest_takes_its_tags_along() {
    let pounce = Pounce::with(&[]).await;
    let (image, other) = (Image::new(1, &[1000]), Image::new(2, &[1000]));
    for tag in ["v1", "latest"] {
        pounce.push_image("a/b", tag, &image).await;
    }
    pounce.push_image("a/b", "other", &other).await;
    pounce.push_image("c/d", "v1", &image).await;
    let path = format!("/v2/a/b/manifests/{}", image.digest());
    assert_eq!(pounce.delete(&path).await.status, 202);
    for path in [&path, "/v2/a/b/manifests/v1", "/v2/a/b/manifests/latest"] {
        let reply = pounce.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    }
    assert_eq!(tags(&pounce).await, ["other"]);
    // Another repository keeps its own.
    assert_eq!(pounce.get("/v2/c/d/manifests/v1").await.body, image.manifest);
    let pounce = pounce.restart(&[]).await;
    assert_eq!(pounce.get(&path).await.status, 404);
    assert_eq!(pounce.get("/v2/c/d/manifests/v1").await.status, 200);

    let path = format!("/v2/a/b/manifests/{}", other.digest());
    assert_eq!(pounce.delete(&path).await.status, 202);
    assert_eq!(tags(&pounce).await, [""; 0]);
}

#[tokio::test]
async fn end_10_a_blob_is_gone_from_its_repository_only() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[1000]);
    pounce.push_image("a/b", "v1", &image).await;
    pounce.push_image("c/d", "v1", &image).await;
    let digest = digest(image.layer());
    let path = format!("/v2/a/b/blobs/{digest}");
    assert_eq!(pounce.get(&path).await.status, 307);
    assert_eq!(pounce.delete(&path).await.status, 202);
    for reply in [pounce.get(&path).await, pounce.delete(&path).await] {
        assert_eq!((reply.status, reply.code().as_str()), (404, "BLOB_UNKNOWN"));
    }
    assert_eq!(pounce.head(&path).await.status, 404);
    // The manifest that still names the blob does not bring it back either.
    pounce.get("/v2/a/b/manifests/v1").await;
    let pounce = pounce.restart(&[]).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    assert_eq!(pounce.get(&path).await.status, 404);
    assert_eq!(pounce.pull("c/d", &digest).await, image.layer());
    // The manifest cannot be pushed again until the blob is pushed.
    let push = || pounce.put_manifest("a/b", "v2", OCI_MANIFEST, image.manifest.clone());
    assert_eq!(push().await.code(), "MANIFEST_BLOB_UNKNOWN");
    pounce.push("a/b", image.layer().clone()).await;
    assert_eq!(push().await.status, 201);
}

#[tokio::test]
async fn what_is_not_there_cannot_be_deleted() {
    let pounce = Pounce::with(&[]).await;
    pounce.push_image("a/b", "v1", &Image::new(1, &[10])).await;
    let digest = digest(b"unknown");
    for (name, kind, code) in [
        ("a/b", "manifests/v9".to_owned(), "MANIFEST_UNKNOWN"),
        ("a/b", format!("manifests/{digest}"), "MANIFEST_UNKNOWN"),
        ("a/b", format!("blobs/{digest}"), "BLOB_UNKNOWN"),
        ("no/body", "manifests/v1".to_owned(), "NAME_UNKNOWN"),
        ("no/body", format!("blobs/{digest}"), "NAME_UNKNOWN"),
    ] {
        let reply = pounce.delete(&format!("/v2/{name}/{kind}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, code), "{name} {kind}");
    }
    for (path, code) in [
        ("/v2/a/b/manifests/sha256:1", "DIGEST_INVALID"),
        ("/v2/a/b/blobs/latest", "DIGEST_INVALID"),
        ("/v2/A/manifests/v1", "NAME_INVALID"),
    ] {
        let reply = pounce.delete(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{path}");
    }
}

#[tokio::test]
async fn deletes_can_be_turned_off() {
    let pounce = Pounce::with(&[("REGISTRY_STORAGE_DELETE_ENABLED", "false")]).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "v1", &image).await;
    for path in [
        "/v2/a/b/manifests/v1".to_owned(),
        format!("/v2/a/b/manifests/{}", image.digest()),
        format!("/v2/a/b/blobs/{}", digest(image.layer())),
    ] {
        let reply = pounce.delete(&path).await;
        assert_eq!((reply.status, reply.code().as_str()), (405, "UNSUPPORTED"));
        assert_ne!(pounce.get(&path).await.status, 404);
    }
}

#[tokio::test]
async fn what_came_from_upstream_can_be_deleted_and_comes_again() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("a/b", "v1", &image);
    let pounce = Pounce::before(&upstream).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    pounce.until("the tag is stored", |it| it.objects().iter().any(|key| key.ends_with("current/link"))).await;
    assert_eq!(pounce.delete("/v2/a/b/manifests/v1").await.status, 202);
    let gets = upstream.count("GET", "/manifests/v1");
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.body, image.manifest);
    assert_eq!(upstream.count("GET", "/manifests/v1"), gets + 1);
}

#[tokio::test]
async fn a_manifest_of_ten_thousand_tags_is_deleted_with_all_of_them() {
    let pounce = Pounce::with(&[]).await;
    let (image, other) = (Image::new(1, &[10]), Image::new(2, &[10]));
    pounce.push_image("a/b", "v1", &image).await;
    pounce.push_image("a/b", "other", &other).await;
    let tags_root = pounce.root().join("docker/registry/v2/repositories/a/b/_manifests/tags");
    for tag in 0..10_000 {
        let directory = tags_root.join(format!("t{tag}/current"));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("link"), image.digest()).unwrap();
    }
    let pounce = pounce.restart(&[]).await;
    let (mut path, mut pages, mut all) = ("/v2/a/b/tags/list?n=3000".to_owned(), 0, Vec::new());
    loop {
        let reply = pounce.get(&path).await;
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let tags: Vec<String> = serde_json::from_value(body["tags"].clone()).unwrap();
        (pages, all) = (pages + 1, [all, tags].concat());
        let Some(link) = reply.header("link").strip_prefix('<') else {
            break;
        };
        link.split_once('>').unwrap().0.clone_into(&mut path);
    }
    assert_eq!((pages, all.len(), all.is_sorted()), (4, 10_002, true));
    let path = format!("/v2/a/b/manifests/{}", image.digest());
    assert_eq!(pounce.delete(&path).await.status, 202);
    assert_eq!(tags(&pounce).await, ["other"]);
}

/// A client pushes a new `latest` while another one deletes the old one.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_what_a_tag_meant_does_not_delete_what_it_means() {
    let pounce = Pounce::with(&[]).await;
    let images = [Image::new(1, &[10]), Image::new(2, &[10])];
    for image in &images {
        pounce.push_image("a/b", "latest", image).await;
    }
    for round in 0..40 {
        let (old, new) = (&images[round % 2], &images[(round + 1) % 2]);
        pounce.push_image("a/b", "latest", old).await;
        let path = format!("/v2/a/b/manifests/{}", old.digest());
        let push = pounce.put_manifest("a/b", "latest", OCI_MANIFEST, new.manifest.clone());
        let (pushed, deleted) = tokio::join!(push, pounce.delete(&path));
        assert_eq!((pushed.status, deleted.status), (201, 202));
        let pulled = pounce.get("/v2/a/b/manifests/latest").await;
        assert_eq!((pulled.status, &pulled.body), (200, &new.manifest), "{round}");
    }
}

/// Clients ask for a blob during its deletion; no replica may cache it as present.
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_asked_for_while_it_is_deleted_is_gone_afterwards() {
    let pounce = Pounce::with(&[]).await;
    for seed in 0..40 {
        let digest = pounce.push("a/b", noise(seed, 100)).await;
        let path = format!("/v2/a/b/blobs/{digest}");
        // Restore the link, so that the caches know nothing of it.
        let key = format!("_layers/sha256/{}/link", digest.strip_prefix("sha256:").unwrap());
        let link = pounce.root().join("docker/registry/v2/repositories/a/b").join(key);
        pounce.delete(&path).await;
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::fs::write(&link, &digest).unwrap();
        let heads = futures_util::future::join_all((0..6).map(|_| pounce.head(&path)));
        let (_, deleted) = tokio::join!(heads, pounce.delete(&path));
        assert_eq!(deleted.status, 202);
        assert_eq!(pounce.head(&path).await.status, 404);
    }
}
