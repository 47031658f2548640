//! Writes while keys are condemned: what is acknowledged is kept from the collector, or not acknowledged.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::{FakeS3, Image, Pounce, Upstream, borrowed};

const BATCH: &str = "docker/registry/v2/_gc/batches/00000000-0000-0000-0000-000000000001";

fn hash(key: &str) -> u128 {
    u128::from_be_bytes(Sha256::digest(key.as_bytes())[..16].try_into().unwrap())
}

/// What a collector writes that condemns these keys.
fn condemn(s3: &FakeS3, keys: &[String]) {
    let mut hashes: Vec<u128> = keys.iter().map(|key| hash(key)).collect();
    hashes.sort_unstable();
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_be_bytes()).collect();
    s3.put(&format!("{BATCH}/condemned"), bytes);
    let batch =
        serde_json::json!({"id": &BATCH[BATCH.len() - 36..], "published": 1, "spent": null, "keys": keys.len()});
    let state = serde_json::json!({"version": 1, "holder": null, "write": 1, "batches": [batch]});
    s3.put("docker/registry/v2/_gc/state", state.to_string());
}

/// The decision about a key.
fn decision(key: &str) -> String {
    let is_content = key.contains("/blobs/") || key.contains("/_layers/");
    let group = if is_content { format!("{:03x}", hash(key) >> 118) } else { format!("{:016x}", hash(key) >> 64) };
    format!("{BATCH}/decisions/{group}")
}

fn decided(s3: &FakeS3, key: &str) -> String {
    let bytes = s3.object(&decision(key)).unwrap_or_default();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn registry_keys(s3: &FakeS3) -> Vec<String> {
    s3.keys().into_iter().filter(|key| !key.contains("/_gc/")).collect()
}

fn blob(digest: &str) -> String {
    let hex = digest.trim_start_matches("sha256:");
    format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])
}

fn layer(name: &str, digest: &str) -> String {
    format!("docker/registry/v2/repositories/{name}/_layers/{}/link", digest.replace(':', "/"))
}

async fn replica(s3: &FakeS3) -> Pounce {
    Pounce::with(&borrowed(&s3.variables())).await
}

/// How often the state was read.
fn states_read(s3: &FakeS3) -> usize {
    s3.seen("GetObject").iter().filter(|seen| seen.path.contains("/_gc/state")).count()
}

async fn put(pounce: &Pounce, image: &Image, reference: &str) -> crate::support::Reply {
    pounce.put_manifest("a/b", reference, OCI_MANIFEST, image.manifest.clone()).await
}

#[tokio::test]
async fn a_push_keeps_all_that_it_wrote_and_found() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100, 200]));
    replica(&s3).await.push_image("a/b", "1", &image).await;
    let keys = registry_keys(&s3);
    condemn(&s3, &keys);
    assert_eq!(put(&replica(&s3).await, &image, "1").await.status, 201);
    for key in keys {
        assert_eq!(decided(&s3, &key), "keep", "{key}");
    }
}

#[tokio::test]
async fn a_pushed_blob_and_a_mounted_one_are_kept() {
    let (s3, bytes) = (FakeS3::start(&[]).await, bytes::Bytes::from_static(b"a blob"));
    let named = digest(&bytes);
    replica(&s3).await.push("a/b", bytes.clone()).await;
    let keys = [blob(&named), layer("a/b", &named), layer("c/d", &named), layer("e/f", &named)];
    condemn(&s3, &keys);
    let pounce = replica(&s3).await;
    let mount = pounce.request("POST", &format!("/v2/c/d/blobs/uploads/?mount={named}&from=a/b"));
    assert_eq!(pounce.send(mount).await.status, 201);
    assert_eq!(decided(&s3, &keys[0]), "keep");
    assert_eq!(decided(&s3, &keys[2]), "keep");
    pounce.push("e/f", bytes).await;
    assert_eq!(decided(&s3, &keys[3]), "keep");
}

#[tokio::test]
async fn what_is_deleted_now_is_refused_for_two_minutes_and_looked_for_then() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    replica(&s3).await.push_image("a/b", "1", &image).await;
    let config = digest(&image.blobs[0]);
    condemn(&s3, &[blob(&config)]);
    s3.put(&decision(&blob(&config)), "delete");
    let pounce = replica(&s3).await;
    let refused = put(&pounce, &image, "1").await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "UNAVAILABLE"));
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((100..=122).contains(&after), "{after}");
    // The DELETE came to nothing.
    s3.age("decisions", Duration::from_mins(3));
    assert_eq!(put(&pounce, &image, "1").await.status, 201);
    // It did its work.
    s3.remove(&blob(&config));
    let unknown = put(&pounce, &image, "1").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    pounce.push("a/b", image.blobs[0].clone()).await;
    assert_eq!(put(&pounce, &image, "1").await.status, 201);
}

#[tokio::test]
async fn what_memory_believes_is_looked_for_where_it_was_deleted() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    let pounce = replica(&s3).await;
    pounce.push_image("a/b", "1", &image).await;
    // Another replica, which knows what is condemned, deleted the manifest's bytes.
    let manifest = blob(&image.digest());
    condemn(&s3, std::slice::from_ref(&manifest));
    s3.put(&decision(&manifest), "delete");
    s3.age("decisions", Duration::from_mins(3));
    let fresh = replica(&s3).await;
    // The collector's DELETE arrives after the push found the bytes there.
    let (key, calls) = (manifest.clone(), std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0)));
    let s3 = std::sync::Arc::new(s3);
    let (bucket, counted) = (std::sync::Arc::downgrade(&s3), std::sync::Arc::clone(&calls));
    s3.on("PutObject", usize::MAX, move |seen| {
        if seen.path.contains("/tags/1/current") && counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            bucket.upgrade().unwrap().remove(&key);
        }
        async { None }
    });
    assert_eq!(put(&fresh, &image, "1").await.status, 201);
    assert_eq!(s3.object(&manifest), Some(image.manifest.clone()), "it was written anew");
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_index_keeps_what_it_names_and_what_indexes_name_that_it_names() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[]));
    let pounce = replica(&s3).await;
    pounce.push_image("a/b", "1", &image).await;
    let index = |media_type: &str, named: &str, size: usize| {
        let entry = serde_json::json!({"mediaType": media_type, "digest": named, "size": size});
        serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string()
    };
    let inner = index(OCI_MANIFEST, &image.digest(), image.manifest.len());
    let outer = index(OCI_INDEX, &digest(inner.as_bytes()), inner.len());
    assert_eq!(pounce.put_manifest("a/b", "inner", OCI_INDEX, inner.clone()).await.status, 201);
    let revision = |digest: &str| {
        format!("docker/registry/v2/repositories/a/b/_manifests/revisions/{}/link", digest.replace(':', "/"))
    };
    let keys = [image.digest(), digest(inner.as_bytes())].map(|named| [blob(&named), revision(&named)]).concat();
    condemn(&s3, &keys);
    let fresh = replica(&s3).await;
    assert_eq!(fresh.put_manifest("a/b", "outer", OCI_INDEX, outer).await.status, 201);
    for key in keys {
        assert_eq!(decided(&s3, &key), "keep", "{key}");
    }
}

#[tokio::test]
async fn what_is_filled_is_kept() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    let upstream = Upstream::start().await;
    upstream.add("a/b", "1", &image);
    let (config, manifest) = (digest(&image.blobs[0]), image.digest());
    let tag = "docker/registry/v2/repositories/a/b/_manifests/tags/1/current/link".to_owned();
    let keys = [blob(&config), layer("a/b", &config), blob(&manifest), tag];
    condemn(&s3, &keys);
    let mut variables = s3.variables();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
    assert_eq!(pounce.pull("a/b", &config).await, image.blobs[0]);
    pounce.until_quiet().await;
    for key in keys {
        assert_eq!(decided(&s3, &key), "keep", "{key}");
    }
}

#[tokio::test]
async fn what_is_condemned_is_read_once_in_five_minutes_and_never_by_pulls() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100, 200]));
    let pounce = replica(&s3).await;
    for tag in ["1", "2", "3"] {
        pounce.push_image("a/b", tag, &image).await;
    }
    assert_eq!(states_read(&s3), 1);
    let reader = replica(&s3).await;
    for path in ["manifests/1", "tags/list", &format!("blobs/{}", digest(&image.blobs[0]))] {
        assert!(reader.get(&format!("/v2/a/b/{path}")).await.status < 400);
    }
    reader.until_quiet().await;
    assert_eq!(states_read(&s3), 1);
}

#[tokio::test]
async fn with_a_state_that_cannot_be_read_nothing_is_acknowledged() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    replica(&s3).await.push_image("a/b", "1", &image).await;
    for state in ["", "{}", r#"{"version":2,"holder":null,"write":1,"batches":[]}"#] {
        s3.put("docker/registry/v2/_gc/state", state);
        let pounce = replica(&s3).await;
        let refused = put(&pounce, &image, "1").await;
        assert_eq!((refused.status, refused.code().as_str()), (503, "UNAVAILABLE"), "{state}");
        assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
    }
}

#[tokio::test]
async fn of_a_batch_whose_keys_are_lost_every_key_is_kept() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    replica(&s3).await.push_image("a/b", "1", &image).await;
    let keys = registry_keys(&s3);
    for broken in [None, Some("no keys")] {
        condemn(&s3, &[]);
        s3.remove(&format!("{BATCH}/condemned"));
        if let Some(broken) = broken {
            s3.put(&format!("{BATCH}/condemned"), broken);
        }
        assert_eq!(put(&replica(&s3).await, &image, "1").await.status, 201);
        for key in &keys {
            assert_eq!(decided(&s3, key), "keep", "{key}");
            s3.remove(&decision(key));
        }
    }
}

#[tokio::test]
async fn a_bucket_that_fails_for_a_few_seconds_fails_no_push() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    let failures = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&failures);
    s3.on("GetObject", usize::MAX, move |seen| {
        let is_failure =
            seen.path.contains("/_gc/state") && { counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 5 };
        async move { is_failure.then(|| (503, Vec::new(), "<Error><Code>SlowDown</Code></Error>".into())) }
    });
    replica(&s3).await.push_image("a/b", "1", &image).await;
    assert!(failures.load(std::sync::atomic::Ordering::Relaxed) > 5);
}

/// What a manifest of this media type is, which names these with their media types.
fn index_of(named: &[(&str, &str)]) -> String {
    let entries = named
        .iter()
        .map(|(media_type, digest)| serde_json::json!({"mediaType": media_type, "digest": digest, "size": 100}));
    let entries: Vec<_> = entries.collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string()
}

fn revision(name: &str, digest: &str) -> String {
    format!("docker/registry/v2/repositories/{name}/_manifests/revisions/{}/link", digest.replace(':', "/"))
}

#[tokio::test]
async fn what_a_push_names_is_kept_also_where_validation_does_not_look_for_it() {
    let (s3, image, foreign) = (FakeS3::start(&[]).await, Image::new(1, &[]), b"a foreign layer");
    let pounce = replica(&s3).await;
    pounce.push_image("a/b", "1", &image).await;
    pounce.push("a/b", bytes::Bytes::from_static(foreign)).await;
    let foreign = digest(foreign);
    let keys = [blob(&image.digest()), revision("a/b", &image.digest())];
    condemn(&s3, &[&keys[..], &[blob(&foreign), layer("a/b", &foreign)]].concat());
    let mut variables = s3.variables();
    variables.push(("REGISTRY_VALIDATION_DISABLED", "true".into()));
    let lax = Pounce::with(&borrowed(&variables)).await;
    // One entry is not there at all.
    let absent = digest(b"absent");
    let index = index_of(&[(OCI_MANIFEST, &image.digest()), (OCI_MANIFEST, &absent)]);
    assert_eq!(lax.put_manifest("a/b", "2", OCI_INDEX, index).await.status, 201);
    for key in &keys {
        assert_eq!(decided(&s3, key), "keep", "{key}");
    }
    // The validation leaves foreign layers out, and the subject.
    let (subject, config) = (digest(b"a subject"), digest(&image.blobs[0]));
    condemn(&s3, &[blob(&foreign), layer("a/b", &foreign), revision("a/b", &subject)]);
    let layer_of = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": layer_of, "digest": foreign, "size": 15}],
        "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 2},
    });
    let fresh = replica(&s3).await;
    let reply = fresh.put_manifest("a/b", "3", OCI_MANIFEST, manifest.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    for key in [blob(&foreign), layer("a/b", &foreign), revision("a/b", &subject)] {
        assert_eq!(decided(&s3, &key), "keep", "{key}");
    }
}

#[tokio::test]
async fn what_refers_to_a_manifest_that_is_needed_again_is_kept_with_it() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[]));
    let pounce = replica(&s3).await;
    pounce.push_image("a/b", "1", &image).await;
    let signature = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&image.blobs[0]), "size": 2},
        "layers": [], "subject": {"mediaType": OCI_MANIFEST, "digest": image.digest(), "size": image.manifest.len()},
    });
    let signature = signature.to_string();
    let signed = digest(signature.as_bytes());
    assert_eq!(pounce.put_manifest("a/b", &signed, OCI_MANIFEST, signature).await.status, 201);
    let cosign = Image::new(2, &[10]);
    let tag = format!("{}.sig", image.digest().replace(':', "-"));
    pounce.push_image("a/b", &tag, &cosign).await;
    let other = Image::new(3, &[10]);
    pounce.push_image("a/b", "sha256-0", &other).await;
    let repository = "docker/registry/v2/repositories/a/b";
    let entry = |digest: &str| digest.replace(':', "/");
    let attached = [
        format!("{repository}/_manifests/referrers/{}/{}/descriptor", entry(&image.digest()), entry(&signed)),
        revision("a/b", &signed),
        blob(&signed),
        format!("{repository}/_manifests/tags/{tag}/current/link"),
        revision("a/b", &cosign.digest()),
        blob(&cosign.digest()),
    ];
    let others = [format!("{repository}/_manifests/tags/sha256-0/current/link"), revision("a/b", &other.digest())];
    condemn(&s3, &[&attached[..], &others, &[revision("a/b", &image.digest())]].concat());
    assert_eq!(put(&replica(&s3).await, &image, "1").await.status, 201);
    for key in &attached {
        assert_eq!(decided(&s3, key), "keep", "{key}");
    }
    for key in &others {
        assert_eq!(decided(&s3, key), "", "{key}");
    }
}

#[tokio::test]
async fn an_index_of_many_images_in_indexes_is_no_reason_to_refuse_it() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[]));
    let pounce = replica(&s3).await;
    pounce.push_image("a/b", "1", &image).await;
    let mut variables = s3.variables();
    variables.push(("REGISTRY_VALIDATION_DISABLED", "true".into()));
    let lax = Pounce::with(&borrowed(&variables)).await;
    let mut inner = Vec::new();
    for n in 0..12_u8 {
        let named: Vec<String> = (0..20_u8).map(|entry| digest(&[n, entry])).collect();
        let named: Vec<_> = named.iter().map(|digest| (OCI_MANIFEST, digest.as_str())).collect();
        let index = index_of(&named);
        assert_eq!(lax.put_manifest("a/b", &format!("i{n}"), OCI_INDEX, index.clone()).await.status, 201);
        inner.push(digest(index.as_bytes()));
    }
    let inner: Vec<_> = inner.iter().map(|digest| (OCI_INDEX, digest.as_str())).collect();
    s3.take();
    let fresh = replica(&s3).await;
    assert_eq!(fresh.put_manifest("a/b", "outer", OCI_INDEX, index_of(&inner)).await.status, 201);
    let reads = s3.take()["GetObject"];
    let last = revision("a/b", &digest(&[11, 19]));
    condemn(&s3, std::slice::from_ref(&last));
    let fresh = replica(&s3).await;
    assert_eq!(fresh.put_manifest("a/b", "outer", OCI_INDEX, index_of(&inner)).await.status, 201);
    assert_eq!(decided(&s3, &last), "keep");
    // Without condemned keys, the inner ones are not read.
    assert!(s3.take()["GetObject"] >= reads + 24);
}
