//! A bucket, written key by key as pounce and distribution write it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use pounce::config::{Config, Environment};
use pounce::internals::{SurveyRules, survey};
use pounce::store::Store;
use serde_json::{Value, json};

use crate::support::image::{OCI_INDEX, OCI_MANIFEST, digest};
use crate::support::{FakeS3, borrowed};

pub const ROOT: &str = "docker/registry/v2";
/// Older than the delay of the surveys.
pub const OLD: Duration = Duration::from_hours(48);

/// The hex of a digest.
pub fn hex(digest: &str) -> &str {
    digest.trim_start_matches("sha256:")
}

pub fn blob_key(digest: &str) -> String {
    let hex = hex(digest);
    format!("{ROOT}/blobs/sha256/{}/{hex}/data", &hex[..2])
}

pub fn layer_key(name: &str, digest: &str) -> String {
    format!("{ROOT}/repositories/{name}/_layers/sha256/{}/link", hex(digest))
}

pub fn revision_key(name: &str, digest: &str) -> String {
    format!("{ROOT}/repositories/{name}/_manifests/revisions/sha256/{}/link", hex(digest))
}

pub fn tag_key(name: &str, tag: &str) -> String {
    format!("{ROOT}/repositories/{name}/_manifests/tags/{tag}/current/link")
}

pub fn history_key(name: &str, tag: &str, digest: &str) -> String {
    format!("{ROOT}/repositories/{name}/_manifests/tags/{tag}/index/sha256/{}/link", hex(digest))
}

pub fn push_key(name: &str, tag: &str) -> String {
    format!("{ROOT}/repositories/{name}/_manifests/pushed/{tag}/link")
}

pub fn referrer_key(name: &str, subject: &str, digest: &str) -> String {
    let (subject, digest) = (hex(subject), hex(digest));
    format!("{ROOT}/repositories/{name}/_manifests/referrers/sha256/{subject}/sha256/{digest}/descriptor")
}

/// Where content came from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum From {
    Push,
    Upstream,
}

/// What writes objects.
pub trait Bucket {
    fn put(&self, key: &str, bytes: Bytes, headers: &[(&str, &str)]);

    fn blob(&self, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        self.put(&blob_key(&digest), bytes, &[]);
        digest
    }

    /// A blob that the repository has.
    fn layer(&self, name: &str, bytes: impl Into<Bytes>) -> String {
        let digest = self.blob(bytes);
        self.put(&layer_key(name, &digest), digest.clone().into(), &[]);
        digest
    }

    fn manifest(&self, name: &str, from: From, manifest: &Value) -> String {
        let digest = self.blob(manifest.to_string());
        let headers = [("x-amz-meta-origin", "upstream"), ("x-amz-meta-pounce-upstream", "up")];
        let headers = if from == From::Upstream { &headers[..] } else { &[] };
        self.put(&revision_key(name, &digest), digest.clone().into(), headers);
        if let Some(subject) = manifest["subject"]["digest"].as_str() {
            self.put(&referrer_key(name, subject, &digest), "{}".into(), &[]);
        }
        digest
    }

    fn tag(&self, name: &str, tag: &str, from: From, digest: &str) {
        let headers = [("x-amz-meta-pounce-upstream", "up")];
        let headers = if from == From::Upstream { &headers[..] } else { &[] };
        self.put(&tag_key(name, tag), digest.to_owned().into(), headers);
        self.put(&history_key(name, tag, digest), digest.to_owned().into(), &[]);
    }

    /// An image with a config and a layer of its own, under a tag; returns the digests of the manifest and of both.
    fn image(&self, name: &str, tag: &str, from: From) -> [String; 3] {
        let [config, layer] = ["config", "layer"].map(|what| self.layer(name, format!("{name}:{tag} {what}")));
        let digest = self.manifest(name, from, &image(&config, &[&layer]));
        self.tag(name, tag, from, &digest);
        [digest, config, layer]
    }
}

/// A descriptor.
pub fn entry(digest: &str) -> Value {
    json!({"mediaType": "application/octet-stream", "digest": digest, "size": 1})
}

pub fn image(config: &str, layers: &[&str]) -> Value {
    let layers: Vec<_> = layers.iter().map(|layer| entry(layer)).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry(config), "layers": layers})
}

pub fn index(manifests: &[&str]) -> Value {
    let manifests: Vec<_> =
        manifests.iter().map(|digest| json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": 1})).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})
}

/// A manifest that refers to another one, with a config of its own.
pub fn referrer(subject: &str, config: &str) -> Value {
    let mut manifest = image(config, &[]);
    manifest["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject, "size": 1});
    manifest
}

impl Bucket for FakeS3 {
    fn put(&self, key: &str, bytes: Bytes, headers: &[(&str, &str)]) {
        self.put_with(key, bytes, headers);
    }
}

/// A folder, as distribution's filesystem driver writes it.
pub struct Folder<'a>(pub &'a Path);

impl Bucket for Folder<'_> {
    fn put(&self, key: &str, bytes: Bytes, _: &[(&str, &str)]) {
        let path = self.0.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::now() - OLD).unwrap();
    }
}

pub async fn store(variables: &[(&str, &str)]) -> Store {
    let environment: Environment = variables.iter().copied().collect();
    Store::connect(&Config::load(None, &environment).unwrap().config.storage).await.unwrap()
}

/// A survey, by these rules.
pub async fn surveyed(s3: &FakeS3, rules: &SurveyRules) -> Value {
    survey(&store(&borrowed(&s3.variables())).await, rules).await.unwrap()
}

/// The keys that go.
pub fn candidates(survey: &Value) -> BTreeSet<String> {
    let candidates = survey["candidates"].as_array().unwrap();
    let paths: BTreeSet<_> = candidates.iter().map(|it| it["path"].as_str().unwrap().to_owned()).collect();
    assert_eq!(paths.len(), candidates.len(), "each goes once");
    paths
}

pub fn set<const N: usize>(keys: [String; N]) -> BTreeSet<String> {
    keys.into()
}

/// All keys of distribution's tree.
pub fn tree(s3: &FakeS3) -> BTreeSet<String> {
    s3.keys().into_iter().filter(|key| key.starts_with(ROOT)).collect()
}
