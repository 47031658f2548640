//! Outages: of the upstream, the bucket, DNS, and disk space.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::client::{Client, Outcome, Trouble, until_probe, with_retries};
use super::ledger::audit;
use super::report::Row;
use crate::support::faults::{Fault, Faulty};
use crate::support::image::digest;
use crate::support::{Image, Pounce, Upstream, borrowed};

const PATIENCE: Duration = Duration::from_mins(2);
/// "In seconds": how long a client waits for a refusal.
const SOON: Duration = Duration::from_secs(16);
const NAME: &str = "tortured/image";

fn images(count: u64) -> Vec<Image> {
    let image = |number| Image::new(7000 + number, &[50_000, 3_000_000]);
    (0..count).map(image).collect()
}

fn tag(number: usize) -> String {
    format!("v{number}")
}

/// Checks that these bytes are the image's manifest.
fn is(bytes: &[u8], image: &Image) -> Outcome {
    if bytes == image.manifest { Ok(()) } else { Err(Trouble::Wrong(digest(bytes))) }
}

/// Pulls all images.
async fn pull_all(client: &Client, images: &[Image], row: &mut Row) {
    for (number, image) in images.iter().enumerate() {
        let pulled = client.pull(NAME, &tag(number)).await;
        row.count(&tag(number), pulled.and_then(|bytes| is(&bytes, image)));
    }
}

/// A cold blob or manifest is refused soon, with a reason.
async fn cold_is_refused(pounce: &Pounce, wanted: &str, row: &mut Row) {
    let impatient = Client::of(pounce.addr, SOON);
    row.operations += 1;
    match impatient.manifest(NAME, wanted).await {
        Err(Trouble::Refused(503, _)) => row.refused += 1,
        other => row.failed.push(format!("{wanted}: {other:?}")),
    }
}

/// The upstream is away before a process starts; or its name does not resolve.
pub async fn upstream(count: u64, nameless: bool) -> Row {
    let what = if nameless { "has a name that cannot be resolved" } else { "refuses connections" };
    let mut row = Row::new(format!("the upstream {what}"));
    let (images, mut upstream) = (images(count), Upstream::start().await);
    for (number, image) in images.iter().enumerate() {
        upstream.add(NAME, &tag(number), image);
    }
    let pounce = Pounce::before(&upstream).await;
    pull_all(&Client::of(pounce.addr, PATIENCE), &images, &mut row).await;
    for blob in images.iter().flat_map(|image| &image.blobs) {
        pounce.until_stored(&digest(blob)).await;
    }
    let url = if nameless { "http://registry.invalid".to_owned() } else { upstream.url() };
    upstream.stop().await;
    row.injected = 1;
    let fresh = pounce.restart(&[("REGISTRY_PROXY_REMOTEURL", &url), ("REGISTRY_PROXY_TAGTTL", "1s")]).await;
    let client = Client::of(fresh.addr, PATIENCE);
    for _ in 0..2 {
        pull_all(&client, &images, &mut row).await;
        // Longer than the tag TTL, so that pounce asks for every tag anew.
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    cold_is_refused(&fresh, "never-pulled", &mut row).await;
    audit(&fresh.root(), &mut row);
    row
}

/// The bucket refuses connections or does not answer, and comes back.
pub async fn bucket(count: u64, silent: bool) -> Row {
    let what = if silent { "does not answer" } else { "closes connections" };
    let mut row = Row::new(format!("the bucket {what}"));
    let (images, upstream) = (images(count), Upstream::start().await);
    for (number, image) in images.iter().enumerate() {
        upstream.add(NAME, &tag(number), image);
    }
    let later = Image::new(7999, &[1000]);
    upstream.add(NAME, "later", &later);
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let mut variables = bucket.as_s3_behind(front.addr);
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let client = Client::of(pounce.addr, PATIENCE);
    for _ in 0..2 {
        pull_all(&client, &images, &mut row).await;
        pounce.until_quiet().await;
    }
    until_probe(&client, "/readyz", 200).await;

    row.injected = 1;
    if silent {
        front.inject(&[Fault::Hang], 100);
    } else {
        front.away(true);
    }
    until_probe(&client, "/readyz", 503).await;
    assert_eq!(client.probe("/healthz").await, 200);
    for (number, image) in images.iter().enumerate() {
        let read = client.manifest(NAME, &tag(number)).await;
        row.count(&tag(number), read.and_then(|bytes| is(&bytes, image)));
        for blob in &image.blobs {
            let redirect = client.redirect(NAME, &digest(blob)).await;
            row.count(&tag(number), redirect.map(drop));
        }
    }
    cold_is_refused(&pounce, &format!("sha256:{}", "5".repeat(64)), &mut row).await;

    front.inject(&[], 0);
    front.away(false);
    until_probe(&client, "/readyz", 200).await;
    let afterwards = client.pull(NAME, "later").await;
    row.count("afterwards", afterwards.and_then(|bytes| is(&bytes, &later)));
    pull_all(&client, &images, &mut row).await;
    audit(&bucket.root(), &mut row);
    row
}

/// A file system of two MiB; dropping it unmounts it.
struct Tiny(TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(folder.path()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    /// Makes it large.
    fn grow(&self) {
        let grown = Command::new("mount").args(["-o", "remount,size=500m"]).arg(self.0.path()).status();
        assert!(grown.unwrap().success());
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Images of which the disk of [`Tiny`] does not hold two.
async fn images_for_a_full_disk(count: u64) -> (Upstream, Vec<Image>) {
    let image = |number| Image::new(8000 + number, &[1_500_000, 1_500_000]);
    let images: Vec<Image> = (0..count).map(image).collect();
    let upstream = Upstream::start().await;
    for (number, image) in images.iter().enumerate() {
        upstream.add(NAME, &tag(number), image);
    }
    (upstream, images)
}

/// The disk is full under the files of blobs that are being copied to a bucket: memory takes their place. `None` where
/// the test cannot mount.
pub async fn disk(count: u64) -> Option<Row> {
    let mut row = Row::new("the disk is full under proxy.spool.directory");
    let tiny = Tiny::mount()?;
    let (upstream, images) = images_for_a_full_disk(count).await;
    let pounce = Pounce::with_s3(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_SPOOL_DIRECTORY", tiny.0.path().to_str().unwrap()),
    ])
    .await;
    row.injected = 1;
    let client = Client::of(pounce.addr, PATIENCE);
    let client = &client;
    for _ in 0..2 {
        let pulls = images.iter().enumerate().map(|(number, image)| async move {
            let tag = tag(number);
            (image, with_retries(5, || client.pull(NAME, &tag)).await)
        });
        for (image, pulled) in join_all(pulls).await {
            row.count("pull", pulled.and_then(|bytes| is(&bytes, image)));
        }
    }
    pounce.until_quiet().await;
    audit(&pounce.root(), &mut row);
    Some(row)
}

/// The disk is full under the folder in which content is stored, and is made larger later. `None` as of [`disk`].
pub async fn folder(count: u64) -> Option<Row> {
    let mut row = Row::new("the disk is full under the folder");
    let tiny = Tiny::mount()?;
    let (upstream, images) = images_for_a_full_disk(count).await;
    let root = tiny.0.path().to_str().unwrap();
    let variables =
        [("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]), ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)];
    let pounce = Pounce::with(&variables).await;
    row.injected = 1;
    let client = Client::of(pounce.addr, PATIENCE);
    for (number, image) in images.iter().enumerate() {
        let pulled = client.pull(NAME, &tag(number)).await.and_then(|bytes| is(&bytes, image));
        match pulled {
            // The disk was full in the middle of a blob.
            Err(Trouble::Broken(_)) => {
                row.operations += 1;
                row.refused += 1;
            }
            pulled => row.count_refusable("pull", pulled),
        }
    }
    audit(tiny.0.path(), &mut row);
    tiny.grow();
    pull_all(&client, &images, &mut row).await;
    pounce.until_quiet().await;
    audit(tiny.0.path(), &mut row);
    Some(row)
}
