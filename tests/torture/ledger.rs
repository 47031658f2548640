//! The acknowledged operations, and whether the registry still honours them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

use super::client::{Client, Outcome, Trouble, Way, with_retries};
use super::report::Row;
use crate::support::Image;
use crate::support::image::digest;

/// All acknowledged content.
#[derive(Default)]
pub struct Ledger {
    blobs: Mutex<BTreeSet<(String, String)>>,
    /// The manifest's digest, by repository and tag.
    tags: Mutex<BTreeMap<(String, String), String>>,
    deleted: Mutex<BTreeSet<(String, String)>>,
}

impl Ledger {
    /// Pushes an image, and records every acknowledgement.
    pub async fn push(&self, client: &Client, (name, tag): (&str, &str), image: &Image, way: Way) -> Outcome {
        for blob in &image.blobs {
            client.push_blob(name, blob, way).await?;
            self.blobs.lock().unwrap().insert((name.to_owned(), digest(blob)));
        }
        client.push_manifest(name, tag, image).await?;
        let key = (name.to_owned(), tag.to_owned());
        self.tags.lock().unwrap().insert(key, image.digest());
        Ok(())
    }

    /// Records an image that was pulled and stored: from now on, it needs no upstream.
    pub fn pulled(&self, (name, tag): (&str, &str), image: &Image) {
        let blobs = image.blobs.iter();
        let blobs = blobs.map(|blob| (name.to_owned(), digest(blob)));
        self.blobs.lock().unwrap().extend(blobs);
        let key = (name.to_owned(), tag.to_owned());
        self.tags.lock().unwrap().insert(key, image.digest());
    }

    /// Deletes an image by its digest.
    pub async fn delete(&self, client: &Client, (name, tag): (&str, &str)) -> Outcome {
        let key = (name.to_owned(), tag.to_owned());
        // From now on, the image may be gone.
        let Some(digest) = self.tags.lock().unwrap().remove(&key) else {
            return Ok(());
        };
        client.delete(name, &digest).await?;
        self.deleted.lock().unwrap().insert(key);
        Ok(())
    }

    pub fn has(&self, name: &str, tag: &str) -> bool {
        let key = (name.to_owned(), tag.to_owned());
        self.tags.lock().unwrap().contains_key(&key)
    }

    pub fn tags(&self) -> Vec<(String, String)> {
        self.tags.lock().unwrap().keys().cloned().collect()
    }

    /// Reads all acknowledged content back.
    pub async fn verify(&self, client: &Client, row: &mut Row) {
        let blobs = self.blobs.lock().unwrap().clone();
        for (name, wanted) in &blobs {
            let read = with_retries(5, || client.blob(name, wanted)).await;
            row.count_acknowledged(&format!("blob {wanted} of {name}"), read.map(drop));
        }
        let tags = self.tags.lock().unwrap().clone();
        for ((name, tag), wanted) in &tags {
            let what = format!("{name}:{tag}");
            let read = with_retries(5, || client.manifest(name, tag)).await;
            let read = read.and_then(|bytes| {
                if digest(&bytes) == *wanted {
                    Ok(())
                } else {
                    Err(Trouble::Wrong(format!("{what} is {}", digest(&bytes))))
                }
            });
            row.count_acknowledged(&what, read);
            let read = with_retries(5, || client.manifest(name, wanted)).await;
            row.count_acknowledged(&format!("{wanted} of {name}"), read.map(drop));
        }
        let deleted = self.deleted.lock().unwrap().clone();
        for (name, tag) in &deleted {
            match with_retries(5, || client.manifest(name, tag)).await {
                Err(trouble) if trouble.is_absence() => {}
                other => row.wrong.push(format!("{name}:{tag} was deleted: {other:?}")),
            }
            row.operations += 1;
        }
    }
}

/// Checks a bucket's folder: every blob has its digest, and every tag or revision points at an existing manifest.
pub fn audit(root: &Path, row: &mut Row) {
    let base = root.join("docker/registry/v2");
    for path in files(&base.join("blobs")) {
        let hex = path.parent().unwrap().file_name().unwrap();
        let actual = digest(&fs::read(&path).unwrap());
        if actual != format!("sha256:{}", hex.to_str().unwrap()) {
            row.wrong.push(format!("{} holds {actual}", path.display()));
        }
    }
    for path in files(&base.join("repositories")) {
        let shown = path.display();
        let place = shown.to_string();
        if !place.ends_with("/link") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // A fill writes a layer's link before the blob appears.
        if place.contains("/_layers/") {
            continue;
        }
        if !data(&base, &text).is_file() {
            row.wrong.push(format!("{shown} points at {text}, which is not there"));
            continue;
        }
        let Some((repository, _)) = place.split_once("/_manifests/tags/") else {
            continue;
        };
        let hex = text.trim_start_matches("sha256:");
        let revision = format!("{repository}/_manifests/revisions/sha256/{hex}/link");
        if place.ends_with("/current/link") && !Path::new(&revision).is_file() {
            row.wrong.push(format!("{shown} points at {text}, which has no revision"));
        }
    }
}

/// Finds manifests with missing blobs, in a bucket without pull-through.
pub fn audit_manifests(root: &Path, row: &mut Row) {
    let base = root.join("docker/registry/v2");
    let links = files(&base.join("repositories")).into_iter();
    for path in links.filter(|path| path.to_string_lossy().contains("/_manifests/revisions/")) {
        let text = fs::read_to_string(&path).unwrap();
        let manifest = fs::read(data(&base, &text)).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        for blob in std::iter::once(&manifest["config"]).chain(&layers) {
            let named = blob["digest"].as_str().unwrap();
            if !data(&base, named).is_file() {
                row.wrong.push(format!("{} names {named}, which is not there", path.display()));
            }
        }
    }
}

/// The path of a digest's bytes.
fn data(base: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    let first = hex.get(..2).unwrap_or("");
    base.join(format!("blobs/sha256/{first}/{hex}/data"))
}

/// The parts and small objects that uploads left behind.
pub fn leftovers(root: &Path) -> Vec<PathBuf> {
    let mut left = files(&root.join(".pounce/uploads"));
    // Emptied at the start; from then on, what is being written.
    left.extend(files(&root.join(".pounce/tmp")));
    let objects = files(&root.join("docker")).into_iter();
    left.extend(objects.filter(|path| path.to_string_lossy().contains("/_uploads/")));
    left
}

/// The files of a directory and of those in it; none if it is not there.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        // The sweeper may delete it meanwhile.
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(_) => {}
            }
        }
    }
    found
}
