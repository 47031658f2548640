//! What is left in the bucket.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::torture::ledger::files;

/// The digests that a manifest names.
fn named(manifest: &Value) -> Vec<String> {
    let list = |field: &str| manifest[field].as_array().cloned().unwrap_or_default();
    let all = [vec![manifest["config"].clone()], list("layers"), list("manifests")].concat();
    all.iter().filter_map(|entry| Some(entry["digest"].as_str()?.to_owned())).collect()
}

fn data(root: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    root.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", hex.get(..2).unwrap_or_default()))
}

/// The repositories' manifests: the link, and the content.
fn manifests(root: &Path) -> Vec<(PathBuf, String, Value)> {
    let links = files(&root.join("docker/registry/v2/repositories")).into_iter();
    let links = links.filter(|path| path.to_string_lossy().contains("/_manifests/revisions/"));
    let read = links.filter_map(|path| {
        let digest = std::fs::read_to_string(&path).ok()?;
        let manifest = std::fs::read(data(root, &digest)).ok()?;
        Some((path, digest, serde_json::from_slice(&manifest).ok()?))
    });
    read.collect()
}

/// The blobs that no manifest of any repository needs, and the layer links that no manifest of theirs needs.
pub(super) fn unneeded(root: &Path) -> Vec<PathBuf> {
    let mut needed = BTreeSet::new();
    for (path, digest, manifest) in manifests(root) {
        let own = path.to_string_lossy().split("/_manifests/").next().unwrap_or_default().to_owned();
        needed.insert(data(root, &digest));
        for digest in named(&manifest) {
            needed.insert(data(root, &digest));
            needed.insert(PathBuf::from(format!("{own}/_layers/{}/link", digest.replace(':', "/"))));
        }
    }
    let links = files(&root.join("docker/registry/v2/repositories")).into_iter();
    let links = links.filter(|path| path.to_string_lossy().contains("/_layers/"));
    let all = files(&root.join("docker/registry/v2/blobs")).into_iter().chain(links);
    all.filter(|path| !needed.contains(path)).collect()
}

/// What a manifest of a repository names, and the bucket does not have; and links of manifests that are not there.
pub(super) fn missing(root: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for (path, _, manifest) in manifests(root) {
        let absent = named(&manifest).into_iter().filter(|digest| !data(root, digest).is_file());
        missing.extend(absent.map(|digest| format!("{} names {digest}, which is not there", path.display())));
    }
    let links = files(&root.join("docker/registry/v2/repositories")).into_iter();
    for path in links.filter(|path| path.to_string_lossy().contains("/current/link")) {
        let digest = std::fs::read_to_string(&path).unwrap_or_default();
        if !data(root, &digest).is_file() {
            missing.push(format!("{} is {digest}, which is not there", path.display()));
        }
    }
    missing
}
