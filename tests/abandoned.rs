//! Abandoned uploads: where a client can continue, and how pounce cleans up the rest.

use crate::support::Pounce;
use crate::support::image::{digest, noise};
use crate::support::requests::closing;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_client_that_leaves_half_way_can_go_on() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 20 * MIB);
    let first = pounce.patch(&pounce.begin("a/b").await, blob.slice(..6 * MIB)).await;
    let first = first.header("location").to_owned();
    // A chunk that breaks off: its announced bytes never come.
    let broken = futures_util::stream::iter([Ok(blob.slice(6 * MIB..19 * MIB)), Err(std::io::Error::other("gone"))]);
    let request = pounce.request("PATCH", &first).body(reqwest::Body::wrap_stream(broken));
    assert!(![202, 500].contains(&pounce.send(request).await.status));
    // The offset is unchanged.
    let status = pounce.get(&first).await;
    assert_eq!((status.status, status.header("range")), (204, format!("0-{}", 6 * MIB - 1).as_str()));
    let location = status.header("location").to_owned();
    let reply = pounce.close(&location, &digest(&blob), blob.slice(6 * MIB..)).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
}

#[tokio::test]
async fn a_push_that_breaks_off_leaves_nothing() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 30 * MIB);
    let location = pounce.begin("a/b").await;
    for (method, path) in [
        ("PATCH", location.clone()),
        ("PUT", closing(&location, &digest(&blob))),
        ("POST", closing("/v2/a/b/blobs/uploads/", &digest(&blob))),
    ] {
        let broken = futures_util::stream::iter([Ok(blob.slice(..29 * MIB)), Err(std::io::Error::other("gone"))]);
        let request = pounce.request(method, &path).body(reqwest::Body::wrap_stream(broken));
        assert_ne!(pounce.send(request).await.status, 201);
        pounce.until("the upload is aborted", |it| it.open_uploads() == 0 && it.objects().is_empty()).await;
    }
}

#[tokio::test]
async fn uploads_that_nobody_ends_are_swept() {
    let pounce = Pounce::with(&[]).await;
    pounce.patch(&pounce.begin("a/b").await, noise(1, 1000)).await;
    pounce.patch(&pounce.begin("a/c/d").await, noise(1, 6 * MIB)).await;
    pounce.delete(&pounce.begin("e").await).await;
    // An upload that distribution left.
    let old = pounce.root().join("docker/registry/v2/repositories/f/_uploads/6b3c9a93-af5d-473f-a4cf-9710022185cd");
    std::fs::create_dir_all(&old).unwrap();
    std::fs::write(old.join("startedat"), "2016-01-01T00:00:00Z").unwrap();
    let kept = pounce.push("a/b", noise(2, 1000)).await;
    let purging = "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING";
    let (age, interval, dry_run) =
        (format!("{purging}_AGE"), format!("{purging}_INTERVAL"), format!("{purging}_DRYRUN"));
    let often = [(age.as_str(), "10ms"), (interval.as_str(), "20ms")];

    let pounce = pounce.restart(&[often[0], often[1], (dry_run.as_str(), "true")]).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(pounce.scratch().len(), 4, "{:?}", pounce.scratch());

    let pounce = pounce.restart(&[(age.as_str(), "1h"), often[1]]).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(pounce.scratch().len(), 4, "{:?}", pounce.scratch());

    let pounce = pounce.restart(&often).await;
    pounce.until("everything is swept", |it| it.scratch().is_empty()).await;
    assert_eq!(pounce.pull("a/b", &kept).await.len(), 1000);
}
