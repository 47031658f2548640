//! An upstream's manifests that name blobs that other clients pushed.

use bytes::Bytes;
use serde_json::json;

use crate::support::image::{OCI_MANIFEST, digest, noise};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Reply, Upstream};

/// A manifest that names only this blob.
fn naming(blob: &Bytes) -> String {
    let named = json!({"mediaType": "a/b", "digest": digest(blob), "size": blob.len()});
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": named, "layers": [named, named]}).to_string()
}

/// An upstream whose repository `evil` names a blob that was pushed to `private`; the upstream lacks the blob.
async fn stage() -> (Upstream, Pounce, Bytes) {
    let upstream = Upstream::start().await;
    let secret = noise(77, 5000);
    upstream.add("evil", "other", &Image::new(3, &[10]));
    upstream.add_manifest("evil", "v1", OCI_MANIFEST, naming(&secret));
    let pounce = Pounce::before(&upstream).await;
    pounce.push("private", secret.clone()).await;
    (upstream, pounce, secret)
}

fn blob(name: &str, blob: &Bytes) -> String {
    format!("/v2/{name}/blobs/{}", digest(blob))
}

fn links(pounce: &Pounce, name: &str, blob: &Bytes) -> usize {
    let of = digest(blob).replace(':', "/");
    let link = format!("repositories/{name}/_layers/{of}/link");
    let objects = pounce.objects();
    objects.iter().filter(|key| key.ends_with(&link)).count()
}

async fn assert_closed(pounce: &Pounce, secret: &Bytes) {
    for reference in ["v1", &digest(naming(secret).as_bytes())] {
        let manifest = format!("/v2/evil/manifests/{reference}");
        assert_eq!(pounce.get(&manifest).await.status, 200);
        pounce.until_quiet().await;
        for _ in 0..2 {
            let path = blob("evil", secret);
            assert_eq!(pounce.head(&path).await.status, 404);
            let reply = pounce.get(&path).await;
            assert_eq!((reply.status, reply.code()), (404, "BLOB_UNKNOWN".into()));
            assert_eq!(pounce.range(&path, "bytes=0-9").await.status, 404);
        }
    }
    pounce.until_quiet().await;
    assert_eq!(links(pounce, "evil", secret), 0);
}

#[tokio::test]
async fn what_an_upstreams_manifest_names_is_not_opened_by_it() {
    for prefetch in ["false", "true"] {
        let (upstream, pounce, secret) = stage().await;
        let url = upstream.url();
        let variables = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_PREFETCH", prefetch)];
        let pounce = pounce.restart(&variables).await;
        assert_closed(&pounce, &secret).await;
        // The new process finds the manifest in the bucket.
        let pounce = pounce.restart(&variables).await;
        assert_closed(&pounce, &secret).await;
        assert_eq!(pounce.get(&blob("private", &secret)).await.status, 307);
    }
}

#[tokio::test]
async fn nor_is_it_mounted_or_pushed_by_name() {
    let (_upstream, pounce, secret) = stage().await;
    assert_eq!(pounce.get("/v2/evil/manifests/v1").await.status, 200);
    let mount = format!("/v2/evil2/blobs/uploads/?mount={}&from=evil", digest(&secret));
    let reply = pounce.send(pounce.request("POST", &mount)).await;
    assert_eq!(reply.status, 202);
    let put = pounce.put_manifest("evil", "v2", OCI_MANIFEST, naming(&secret));
    let reply = put.await;
    assert_eq!((reply.status, reply.code()), (400, "MANIFEST_BLOB_UNKNOWN".into()));
    // A client that has the blob can push it, and then the manifest.
    assert_eq!(pounce.head(&blob("evil", &secret)).await.status, 404);
    pounce.push("evil", secret.clone()).await;
    let put = pounce.put_manifest("evil", "v2", OCI_MANIFEST, naming(&secret));
    assert_eq!(put.await.status, 201);
    assert_eq!(pounce.get(&blob("evil", &secret)).await.status, 307);
}

#[tokio::test]
async fn what_the_upstream_has_too_costs_one_head_and_is_remembered() {
    let (upstream, pounce, secret) = stage().await;
    let image =
        Image { manifest: naming(&secret).into(), media_type: OCI_MANIFEST.into(), blobs: vec![secret.clone()] };
    upstream.add("good", "v1", &image);
    let path = blob("good", &secret);
    assert_eq!(pounce.get("/v2/good/manifests/v1").await.status, 200);
    pounce.until_quiet().await;
    for _ in 0..3 {
        assert_eq!(pounce.get(&path).await.status, 307);
        assert_eq!(pounce.head(&path).await.status, 200);
    }
    pounce.until_quiet().await;
    assert_eq!(links(&pounce, "good", &secret), 1);
    assert_eq!(upstream.count("HEAD", &path), 1);
    assert_eq!(upstream.count("GET", &path), 0);
    // The link tells another process while the upstream is away.
    upstream.behave(Manners { status: Some(500), ..Manners::default() });
    let pounce = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]).await;
    assert_eq!(pounce.get(&path).await.status, 307);
}

#[tokio::test]
async fn an_upstream_that_answers_no_heads_is_asked_by_get() {
    let (upstream, pounce, secret) = stage().await;
    let image =
        Image { manifest: naming(&secret).into(), media_type: OCI_MANIFEST.into(), blobs: vec![secret.clone()] };
    upstream.add("good", "v1", &image);
    upstream.behave(Manners { refuses_blob_heads: true, ..Manners::default() });
    for (name, status) in [("good", 307), ("evil", 404)] {
        let manifest = format!("/v2/{name}/manifests/v1");
        assert_eq!(pounce.get(&manifest).await.status, 200);
        assert_eq!(pounce.get(&blob(name, &secret)).await.status, status);
    }
}

#[tokio::test]
async fn an_upstream_that_is_away_grants_nothing_and_denies_nothing() {
    for (status, code) in [(500, 503), (429, 429)] {
        let (upstream, pounce, secret) = stage().await;
        assert_eq!(pounce.get("/v2/evil/manifests/other").await.status, 200);
        upstream.add_manifest("evil", "v3", OCI_MANIFEST, naming(&secret) + " ");
        upstream.behave(Manners { first_blobs_get: None, ..Manners::default() });
        let manifest = pounce.request("HEAD", "/v2/evil/manifests/v3");
        assert_eq!(pounce.send(manifest).await.status, 200);
        pounce.until_quiet().await;
        upstream.behave(Manners { status: Some(status), ..Manners::default() });
        let reply: Reply = pounce.get(&blob("evil", &secret)).await;
        assert_eq!(reply.status, code, "{reply:?}");
    }
}

#[tokio::test]
async fn the_fill_of_another_repository_is_not_joined_by_name() {
    let (upstream, pounce, _) = stage().await;
    let image = Image::new(9, &[300_000]);
    let layer = image.layer().clone();
    upstream.add("team", "v1", &image);
    upstream.add_manifest("evil", "v2", OCI_MANIFEST, naming(&layer));
    upstream.behave(Manners { holds_after: Some(100_000), ..Manners::default() });
    assert_eq!(pounce.get("/v2/evil/manifests/v2").await.status, 200);
    let path = blob("team", &layer);
    let (slow, (first, second)) = tokio::join!(pounce.get(&path), async {
        pounce.until_metric("fills_active", 1).await;
        let first = pounce.get(&blob("evil", &layer)).await.status;
        upstream.release();
        pounce.until_stored(&digest(&layer)).await;
        (first, pounce.get(&blob("evil", &layer)).await.status)
    });
    assert_eq!((slow.body, first, second), (layer.clone(), 404, 404));
    assert_eq!(links(&pounce, "evil", &layer), 0);
    assert_eq!(links(&pounce, "team", &layer), 1);
}
