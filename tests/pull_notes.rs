//! What clients pull is noted in the bucket, below `pounce/pulled/`.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::support::front::PUT_NOTE;
use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::{FakeS3, Image, Pounce, Rule, Upstream, borrowed};

const NOTES: &str = "pounce/pulled/";

/// The notes in a bucket, by their keys.
fn notes(s3: &FakeS3) -> Vec<(String, Value)> {
    let keys = s3.keys().into_iter().filter(|key| key.starts_with(NOTES));
    keys.map(|key| (key.clone(), serde_json::from_slice(&s3.object(&key).unwrap()).unwrap())).collect()
}

/// The only note's pulls, in order.
fn pulls(s3: &FakeS3) -> Value {
    let mut notes = notes(s3);
    assert_eq!(notes.len(), 1, "{notes:?}");
    let (_, mut note) = notes.remove(0);
    assert_eq!((&note["version"], &note["whole"]), (&json!(1), &json!(true)));
    let mut pulls = note["pulls"].take();
    for digests in pulls.as_object_mut().unwrap().values_mut() {
        digests.as_array_mut().unwrap().sort_by_key(|digest| digest.as_str().unwrap().to_owned());
    }
    pulls
}

fn sorted(mut digests: Vec<String>) -> Vec<String> {
    digests.sort();
    digests
}

/// An index of one image.
fn index(image: &Image) -> Vec<u8> {
    let platform = json!({"os": "linux", "architecture": "amd64"});
    let size = image.manifest.len();
    let child = json!({"mediaType": OCI_MANIFEST, "digest": image.digest(), "size": size, "platform": platform});
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child]}).to_string().into()
}

#[tokio::test]
async fn every_way_to_pull_a_manifest_counts() {
    let s3 = FakeS3::start(&[]).await;
    let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let images: Vec<_> = (1..=6).map(|number| Image::new(number, &[100])).collect();
    for (tag, image) in ["1", "2", "3", "4", "5", "6"].iter().zip(&images) {
        pounce.push_image("a/b", tag, image).await;
    }
    let by_digest = |image: &Image| format!("/v2/a/b/manifests/{}", image.digest());
    // GET and HEAD, by tag and by digest, the first time and from memory.
    for _ in 0..2 {
        assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
        assert_eq!(pounce.head("/v2/a/b/manifests/2").await.status, 200);
        assert_eq!(pounce.get(&by_digest(&images[2])).await.status, 200);
        assert_eq!(pounce.head(&by_digest(&images[3])).await.status, 200);
    }
    let known = pounce.request("GET", "/v2/a/b/manifests/5").header("if-none-match", images[4].digest());
    assert_eq!(pounce.send(known).await.status, 304);
    // Neither pushes, nor blobs, nor what is not there.
    assert_eq!(pounce.get(&format!("/v2/a/b/blobs/{}", digest(&images[5].blobs[0]))).await.status, 307);
    assert_eq!(pounce.get("/v2/a/b/manifests/7").await.status, 404);
    assert_eq!(notes(&s3), []);
    s3.take();
    pounce.end().await;
    assert_eq!((s3.total(), s3.seen(PUT_NOTE).len()), (0, 1));
    assert_eq!(pulls(&s3), json!({"a/b": sorted(images[..5].iter().map(Image::digest).collect())}));
    let (key, note) = notes(&s3).remove(0);
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    // A minute may have passed at midnight.
    assert!(key.starts_with(&format!("{NOTES}{}", &now[..7])), "{key}");
    assert!(note["since"].as_str().unwrap() <= now.as_str(), "{note}");
}

#[tokio::test]
async fn pulls_from_memory_count_again_in_another_process() {
    let s3 = FakeS3::start(&[]).await;
    let image = Image::new(1, &[100]);
    for round in 1..=2 {
        let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
        pounce.push_image("a/b", "1", &image).await;
        for _ in 0..3 {
            assert_eq!(pounce.head("/v2/a/b/manifests/1").await.status, 200);
        }
        pounce.end().await;
        assert_eq!(notes(&s3).len(), round);
    }
    for (_, note) in notes(&s3) {
        assert_eq!(note["pulls"], json!({"a/b": [image.digest()]}));
    }
}

/// A client from before there were indexes gets the image, and uses the index.
#[tokio::test]
async fn an_index_is_in_use_by_the_image_that_a_client_gets_of_it() {
    let s3 = FakeS3::start(&[]).await;
    let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let image = Image::new(1, &[100]);
    pounce.push_image("a/b", "image", &image).await;
    let index = index(&image);
    let pushed = pounce.request("PUT", "/v2/a/b/manifests/1").header("content-type", OCI_INDEX).body(index.clone());
    assert_eq!(pounce.send(pushed).await.status, 201);
    let old = pounce.request("GET", "/v2/a/b/manifests/1").header("accept", OCI_MANIFEST);
    assert_eq!(pounce.send(old).await.body, image.manifest);
    pounce.end().await;
    assert_eq!(pulls(&s3), json!({"a/b": sorted(vec![image.digest(), digest(&index)])}));
}

#[tokio::test]
async fn a_fill_counts_by_its_pull() {
    let (s3, upstream) = (FakeS3::start(&[]).await, Upstream::start().await);
    let image = Image::new(1, &[100]);
    upstream.add("a/b", "1", &image);
    let mut variables = s3.variables();
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    // A read-only registry still stores what is pulled through.
    variables.push(("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true".into()));
    let mut pounce = Pounce::with(&borrowed(&variables)).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
    pounce.until_quiet().await;
    pounce.end().await;
    assert_eq!(pulls(&s3), json!({"a/b": [image.digest()]}));
}

#[tokio::test]
async fn a_registry_that_writes_nothing_else_notes_pulls_unless_the_bucket_denies_it() {
    let (s3, image) = (FakeS3::start(&[]).await, Image::new(1, &[100]));
    let mut writer = Pounce::with(&borrowed(&s3.variables())).await;
    writer.push_image("a/b", "1", &image).await;
    writer.end().await;
    let before = notes(&s3).len();
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true".into()));
    for (deny, more) in [(true, 0), (false, 1)] {
        s3.forget_hooks();
        if deny {
            let denied = || (403, Vec::new(), "<Error><Code>AccessDenied</Code></Error>".into());
            s3.on(PUT_NOTE, usize::MAX, move |_| async move { Some(denied()) });
        }
        let mut pounce = Pounce::with(&borrowed(&variables)).await;
        for _ in 0..2 {
            assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
        }
        s3.take();
        pounce.end().await;
        assert_eq!((s3.total(), notes(&s3).len()), (0, before + more));
    }
    let mut noted = notes(&s3).into_iter().map(|(_, note)| note["pulls"].clone());
    assert!(noted.any(|pulls| pulls == json!({"a/b": [image.digest()]})));
}

/// A day in which a process served no pull differs from one of which nothing is known.
#[tokio::test]
async fn a_process_without_pulls_says_that_it_was_there() {
    let s3 = FakeS3::start(&[]).await;
    let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
    s3.take();
    pounce.end().await;
    assert_eq!((s3.total(), s3.seen(PUT_NOTE).len()), (0, 1));
    assert_eq!(pulls(&s3), json!({}));
}

/// The times in a note are the bucket's.
#[tokio::test]
async fn a_wrong_clock_does_no_harm() {
    let s3 = FakeS3::start(&[Rule::Clock(800)]).await;
    let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
    pounce.end().await;
    let (_, note) = notes(&s3).remove(0);
    let since = humantime::parse_rfc3339(note["since"].as_str().unwrap()).unwrap();
    let ahead = since.duration_since(SystemTime::now()).unwrap();
    assert!(ahead > Duration::from_mins(10) && ahead <= Duration::from_secs(800), "{ahead:?}");
}
