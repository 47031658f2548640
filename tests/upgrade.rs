//! The bucket and the configuration of the previous release, in `tests/previous/`, are read by this one. Its program
//! wrote them (`tests/interop/upgrade.sh --fixture`), which also runs both programs over one bucket.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use base64::Engine;
use pounce::config::{Config, Environment};
use serde_json::Value;
use tempfile::TempDir;

use crate::check::run;
use crate::support::Pounce;
use crate::support::image::{OCI_MANIFEST, digest};

const METADATA: &str = ".pounce/metadata/";

fn previous() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/previous/bucket.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn content(file: &Value) -> Vec<u8> {
    let text = |kind: &str| file[kind].as_str();
    match (text("text"), text("base64"), file["zeros"].as_u64()) {
        (Some(text), ..) => text.into(),
        (_, Some(text), _) => base64::engine::general_purpose::STANDARD.decode(text).unwrap(),
        (.., Some(zeros)) => vec![0; usize::try_from(zeros).unwrap()],
        _ => panic!("{file}"),
    }
}

/// Writes the files of the bucket. An object's attributes are under its `ETag`, which is made of its file's length,
/// time and inode.
fn restore(bucket: &Value, root: &Path) {
    let files = bucket["files"].as_object().unwrap();
    let (attributes, objects): (Vec<_>, Vec<_>) = files.iter().partition(|(path, _)| path.starts_with(METADATA));
    let write = |path: &Path, bytes: Vec<u8>| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for (path, file) in objects {
        write(&root.join(path), content(file));
    }
    for (path, file) in attributes {
        let (key, _) = path.strip_prefix(METADATA).unwrap().strip_suffix(".json").unwrap().rsplit_once('.').unwrap();
        let found = fs::metadata(root.join(key)).unwrap();
        let age = found.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
        let etag = format!("{:x}-{:x}-{:x}", found.len(), age.as_nanos(), found.ino());
        write(&root.join(format!("{METADATA}{key}.{etag}.json")), content(file));
    }
}

/// A pounce over the previous release's bucket, with these variables.
async fn registry(bucket: &Value, root: &Path, more: &[(&str, &str)]) -> Pounce {
    let secret = bucket["secret"].as_str().unwrap();
    let root = root.to_str().unwrap();
    let own = [("REGISTRY_HTTP_SECRET", secret), ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)];
    Pounce::with(&[&own, more].concat()).await
}

/// Pulls a tag's image; its manifest's digest.
async fn pull(pounce: &Pounce, name: &str, reference: &str) -> String {
    let request = pounce.request("GET", &format!("/v2/{name}/manifests/{reference}")).header("accept", OCI_MANIFEST);
    let manifest = pounce.send(request).await;
    assert_eq!(manifest.status, 200, "{name}:{reference}: {manifest:?}");
    let document: Value = serde_json::from_slice(&manifest.body).unwrap();
    for blob in document["layers"].as_array().unwrap().iter().chain([&document["config"]]) {
        let expected = blob["digest"].as_str().unwrap();
        let reply = pounce.get(&format!("/v2/{name}/blobs/{expected}")).await;
        assert_eq!((reply.status, digest(&pounce.follow(&reply).await.body)), (307, expected.to_owned()));
    }
    digest(&manifest.body)
}

async fn reads_all(bucket: &Value, pounce: &Pounce) {
    for (image, expected) in bucket["tags"].as_object().unwrap() {
        let (name, tag) = image.split_once(':').unwrap();
        assert_eq!(&pull(pounce, name, tag).await, expected.as_str().unwrap(), "{image}");
    }
    let gone = bucket["gone"].as_str().unwrap();
    for reference in ["gone", gone] {
        assert_eq!(pounce.get(&format!("/v2/team/app/manifests/{reference}")).await.status, 404, "{reference}");
    }
    let subject = bucket["tags"]["team/app:pushed"].as_str().unwrap();
    let listed = pounce.get(&format!("/v2/team/app/referrers/{subject}")).await;
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    assert_eq!(listed["manifests"][0]["digest"], bucket["signature"], "{listed}");
    let tags: Value = serde_json::from_slice(&pounce.get("/v2/team/app/tags/list").await.body).unwrap();
    assert_eq!(tags["tags"], serde_json::json!(["moved", "pushed"]));
}

#[tokio::test]
async fn the_previous_bucket_is_read() {
    let (bucket, folder) = (previous(), TempDir::new().unwrap());
    restore(&bucket, folder.path());
    let mut pounce = registry(&bucket, folder.path(), &[]).await;
    reads_all(&bucket, &pounce).await;
    pounce.end().await;
    // It knows where the tag came from: the upstream is asked, is away, and the answer says that it may be stale.
    let upstream = bucket["upstream"].as_str().unwrap();
    let proxy = [("REGISTRY_PROXY_REMOTEURL", upstream), ("REGISTRY_PROXY_HOST", "docker.io")];
    let pounce = registry(&bucket, folder.path(), &proxy).await;
    let request = pounce.request("GET", "/v2/library/app/manifests/fetched").header("accept", OCI_MANIFEST);
    assert!(pounce.send(request).await.header("warning").starts_with("110"), "the tag counts as pushed");
}

#[tokio::test]
async fn uploads_under_way_go_on() {
    let (bucket, folder) = (previous(), TempDir::new().unwrap());
    restore(&bucket, folder.path());
    let pounce = registry(&bucket, folder.path(), &[]).await;
    for (name, upload) in bucket["uploads"].as_object().unwrap() {
        let zeros = usize::try_from(upload[1].as_u64().unwrap()).unwrap();
        let sent = [vec![0; zeros], upload[2].as_str().unwrap().into()].concat();
        let status = pounce.get(upload[0].as_str().unwrap()).await;
        let range = format!("0-{}", sent.len().saturating_sub(1));
        assert_eq!((status.status, status.header("range")), (204, &range[..]), "{name}");
        let rest = format!("the rest of {name}").repeat(1000);
        let patch = pounce.request("PATCH", status.header("location")).body(rest.clone());
        let patched = pounce.send(patch).await;
        assert_eq!(patched.status, 202, "{name}: {patched:?}");
        let all = [&sent[..], rest.as_bytes()].concat();
        let expected = digest(&all);
        let put = format!("{}&digest={expected}", patched.header("location"));
        assert_eq!(pounce.send(pounce.request("PUT", &put)).await.status, 201, "{name}");
        let reply = pounce.get(&format!("/v2/team/app/blobs/{expected}")).await;
        assert!(pounce.follow(&reply).await.body == all, "{name}");
    }
    assert_eq!(fs::read_dir(folder.path().join(".pounce/uploads")).unwrap().count(), 0);
}

/// The bytes of these objects are as old as this test, so that nothing is due; a dry run reads all of it, though.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_collection_understands_it() {
    let (bucket, folder) = (previous(), TempDir::new().unwrap());
    restore(&bucket, folder.path());
    let root = folder.path().to_str().unwrap();
    let variables = [("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)];
    let (status, said, errors) = run(&["gc", "--json"], &variables, "").await;
    assert_eq!(status, 0, "{said} {errors}");
    let report: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!((&report["strangers"], &report["tags"]), (&0.into(), &3.into()), "{report}");
    reads_all(&bucket, &registry(&bucket, folder.path(), &[]).await).await;
}

/// A setting of the previous release is a setting of this one, with the same default, or is in docs/upgrading.md.
#[test]
fn the_previous_configuration_is_accepted() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/previous/registry.yml");
    let loaded = Config::load(Some(Path::new(path)), &Environment::default()).unwrap();
    assert_eq!(loaded.notices, Vec::<String>::new());
    let written: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let [read, defaults] = [loaded.config, Config::default()].map(|config| serde_json::to_value(config).unwrap());
    let mut changed = Vec::new();
    compare(&written, (&read, &defaults), "", &mut changed);
    assert_eq!(changed, ["proxy.fill.connections"]);
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/upgrading.md")).unwrap();
    for setting in changed {
        assert!(document.contains(&format!("`{setting}`")), "{setting}");
    }
}

fn compare(written: &Value, (read, defaults): (&Value, &Value), path: &str, changed: &mut Vec<String>) {
    for (key, value) in written.as_object().unwrap() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Object(section) if !section.is_empty() => {
                compare(value, (&read[key], &defaults[key]), &path, changed);
            }
            _ if path == "version" || read[key] == defaults[key] => (),
            _ => changed.push(path),
        }
    }
}

/// docs/metrics.md is held against the metrics that pounce exposes (`tests/metric_names.rs`).
#[test]
fn the_previous_metrics_have_their_names() {
    let document = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let bucket = previous();
    let names = bucket["metrics"].as_array().unwrap();
    assert!(names.len() > 8);
    for name in names {
        let name = name.as_str().unwrap();
        let is_there = [format!("`{name}`"), format!("`{name}_total`")].iter().any(|it| document.contains(it));
        assert!(is_there, "{name}");
    }
}
