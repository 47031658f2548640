//! Replicas over one bucket, before an upstream whose blobs are made up.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::bucket::Bucket;
use super::client::Client;
use crate::content::{Content, Made};
use crate::fleet::upstream::{Catalog, Limits, Upstream};
use crate::peers::{self, Running};
use crate::support::image::{OCI_MANIFEST, digest};

/// The repository.
pub const NAME: &str = "bench/shared";
const HOST: &str = "127.0.0.1";
const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux"}"#;

/// A blob of the upstream, the only layer of an image.
#[derive(Clone)]
pub struct Blob {
    pub made: Made,
    pub digest: Arc<str>,
}

impl Blob {
    pub fn new(seed: u64, size: u64) -> Self {
        let made = Made { seed, size };
        Self { made, digest: made.digest().into() }
    }

    /// The tag of its image.
    pub fn tag(&self) -> String {
        format!("v{}", self.made.seed)
    }

    fn manifest(&self) -> Vec<u8> {
        let descriptor = |kind: &str, digest: &str, size: u64| {
            let media_type = format!("application/vnd.oci.image.{kind}");
            json!({"mediaType": media_type, "digest": digest, "size": size})
        };
        let config = descriptor("config.v1+json", &digest(CONFIG), CONFIG.len() as u64);
        let layer = descriptor("layer.v1.tar", &self.digest, self.made.size);
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]});
        manifest.to_string().into_bytes()
    }
}

struct Blobs(Vec<Blob>);

impl Catalog for Blobs {
    fn find(&self, path: &str) -> Option<(Content, String, &'static str)> {
        let (kind, reference) = path.strip_prefix(&format!("/v2/{NAME}/"))?.split_once('/')?;
        if kind == "manifests" {
            let mut manifests = self.0.iter().map(|blob| (blob.tag(), blob.manifest()));
            let (_, manifest) = manifests.find(|(tag, manifest)| tag == reference || digest(manifest) == reference)?;
            let digest = digest(&manifest);
            return Some((Content::Bytes(manifest.into()), digest, OCI_MANIFEST));
        }
        let content = match self.0.iter().find(|blob| *blob.digest == *reference) {
            Some(blob) => Content::Made(blob.made),
            None if digest(CONFIG) == reference => Content::Bytes(CONFIG.into()),
            None => return None,
        };
        Some((content, reference.to_owned(), "application/octet-stream"))
    }
}

/// Dropping the value ends all of it.
pub struct World {
    pub upstream: Upstream,
    pub bucket: Bucket,
    pub replicas: Vec<Running>,
    addresses: Arc<[String]>,
}

impl World {
    /// So many replicas of a program, with these variables besides those that all have.
    ///
    /// # Errors
    /// A replica does not start; in a sentence for the table.
    pub async fn start(
        blobs: &[Blob],
        limits: Limits,
        (program, replicas): (&Path, usize),
        variables: &[(&str, &str)],
    ) -> Result<Self, String> {
        let upstream = Upstream::start(HOST, Arc::new(Blobs(blobs.to_vec())), limits).await;
        let bucket = Bucket::start().await;
        let mut words = bucket.words();
        words.insert("upstream", format!("http://{}", upstream.address));
        words.insert("pounce", program.display().to_string());
        let mut peer = peers::of("shared").remove(0);
        for (name, value) in variables {
            peer = peer.with(name, value);
        }
        let mut running = Vec::new();
        for _ in 0..replicas {
            running.push(peer.start(&words).await?);
        }
        let addresses = running.iter().map(|it| it.url.trim_start_matches("http://").to_owned()).collect();
        Ok(Self { upstream, bucket, replicas: running, addresses })
    }

    /// A client of this blob, which begins at the replica of this number.
    pub fn client(&self, replica: usize, blob: &Blob) -> Client {
        Client {
            replicas: Arc::clone(&self.addresses),
            replica: Arc::new(replica.into()),
            blob: blob.clone(),
            rate: f64::INFINITY,
            progress: Arc::default(),
            leaves: Arc::default(),
            repeated: Arc::default(),
        }
    }

    /// How often the upstream has sent so many bytes.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn copies(&self, size: u64) -> f64 {
        self.upstream.sent() as f64 / size as f64
    }

    /// Waits until the upstream has sent so many bytes, or for some minutes.
    pub async fn until_sent(&self, bytes: u64) {
        self.until(|| self.upstream.sent() >= bytes).await;
    }

    /// Waits until the bucket has a blob, or for some minutes.
    pub async fn until_stored(&self, blob: &Blob) {
        self.until(|| self.bucket.has(&blob.digest)).await;
    }

    async fn until(&self, done: impl Fn() -> bool) {
        let began = Instant::now();
        while !done() && began.elapsed() < Duration::from_mins(3) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
