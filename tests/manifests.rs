//! Pushing manifests (spec, "Pushing Manifests"): end-7a and end-7b, and pushing beside pull-through.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

fn index(manifests: &[&Image]) -> Bytes {
    let listed: Vec<_> = manifests.iter().map(|image| descriptor(OCI_MANIFEST, &image.manifest)).collect();
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": listed});
    index.to_string().into()
}

#[tokio::test]
async fn end_7a_a_manifest_is_kept_byte_for_byte() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[1000, 0]);
    for blob in &image.blobs {
        pounce.push("a/b", blob.clone()).await;
    }
    // Spaces and unknown fields are part of the manifest.
    let mut text = String::from_utf8(image.manifest.to_vec()).unwrap();
    text.insert_str(1, " \"x\": [[{\"y\": 1}]], ");
    let bytes = Bytes::from(text);
    for reference in ["v1".to_owned(), digest(&bytes), "v2".to_owned()] {
        let reply = pounce.put_manifest("a/b", &reference, OCI_MANIFEST, bytes.clone()).await;
        assert_eq!((reply.status, reply.header("docker-content-digest")), (201, digest(&bytes).as_str()), "{reply:?}");
        assert!(!reply.headers.contains_key("oci-subject"));
        let location = reply.header("location").to_owned();
        assert_eq!(location, format!("/v2/a/b/manifests/{}", digest(&bytes)));
        for path in [location, format!("/v2/a/b/manifests/{reference}")] {
            let pulled = pounce.get(&path).await;
            assert_eq!((pulled.status, &pulled.body), (200, &bytes));
            assert_eq!(pulled.header("content-type"), OCI_MANIFEST);
        }
    }
    // After a restart, pounce reads it from the bucket.
    let pounce = pounce.restart(&[]).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/v2").await.body, bytes);
    assert_eq!(pounce.pull("a/b", &digest(image.layer())).await, image.layer());
}

#[tokio::test]
async fn end_7a_an_index_of_manifests_and_a_docker_manifest() {
    let pounce = Pounce::with(&[]).await;
    let images = [Image::new(1, &[10]), Image::new(2, &[20])];
    let bytes = index(&[&images[0], &images[1]]);
    let early = pounce.put_manifest("a/b", "all", OCI_INDEX, bytes.clone()).await;
    assert_eq!((early.status, early.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    for image in &images {
        pounce.push_image("a/b", &image.digest(), image).await;
    }
    let reply = pounce.put_manifest("a/b", "all", OCI_INDEX, bytes.clone()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let outer = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor(OCI_INDEX, &bytes)]});
    let reply = pounce.put_manifest("a/b", "outer", OCI_INDEX, outer.to_string());
    assert_eq!(reply.await.status, 201);
    // Another repository has none of the images.
    let reply = pounce.put_manifest("c/d", "all", OCI_INDEX, bytes).await;
    assert_eq!(reply.code(), "MANIFEST_BLOB_UNKNOWN");

    let text = String::from_utf8(images[0].manifest.to_vec()).unwrap();
    let docker = text.replace(OCI_MANIFEST, DOCKER);
    let reply = pounce.put_manifest("a/b", "docker", DOCKER, docker.clone()).await;
    assert_eq!(reply.status, 201);
    let pulled = pounce.get("/v2/a/b/manifests/docker").await;
    assert_eq!((pulled.header("content-type"), &pulled.body), (DOCKER, &Bytes::from(docker)));
}

#[tokio::test]
async fn end_7b_a_manifest_gets_all_of_its_tags() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "first", &image).await;
    let tags: Vec<String> = (0..12).map(|tag| format!("t{tag}")).collect();
    let reference = format!("{}?tag={}", image.digest(), tags.join("&tag="));
    let manifest = image.manifest.clone();
    let reply = pounce.put_manifest("a/b", &reference, OCI_MANIFEST, manifest.clone());
    let reply = reply.await;
    assert_eq!(reply.status, 201);
    let told = reply.headers.get_all("oci-tag").iter();
    let told: Vec<_> = told.flat_map(|value| value.to_str().unwrap().split(", ")).collect();
    assert_eq!(told, tags);
    for tag in &tags {
        let pulled = pounce.get(&format!("/v2/a/b/manifests/{tag}")).await;
        assert_eq!(pulled.body, manifest);
    }
    let reference = format!("{}?{}", image.digest(), "tag=x&".repeat(101));
    let reply = pounce.put_manifest("a/b", &reference, OCI_MANIFEST, manifest).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "TAG_INVALID"));
}

#[tokio::test]
async fn what_a_manifest_names_must_be_there_and_all_that_is_missing_is_told() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[10, 20, 30]);
    // A blob of another repository does not count.
    pounce.push_image("c/d", "v1", &image).await;
    pounce.push("a/b", image.blobs[1].clone()).await;
    let reply = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, image.manifest.clone()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let mut missing: Vec<_> = body["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["detail"]["digest"].as_str().unwrap().to_owned())
        .collect();
    let mut expected = [0, 2, 3].map(|blob| digest(&image.blobs[blob]));
    missing.sort();
    expected.sort();
    assert_eq!(missing, expected);
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.status, 404);

    // A client fetches non-distributable layers elsewhere; a subject may come later.
    let config = pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let foreign = "application/vnd.oci.image.layer.nondistributable.v1.tar";
    let text = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2},
        "layers": [descriptor(foreign, b"elsewhere")],
        "subject": descriptor(OCI_MANIFEST, b"not yet")});
    let reply = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, text.to_string()).await;
    assert_eq!((reply.status, reply.header("oci-subject")), (201, digest(b"not yet").as_str()));
}

#[tokio::test]
async fn manifests_that_are_none_are_refused() {
    let pounce = Pounce::with(&[]).await;
    let image = Image::new(1, &[10]);
    pounce.push_image("a/b", "v1", &image).await;
    let text = String::from_utf8(image.manifest.to_vec()).unwrap();
    let with = |field: &str| text.replacen('{', &format!("{{{field},"), 1).into_bytes();
    let deep = |levels: usize| format!("\"x\":{}1{}", "[".repeat(levels), "]".repeat(levels));
    let mut latin = with("\"x\":\"?\"");
    let at = latin.iter().position(|b| *b == b'?').unwrap();
    latin[at] = 0xff;
    let cases = [
        (Vec::new(), OCI_MANIFEST, "MANIFEST_INVALID"),
        (b"not json".to_vec(), OCI_MANIFEST, "MANIFEST_INVALID"),
        (b"[]".to_vec(), OCI_MANIFEST, "MANIFEST_INVALID"),
        (b"{}".to_vec(), OCI_MANIFEST, "MANIFEST_INVALID"),
        (text.clone().into_bytes(), OCI_INDEX, "MANIFEST_INVALID"),
        (text.clone().into_bytes(), DOCKER, "MANIFEST_INVALID"),
        (text.clone().into_bytes(), "application/json", "MANIFEST_INVALID"),
        (text.clone().into_bytes(), "nonsense", "MANIFEST_INVALID"),
        (latin, OCI_MANIFEST, "MANIFEST_INVALID"),
        (with("\"schemaVersion\":2"), OCI_MANIFEST, "MANIFEST_INVALID"),
        (with("\"manifests\":[]"), OCI_MANIFEST, "MANIFEST_INVALID"),
        (with(&deep(100_000)), OCI_MANIFEST, "MANIFEST_INVALID"),
        (with(&deep(100)), OCI_MANIFEST, "MANIFEST_INVALID"),
        (with("\"annotations\":{\"x\":[]}"), OCI_MANIFEST, "MANIFEST_INVALID"),
    ];
    for (bytes, media_type, code) in cases {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let reply = pounce.put_manifest("a/b", "v2", media_type, bytes).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{shown}: {reply:?}");
    }
    let bytes = with(&deep(60));
    let reply = pounce.put_manifest("a/b", "deep", OCI_MANIFEST, bytes).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let reply = pounce.put_manifest("a/b", &digest(b"other"), OCI_MANIFEST, text.clone()).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "DIGEST_INVALID"));
    let large = [text.as_bytes(), &vec![b' '; 4 << 20]].concat();
    let reply = pounce.put_manifest("a/b", "v2", OCI_MANIFEST, large).await;
    assert_eq!((reply.status, reply.code().as_str()), (413, "SIZE_INVALID"));
    let full = [text.as_bytes(), &vec![b' '; (4 << 20) - text.len()]].concat();
    assert_eq!(pounce.put_manifest("a/b", "full", OCI_MANIFEST, full).await.status, 201);
    assert_eq!(pounce.get("/v2/a/b/manifests/v2").await.status, 404);
}

#[tokio::test]
async fn five_thousand_layers_are_looked_for() {
    let pounce = Pounce::with(&[]).await;
    let config = pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let manifest = |layers: Vec<Value>| {
        json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {"mediaType": "a/b", "digest": config, "size": 2}, "layers": layers})
        .to_string()
    };
    let many = (0..5000_u32).map(|layer| descriptor("a/l", &layer.to_be_bytes()));
    let reply = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, manifest(many.collect())).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    // Sixteen errors are enough to see the mistake.
    assert_eq!(body["errors"].as_array().unwrap().len(), 16);
    let same = vec![descriptor("a/l", b"{}"); 5000];
    let reply = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, manifest(same)).await;
    assert_eq!(reply.status, 201);
}

#[tokio::test]
async fn what_was_pushed_is_never_looked_up_upstream() {
    let upstream = Upstream::start().await;
    let (theirs, ours) = (Image::new(1, &[100]), Image::new(2, &[200]));
    upstream.add("a/b", "v1", &theirs);
    upstream.add("a/b", "theirs", &theirs);
    let pounce = Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "0s")]).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.body, theirs.manifest);
    // The push replaces a tag that was pulled through.
    pounce.push_image("a/b", "v1", &ours).await;
    for restart in [false, true] {
        upstream.forget();
        assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.body, ours.manifest);
        let by_digest = format!("/v2/a/b/manifests/{}", ours.digest());
        assert_eq!(pounce.get(&by_digest).await.body, ours.manifest);
        for blob in &ours.blobs {
            assert_eq!(pounce.pull("a/b", &digest(blob)).await, blob);
        }
        assert_eq!(upstream.requests(), 0, "{:?} {restart}", upstream.seen());
    }
    // Other tags of the same repository still come from upstream.
    assert_eq!(pounce.get("/v2/a/b/manifests/theirs").await.body, theirs.manifest);
    assert_eq!(pounce.pull("a/b", &digest(theirs.layer())).await, theirs.layer());
}

#[tokio::test]
async fn a_pushed_manifest_may_name_what_only_the_upstream_has() {
    let upstream = Upstream::start().await;
    let base = Image::new(1, &[100_000]);
    upstream.add("a/b", "base", &base);
    let pounce = Pounce::before(&upstream).await;
    let config = pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let layer = digest(base.layer());
    // A client with this answer does not push the layer.
    assert_eq!(pounce.head(&format!("/v2/a/b/blobs/{layer}")).await.status, 200);
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "a/b", "digest": config, "size": 2},
        "layers": [descriptor("a/l", base.layer())]});
    let reply = pounce.put_manifest("a/b", "v1", OCI_MANIFEST, manifest.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    pounce.until_stored(&layer).await;
    upstream.behave(Manners { status: Some(503), ..Manners::default() });
    assert_eq!(pounce.pull("a/b", &layer).await, base.layer());
}
