//! The cold path over a folder: the file that a blob was downloaded into becomes the stored blob.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Process, Upstream};

const MIB: usize = 1 << 20;

struct Cold {
    upstream: Upstream,
    image: Image,
    /// `REGISTRY_PROXY_REMOTEURL`
    url: String,
}

impl Cold {
    async fn new(size: usize) -> Self {
        let upstream = Upstream::start().await;
        let image = Image::new(7, &[size]);
        upstream.add("a/b", "v1", &image);
        let url = upstream.url();
        Self { upstream, image, url }
    }

    async fn pounce(&self, more: &[(&str, &str)]) -> Pounce {
        Pounce::with(&[&[("REGISTRY_PROXY_REMOTEURL", &self.url[..])], more].concat()).await
    }

    fn path(&self) -> String {
        format!("/v2/a/b/blobs/{}", digest(self.image.layer()))
    }

    /// Pulls the layer, and waits until it is stored.
    async fn pull(&self, pounce: &Pounce) {
        assert!(pounce.get(&self.path()).await.body == self.image.layer());
        pounce.until_stored(&digest(self.image.layer())).await;
    }

    /// Pulls the layer; returns the spool file in `directory` and then the stored blob.
    async fn pull_watching(&self, pounce: &Pounce, directory: &Path) -> (Metadata, Metadata) {
        // The start writes into the folder, too.
        pounce.until_quiet().await;
        self.upstream.behave(Manners { holds_after: Some(MIB), ..Manners::default() });
        let mut reply = pounce.request("GET", &self.path()).send().await.unwrap();
        let mut body = reply.chunk().await.unwrap().unwrap().to_vec();
        let spool = open_file_in(directory);
        while pounce.metric("spool_used_bytes").await < MIB as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.upstream.release();
        while let Some(piece) = reply.chunk().await.unwrap() {
            body.extend_from_slice(&piece);
        }
        assert!(body == *self.image.layer());
        pounce.until_stored(&digest(self.image.layer())).await;
        pounce.until_quiet().await;
        assert_eq!(pounce.metric("spool_used_bytes").await, 0);
        let stored = self.stored(pounce);
        assert_eq!(stored.len(), self.image.layer().len() as u64);
        (spool, stored)
    }

    fn key(&self) -> String {
        let layer = digest(self.image.layer());
        let hex = layer.strip_prefix("sha256:").unwrap();
        format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])
    }

    fn stored(&self, pounce: &Pounce) -> Metadata {
        fs::metadata(pounce.root().join(self.key())).unwrap()
    }
}

/// The only file below a directory that this process, which runs pounce, has open.
fn open_file_in(directory: &Path) -> Metadata {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let inside = |path: &PathBuf| fs::read_link(path).is_ok_and(|target| target.starts_with(directory));
    let found: Vec<_> = open.filter(inside).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    fs::metadata(&found[0]).unwrap()
}

/// Files that are being written, and uploads.
fn temporary(pounce: &Pounce) -> usize {
    let count = |name: &str| fs::read_dir(pounce.root().join(".pounce").join(name)).unwrap().count();
    count("tmp") + count("joining") + count("uploads")
}

#[tokio::test]
async fn the_spool_file_becomes_the_blob() {
    // In the folder without a setting, and in another directory of its file system.
    let beside = tempfile::TempDir::new().unwrap();
    let setting = [("REGISTRY_PROXY_SPOOL_DIRECTORY", beside.path().to_str().unwrap())];
    for setting in [&[][..], &setting] {
        let cold = Cold::new(12 * MIB).await;
        let pounce = cold.pounce(setting).await;
        let own = pounce.root().join(".pounce/tmp");
        let directory = if setting.is_empty() { &own } else { beside.path() };
        let (spool, stored) = cold.pull_watching(&pounce, directory).await;
        assert_eq!((spool.dev(), spool.ino(), spool.nlink()), (stored.dev(), stored.ino(), 0));
        assert_eq!((stored.nlink(), temporary(&pounce)), (1, 0));
        let warm = pounce.get(&cold.path()).await;
        assert!(pounce.follow(&warm).await.body == cold.image.layer());
        assert_eq!(cold.upstream.count("GET", "/blobs/"), 1);
    }
}

#[tokio::test]
async fn a_spool_on_another_file_system_is_copied() {
    let Ok(elsewhere) = tempfile::TempDir::new_in("/dev/shm") else { return };
    // More than is copied at once.
    let cold = Cold::new(70 * MIB).await;
    let pounce = cold.pounce(&[("REGISTRY_PROXY_SPOOL_DIRECTORY", elsewhere.path().to_str().unwrap())]).await;
    let (spool, stored) = cold.pull_watching(&pounce, elsewhere.path()).await;
    if spool.dev() != stored.dev() {
        assert_ne!(spool.ino(), stored.ino());
    }
    assert_eq!((stored.nlink(), temporary(&pounce)), (1, 0));
    let warm = pounce.get(&cold.path()).await;
    assert!(pounce.follow(&warm).await.body == cold.image.layer());
}

/// The attributes file of a blob.
fn attributes(pounce: &Pounce, key: &str) -> String {
    let directory = pounce.root().join(".pounce/metadata").join(Path::new(key).parent().unwrap());
    let files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    fs::read_to_string(&files[0]).unwrap()
}

#[tokio::test]
async fn the_blob_is_stored_as_through_the_s3() {
    // By one request, and by several parts.
    for size in [100_000, 25 * MIB] {
        let cold = Cold::new(size).await;
        let adopting = cold.pounce(&[]).await;
        let sending = Pounce::with_s3(&[("REGISTRY_PROXY_REMOTEURL", &cold.url)]).await;
        cold.pull(&adopting).await;
        cold.pull(&sending).await;
        assert_eq!(attributes(&adopting, &cold.key()), attributes(&sending, &cold.key()));
        let [adopted, sent] = [&adopting, &sending].map(|pounce| cold.stored(pounce));
        let described = |it: &Metadata| (it.len(), it.mode(), it.uid(), it.gid(), it.nlink());
        assert_eq!(described(&adopted), described(&sent));
        let warm = adopting.get(&cold.path()).await;
        let etag = adopting.follow(&warm).await.header("etag").to_owned();
        assert!(
            etag.starts_with(&format!("\"{size:x}-")) && etag.ends_with(&format!("-{:x}\"", adopted.ino())),
            "{etag}"
        );
    }
}

#[tokio::test]
async fn the_blob_outlives_process_and_upstream() {
    let cold = Cold::new(3 * MIB).await;
    let pounce = cold.pounce(&[]).await;
    assert_eq!(pounce.get("/v2/a/b/manifests/v1").await.status, 200);
    cold.pull(&pounce).await;
    let pounce = pounce.restart(&[]).await;
    assert!(pounce.pull("a/b", &digest(cold.image.layer())).await == cold.image.layer());
}

#[tokio::test]
async fn wrong_bytes_leave_nothing() {
    for size in [40, 3 * MIB] {
        let cold = Cold::new(size).await;
        let pounce = cold.pounce(&[]).await;
        cold.upstream.behave(Manners { corrupts: true, ..Manners::default() });
        let reply = pounce.get(&cold.path()).await;
        assert!(!reply.whole || reply.status == 503, "{}", reply.status);
        pounce.until_quiet().await;
        assert_eq!((pounce.objects(), temporary(&pounce)), (Vec::new(), 0));
        cold.upstream.behave(Manners::default());
        cold.pull(&pounce).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_without_room_is_refused_before_its_first_byte() {
    let cold = Cold::new(3 * MIB).await;
    let mut process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &cold.url)]);
    // No disk has a PiB to reserve.
    cold.upstream.behave(Manners { claims: Some(1 << 50), ranges: false, ..Manners::default() });
    for _ in 0..3 {
        let reply = reqwest::get(process.url(&cold.path())).await.unwrap();
        assert_eq!(reply.status(), 503);
        let text = reply.text().await.unwrap();
        assert!(text.contains("UNAVAILABLE") && text.contains("make room"), "{text}");
    }
    let line = process.until("blobs find no room");
    let folder = process.folder.path().join("data");
    assert!(line.contains("ERROR") && line.contains(folder.to_str().unwrap()), "{line}");
    cold.upstream.behave(Manners::default());
    let reply = reqwest::get(process.url(&cold.path())).await.unwrap();
    assert!(reply.status() == 200 && reply.bytes().await.unwrap() == *cold.image.layer());
    process.until("stored a blob");
    assert_eq!(process.seen.matches("blobs find no room").count(), 1, "{}", process.seen);
}

#[tokio::test]
async fn a_fill_that_outlasts_the_drain_leaves_nothing() {
    let cold = Cold::new(3 * MIB).await;
    let mut pounce = cold.pounce(&[("REGISTRY_HTTP_DRAINTIMEOUT", "100ms")]).await;
    cold.upstream.behave(Manners { holds_after: Some(MIB), ..Manners::default() });
    let mut reply = pounce.request("GET", &cold.path()).send().await.unwrap();
    reply.chunk().await.unwrap().unwrap();
    pounce.end().await;
    assert_eq!((pounce.objects(), temporary(&pounce)), (Vec::new(), 0));
}
