//! Indexes that are not simply lists of images: a build's cache, an index of which only some images are there, and an
//! index that an old client asks for without accepting indexes.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::front::Front;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest, noise};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Reply, Upstream, borrowed};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

fn entry(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn index(entries: &[Value]) -> Bytes {
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
    index.to_string().into()
}

/// `BuildKit`'s cache export: an index of layers and a config.
fn cache(seed: u64) -> Image {
    let (layer, config) = (noise(seed, 5000), noise(seed + 1, 200));
    Image {
        manifest: index(&[entry(LAYER, &layer), entry(CONFIG, &config)]),
        media_type: OCI_INDEX.to_owned(),
        blobs: vec![layer, config],
    }
}

/// An index of linux images, one for each of these processors.
fn multi(media_type: &str, images: &[(&Image, &str)]) -> Bytes {
    let entries = images.iter().map(|(image, architecture)| {
        let mut entry = entry(&image.media_type, &image.manifest);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    });
    let entries: Vec<Value> = entries.collect();
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries});
    index.to_string().into()
}

async fn before(upstream: &Upstream, more: &[(&str, &str)]) -> Pounce {
    let url = upstream.url();
    let mut variables = vec![("REGISTRY_PROXY_REMOTEURL", url.as_str())];
    variables.extend(more);
    Pounce::with(&variables).await
}

#[tokio::test]
async fn the_entries_of_an_index_may_be_blobs() {
    let upstream = Upstream::start().await;
    for pounce in [Pounce::with(&[]).await, before(&upstream, &[]).await] {
        let cache = cache(1);
        pounce.push_image("a/b", "buildcache", &cache).await;
        let reply = pounce.get("/v2/a/b/manifests/buildcache").await;
        assert_eq!((reply.status, &reply.body), (200, &cache.manifest));
        // The declared media type does not matter.
        let misnamed = index(&[entry(OCI_MANIFEST, &cache.blobs[0])]);
        let put = pounce.put_manifest("a/b", "misnamed", OCI_INDEX, misnamed).await;
        assert_eq!(put.status, 201, "{put:?}");
        // But the content has to be there, in this repository.
        for media_type in [LAYER, OCI_MANIFEST] {
            let missing = index(&[entry(media_type, b"missing"), entry(media_type, &cache.blobs[0])]);
            let put = pounce.put_manifest("a/b", "v1", OCI_INDEX, missing.clone()).await;
            assert_eq!((put.status, put.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
            let body: Value = serde_json::from_slice(&put.body).unwrap();
            assert_eq!(body["errors"].as_array().unwrap().len(), 1, "{body}");
            assert_eq!(body["errors"][0]["detail"]["digest"], digest(b"missing"));
            let put = pounce.put_manifest("another", "v1", OCI_INDEX, missing).await;
            let body: Value = serde_json::from_slice(&put.body).unwrap();
            assert_eq!(body["errors"].as_array().unwrap().len(), 2, "{body}");
        }
    }
}

#[tokio::test]
async fn a_pushed_index_may_name_blobs_that_only_the_upstream_has() {
    let upstream = Upstream::start().await;
    let cache = cache(1);
    upstream.add("a", "buildcache", &cache);
    let pounce = before(&upstream, &[]).await;
    let other = index(&[entry(LAYER, &cache.blobs[0]), entry(OCI_MANIFEST, &cache.blobs[1])]);
    let put = pounce.put_manifest("a", "other", OCI_INDEX, other).await;
    assert_eq!(put.status, 201, "{put:?}");
    pounce.until_quiet().await;
    for blob in &cache.blobs {
        assert!(pounce.has_blob(&digest(blob)));
    }
}

#[tokio::test]
async fn the_blobs_of_an_upstreams_index_are_the_repositorys() {
    let upstream = Upstream::start().await;
    let cache = cache(1);
    upstream.add("a", "buildcache", &cache);
    upstream.add("b", "buildcache", &cache);
    let pounce = before(&upstream, &[("REGISTRY_PROXY_PREFETCH", "true")]).await;
    for name in ["a", "b"] {
        let path = format!("/v2/{name}/manifests/buildcache");
        assert_eq!(pounce.get(&path).await.body, cache.manifest);
        pounce.until_quiet().await;
        // A build fetches the config, and only the few layers that it can use.
        let before = upstream.count("GET", "/blobs/");
        assert_eq!(before, if name == "a" { 0 } else { 2 });
        for blob in &cache.blobs {
            assert_eq!(pounce.pull(name, &digest(blob)).await, blob);
            pounce.until_stored(&digest(blob)).await;
        }
    }
    // Another repository stored the blob: pounce asks the upstream once, and does not fetch it again.
    assert_eq!(upstream.count("HEAD", "/a/blobs/"), 0);
    assert_eq!(upstream.count("HEAD", "/b/blobs/"), 2);
    assert_eq!(upstream.count("GET", "/blobs/"), 2);
}

/// Variables, and the statuses for an index of images and for a build's cache.
type Case<'a> = (&'a [(&'a str, &'a str)], u16, u16);

#[tokio::test]
async fn what_an_index_may_leave_out() {
    let (amd64, arm64) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let index = multi(OCI_INDEX, &[(&amd64, "amd64"), (&arm64, "arm64")]);
    let blobs = cache(5).manifest;
    let platforms = "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS";
    let list = "REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMLIST";
    let amd = "[{architecture: amd64, os: linux}]";
    let arm = "[{architecture: arm64, os: linux}, {architecture: amd64, os: windows}]";
    let (disabled, enabled) = ("REGISTRY_VALIDATION_DISABLED", "REGISTRY_VALIDATION_ENABLED");
    // The image for amd64 is there. A platform list never requires entries without a platform.
    let cases: [Case; 9] = [
        (&[], 400, 400),
        (&[(platforms, "all"), (list, amd)], 400, 400),
        (&[(platforms, "none")], 201, 201),
        (&[(platforms, "None"), (list, arm)], 201, 201),
        (&[(platforms, "list"), (list, amd)], 201, 201),
        (&[(platforms, "list"), (list, arm)], 400, 201),
        (&[(platforms, "list")], 400, 400),
        (&[(disabled, "true")], 201, 201),
        (&[(disabled, "true"), (enabled, "true")], 400, 400),
    ];
    for (variables, images, cached) in cases {
        let pounce = Pounce::with(variables).await;
        pounce.push_image("a/b", "amd64", &amd64).await;
        let put = pounce.put_manifest("a/b", "v1", OCI_INDEX, index.clone()).await;
        assert_eq!(put.status, images, "{variables:?} {put:?}");
        let put = pounce.put_manifest("a/b", "v2", OCI_INDEX, blobs.clone()).await;
        assert_eq!(put.status, cached, "{variables:?} {put:?}");
        // An image manifest must be complete.
        let put = pounce.put_manifest("a/b", "v3", OCI_MANIFEST, arm64.manifest.clone());
        assert_eq!(put.await.code(), "MANIFEST_BLOB_UNKNOWN", "{variables:?}");
    }
}

#[tokio::test]
async fn an_index_that_may_name_anything_makes_no_blob_its_repositorys() {
    let upstream = Upstream::start().await;
    let bucket = Pounce::with(&[]).await;
    let mut variables = bucket.as_s3();
    variables.push(("REGISTRY_VALIDATION_MANIFESTS_INDEXES_PLATFORMS", "none".to_owned()));
    let without = Pounce::with(&borrowed(&variables)).await;
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let with = Pounce::with(&borrowed(&variables)).await;
    let secret = with.push("secret", noise(1, 100)).await;
    let names_it = index(&[entry(LAYER, &noise(1, 100))]);
    let path = format!("/v2/thief/blobs/{secret}");
    for pounce in [&without, &with] {
        let put = pounce.put_manifest("thief", "v1", OCI_INDEX, names_it.clone()).await;
        assert_eq!(put.status, 201, "{put:?}");
        let fresh = Pounce::with(&borrowed(&variables)).await;
        for pounce in [pounce, &fresh] {
            assert_eq!(pounce.get("/v2/thief/manifests/v1").await.status, 200);
            pounce.until_quiet().await;
            assert_eq!(pounce.get(&path).await.code(), "BLOB_UNKNOWN");
            assert_eq!(pounce.head(&path).await.status, 404);
        }
    }
}

/// The answer to a client that accepts these media types.
async fn asked(pounce: &Pounce, method: &str, path: &str, accept: &[&str]) -> Reply {
    let mut request = pounce.request(method, path);
    for line in accept {
        request = request.header("accept", *line);
    }
    pounce.send(request).await
}

#[tokio::test]
async fn a_client_from_before_indexes_gets_the_image_for_amd64() {
    let (arm64, amd64) = (Image::new(1, &[10]), Image::new(2, &[10]));
    let only_images: [&[&str]; 5] = [
        &[OCI_MANIFEST],
        &[DOCKER_MANIFEST],
        &["Application/vnd.oci.image.manifest.v1+JSON;q=0.5 , application/json"],
        &["application/vnd.docker.distribution.manifest.v1+prettyjws", DOCKER_MANIFEST],
        &["", OCI_MANIFEST],
    ];
    let all: [&[&str]; 6] = [
        &[],
        &["*/*"],
        &[OCI_MANIFEST, "*/*"],
        &[OCI_MANIFEST, OCI_INDEX],
        &[DOCKER_MANIFEST, "application/vnd.docker.distribution.manifest.list.V2+json"],
        &["application/json"],
    ];
    for media_type in [OCI_INDEX, DOCKER_LIST] {
        let index = multi(media_type, &[(&arm64, "arm64"), (&amd64, "amd64")]);
        let upstream = Upstream::start().await;
        upstream.add("a", "amd64", &amd64);
        upstream.add("a", "arm64", &arm64);
        upstream.add_manifest("a", "v1", media_type, index.clone());
        upstream.add_manifest("a", "arm", media_type, multi(media_type, &[(&arm64, "arm64")]));
        let through = before(&upstream, &[]).await;
        let pushed = Pounce::with(&[]).await;
        for (tag, image) in [("1", &amd64), ("2", &arm64)] {
            pushed.push_image("a", tag, image).await;
        }
        let put = pushed.put_manifest("a", "v1", media_type, index.clone()).await;
        assert_eq!(put.status, 201);
        let arm = multi(media_type, &[(&arm64, "arm64")]);
        pushed.put_manifest("a", "arm", media_type, arm).await;
        for pounce in [&through, &pushed] {
            for method in ["HEAD", "GET", "GET"] {
                for accept in only_images {
                    let reply = asked(pounce, method, "/v2/a/manifests/v1", accept).await;
                    assert_eq!(reply.status, 200, "{accept:?} {reply:?}");
                    assert_eq!(reply.header("docker-content-digest"), amd64.digest());
                    assert_eq!(reply.header("content-type"), OCI_MANIFEST);
                    assert_eq!(reply.header("vary"), "Accept");
                    let length = amd64.manifest.len().to_string();
                    assert_eq!(reply.header("content-length"), length);
                    let reply = asked(pounce, method, "/v2/a/manifests/arm", accept).await;
                    assert_eq!(reply.status, 404, "{accept:?} {reply:?}");
                    // By its digest, the index is served as it is.
                    let by_digest = format!("/v2/a/manifests/{}", digest(&index));
                    let reply = asked(pounce, method, &by_digest, accept).await;
                    assert_eq!(reply.header("content-type"), media_type);
                    assert!(!reply.headers.contains_key("vary"));
                    // And an image manifest is served as it is.
                    let by_digest = format!("/v2/a/manifests/{}", arm64.digest());
                    let reply = asked(pounce, method, &by_digest, accept).await;
                    assert_eq!(reply.header("docker-content-digest"), arm64.digest());
                }
                for accept in all {
                    let reply = asked(pounce, method, "/v2/a/manifests/v1", accept).await;
                    assert_eq!(reply.header("docker-content-digest"), digest(&index), "{accept:?}");
                    assert_eq!((reply.header("content-type"), reply.header("vary")), (media_type, "Accept"));
                }
            }
            let request = pounce.request("GET", "/v2/a/manifests/v1");
            let request = request.header("if-none-match", format!("\"{}\"", amd64.digest()));
            assert_eq!(pounce.send(request.header("accept", OCI_MANIFEST)).await.status, 304);
            let unknown = asked(pounce, "GET", "/v2/a/manifests/arm", &[OCI_MANIFEST]).await;
            assert_eq!(unknown.code(), "MANIFEST_UNKNOWN");
        }
    }
}

#[tokio::test]
async fn the_image_for_a_client_from_before_indexes_comes_from_memory() {
    let bucket = Pounce::with(&[]).await;
    let front = Front::before(bucket.addr).await;
    let pounce = Pounce::with(&borrowed(&bucket.as_s3_behind(front.addr))).await;
    let (amd64, other) = (Image::new(1, &[10]), Image::new(2, &[10]));
    pounce.push_image("a", "1", &amd64).await;
    pounce.push_image("a", "2", &other).await;
    // If two entries fit the platform, the one with a media type that the client accepts wins.
    let mut docker = other.clone();
    docker.media_type = DOCKER_MANIFEST.to_owned();
    let index = multi(OCI_INDEX, &[(&docker, "amd64"), (&amd64, "amd64")]);
    let put = pounce.put_manifest("a", "v1", OCI_INDEX, index.clone()).await;
    assert_eq!(put.status, 201);
    for _ in 0..2 {
        for (accept, image) in [(OCI_MANIFEST, &amd64), (DOCKER_MANIFEST, &other)] {
            let reply = asked(&pounce, "GET", "/v2/a/manifests/v1", &[accept]).await;
            assert_eq!(reply.header("docker-content-digest"), image.digest());
        }
        pounce.until_quiet().await;
        front.take();
    }
    for accept in [OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX] {
        for method in ["GET", "HEAD"] {
            asked(&pounce, method, "/v2/a/manifests/v1", &[accept]).await;
        }
    }
    pounce.until_quiet().await;
    assert_eq!(front.total(), 0);
}

#[tokio::test]
async fn an_image_that_stands_in_for_a_stale_index_is_stale() {
    let upstream = Upstream::start().await;
    let amd64 = Image::new(1, &[10]);
    upstream.add("a", "amd64", &amd64);
    upstream.add_manifest("a", "v1", OCI_INDEX, multi(OCI_INDEX, &[(&amd64, "amd64")]));
    let pounce = before(&upstream, &[("REGISTRY_PROXY_TAGTTL", "0")]).await;
    for warning in ["", "110 - \"Response is Stale\""] {
        let reply = asked(&pounce, "GET", "/v2/a/manifests/v1", &[OCI_MANIFEST]).await;
        assert_eq!(reply.header("docker-content-digest"), amd64.digest());
        assert_eq!(reply.header("warning"), warning);
        pounce.until_quiet().await;
        upstream.behave(Manners { status: Some(500), ..Manners::default() });
    }
}
