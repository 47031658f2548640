//! Mounting blobs of other repositories (end-11).

use crate::push::assert_stored;
use crate::support::Pounce;
use crate::support::image::{digest, noise};

#[tokio::test]
async fn end_11_mounts_what_is_there_and_begins_an_upload_otherwise() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 1000);
    let digest = pounce.push("c/d", blob.clone()).await;
    let mount = |from: &str| {
        let path = format!("/v2/a/b/blobs/uploads/?mount={digest}{from}");
        pounce.send(pounce.request("POST", &path))
    };
    let reply = mount("&from=no/body").await;
    assert_eq!((reply.status, reply.header("range")), (202, "0-0"));
    assert!(reply.header("location").contains("/blobs/uploads/"));
    assert_eq!(pounce.get(&format!("/v2/a/b/blobs/{digest}")).await.status, 404);

    let reply = mount("&from=c/d").await;
    assert_stored(&pounce, &reply, &digest, &blob).await;
    pounce.delete(&format!("/v2/a/b/blobs/{digest}")).await;
    // Without `from`, from any repository.
    let reply = mount("").await;
    assert_stored(&pounce, &reply, &digest, &blob).await;

    let unknown = crate::support::image::digest(b"nobody has it");
    let path = format!("/v2/a/b/blobs/uploads/?mount={unknown}&from=c/d");
    assert_eq!(pounce.send(pounce.request("POST", &path)).await.status, 202);
}

/// "if a registry does not support cross-repository mounting or is unable to mount the requested blob, it SHOULD return
/// a `202`. This indicates that the upload session has begun".
#[tokio::test]
async fn end_11_a_mount_that_cannot_be_begins_an_upload() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 1000);
    let digest = digest(&blob);
    for query in [
        format!("mount={digest}&from=NOT/a/name"),
        format!("mount={digest}&from=a//b"),
        format!("mount={digest}&from={}", "x".repeat(300)),
        "mount=sha256:1234&from=c/d".to_owned(),
        "mount=sha999:1234".to_owned(),
        "mount=%ff&from=%00".to_owned(),
    ] {
        let path = format!("/v2/a/b/blobs/uploads/?{query}");
        let reply = pounce.send(pounce.request("POST", &path)).await;
        assert_eq!(reply.status, 202, "{query}: {reply:?}");
        let location = reply.header("location").to_owned();
        let reply = pounce.close(&location, &digest, blob.clone()).await;
        assert_eq!(reply.status, 201, "{query}: {reply:?}");
    }
}
