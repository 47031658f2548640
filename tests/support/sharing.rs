//! Replicas that fill one blob together, over an S3 in memory.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use pounce::config::FillTuning;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::image::digest;
use super::upstream::{Manners, Seen};
use super::{FakeS3, Image, Pounce, Reply, Rule, Upstream, borrowed};

/// A chunk in these tests.
pub const CHUNK: usize = 1 << 20;

/// A bucket, and an upstream with an image that has one layer of several chunks.
pub struct Sharing {
    pub s3: FakeS3,
    pub upstream: Upstream,
    pub image: Image,
    pub tuning: FillTuning,
    /// Further variables of every replica.
    pub variables: Vec<(&'static str, String)>,
}

impl Sharing {
    /// With a layer of so many chunks. A silent owner is dead after 1.5 s, an upstream may stall, and chunks are
    /// deleted at once.
    pub async fn start(chunks: usize) -> Self {
        Self::with(&[], chunks * CHUNK).await
    }

    /// With further rules of the bucket, and a layer of `size` bytes.
    pub async fn with(rules: &[Rule], size: usize) -> Self {
        let s3 = FakeS3::start(&[rules, &[Rule::SmallParts]].concat()).await;
        let upstream = Upstream::start().await;
        let image = Image::new(22, &[size]);
        upstream.add("a", "v1", &image);
        upstream.behave(Manners { ranges: true, ..Manners::default() });
        let [heartbeat, death, grace] = [100, 1500, 0].map(Duration::from_millis);
        let stall = Duration::from_mins(10);
        let tuning = FillTuning { heartbeat, death, stall, grace, chunk: Some(CHUNK as u64) };
        Self { s3, upstream, image, tuning, variables: Vec::new() }
    }

    fn variables(&self, name: &str, upstream: &str) -> Vec<(&'static str, String)> {
        let mut variables = self.s3.variables();
        variables.extend([
            ("REGISTRY_STORAGE_S3_ACCESSKEY", name.to_owned()),
            ("REGISTRY_HTTP_SECRET", SECRET.to_owned()),
            ("REGISTRY_HTTP_DRAINTIMEOUT", "1s".to_owned()),
            ("REGISTRY_PROXY_REMOTEURL", upstream.to_owned()),
            ("REGISTRY_PROXY_FILL_SHAREDSIZE", (CHUNK + 1).to_string()),
            ("REGISTRY_PROXY_FILL_CONNECTIONS", "1".to_owned()),
        ]);
        variables.extend(self.variables.iter().cloned());
        variables
    }

    /// A replica that knows the image's manifest. The bucket tells its requests by `name`, its access key.
    pub(crate) async fn replica(&self, name: &str) -> Pounce {
        self.replica_of(name, &self.upstream.url()).await
    }

    /// A replica with another upstream.
    pub(crate) async fn replica_of(&self, name: &str, upstream: &str) -> Pounce {
        let variables = self.variables(name, upstream);
        let pounce = Pounce::tuned(&borrowed(&variables), self.tuning).await;
        assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
        pounce.until_quiet().await;
        pounce
    }

    /// A replica that has not seen the image's manifest, and may not know yet whether the bucket keeps conditions.
    pub(crate) async fn stranger(&self, name: &str) -> Pounce {
        let variables = self.variables(name, &self.upstream.url());
        Pounce::tuned(&borrowed(&variables), self.tuning).await
    }

    /// A replica that can be killed.
    pub(crate) async fn mortal(&self, name: &str) -> Mortal {
        let (variables, tuning) = (self.variables(name, &self.upstream.url()), self.tuning);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let starting = runtime.spawn(async move {
            let pounce = Pounce::tuned(&borrowed(&variables), tuning).await;
            assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
            pounce.until_quiet().await;
            pounce
        });
        Mortal { pounce: starting.await.unwrap(), runtime: Some(runtime) }
    }

    pub fn layer(&self) -> &Bytes {
        self.image.layer()
    }

    pub fn digest(&self) -> String {
        digest(self.layer())
    }

    /// The layer's path at a replica.
    pub fn path(&self) -> String {
        format!("/v2/a/blobs/{}", self.digest())
    }

    /// The stored blob.
    pub fn blob_key(&self) -> String {
        let digest = self.digest();
        let hex = digest.strip_prefix("sha256:").unwrap();
        format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])
    }

    pub fn is_stored(&self) -> bool {
        self.s3.object(&self.blob_key()).is_some()
    }

    /// The keys of everything that fills left in the bucket.
    pub fn left(&self) -> Vec<String> {
        let mut keys = self.s3.keys();
        keys.retain(|key| key.starts_with("pounce/fills/"));
        keys
    }

    /// The keys of chunks, in order of their generations and offsets.
    pub fn chunks(&self) -> Vec<String> {
        let is_offset = |name: &str| name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut keys = self.left();
        keys.retain(|key| key.rsplit('/').next().is_some_and(is_offset));
        keys
    }

    /// The key and the content of the only lease.
    pub fn lease(&self) -> Option<(String, Value)> {
        let key = self.left().into_iter().find(|key| key.ends_with("/lease"))?;
        let bytes = self.s3.object(&key)?;
        let line = bytes.iter().position(|byte| *byte == b'\n')?;
        Some((key, serde_json::from_slice(&bytes[line + 1..]).ok()?))
    }

    /// Whether there is a lease, and it has this.
    pub fn leases(&self, fits: impl Fn(&Value) -> bool) -> bool {
        self.lease().is_some_and(|(_, lease)| fits(&lease))
    }

    /// How many processes owned the fill one after the other.
    pub fn generations(&self) -> usize {
        self.lease().map_or(0, |(_, lease)| lease["generations"].as_array().unwrap().len())
    }

    /// Waits for work in the background.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !reached(self) {
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "it never came to this: {what}; {:?}; {:?}",
                self.lease(),
                self.left()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the blob is stored, and no chunk and no lease is left.
    pub(crate) async fn until_done(&self) {
        self.until("the blob is stored", Self::is_stored).await;
        self.until("no chunk is left", |it| it.left().is_empty()).await;
        assert!(self.s3.object(&self.blob_key()).unwrap() == self.layer());
        assert_eq!(self.s3.open_uploads(), Vec::<String>::new());
    }

    /// Waits until the replica of this name has read the lease.
    pub(crate) async fn until_followed(&self, name: &str) {
        let read = |seen: &Seen| seen.path.contains("/lease") && is_by(seen, name);
        self.until("the lease is read", |it| it.s3.seen("GetObject").iter().any(read)).await;
    }

    /// How often a replica read a lease.
    pub fn looks(&self, name: &str) -> usize {
        let reads = self.s3.seen("GetObject");
        reads.iter().filter(|seen| seen.path.contains("/lease") && is_by(seen, name)).count()
    }

    /// Waits until all of the first `chunks` are stored and hashed, and the lease says so.
    pub(crate) async fn until_hashed(&self, chunks: usize) {
        self.until("the lease names the chunks", |it| it.leases(|lease| lease["hashed"] == json!(chunks))).await;
    }

    /// The bucket answers these requests of this replica only when the sender says so.
    pub fn cut_off(&self, name: &'static str, cut: Cut) -> watch::Sender<Cut> {
        let (sender, gate) = watch::channel(cut);
        for operation in ["PutObject", "GetObject"] {
            let gate = gate.clone();
            self.s3.on(operation, usize::MAX, move |seen| {
                let (mut gate, is_its) = (gate.clone(), is_by(&seen, name));
                async move {
                    if is_its {
                        // Without a sender, nothing is cut off.
                        let _ = gate.wait_for(|cut| !cut.holds(&seen.path)).await;
                    }
                    None
                }
            });
        }
        sender
    }

    /// The writes of leases so far.
    pub fn lease_writes(&self) -> Vec<Seen> {
        let mut writes = self.s3.seen("PutObject");
        writes.retain(|seen| seen.path.contains("/lease"));
        writes
    }

    /// Stops the upstream's next body that has this byte of the layer before it, until `upstream.release`; the others
    /// come whole.
    pub fn hold_at(&self, byte: usize) {
        let manners = Manners { ranges: true, holds_first_at: Some(byte), ..Manners::default() };
        self.upstream.behave(manners);
    }

    /// The key of the lease that replicas with this upstream use for the layer, where nothing was filled yet.
    pub(crate) async fn lease_key(&self) -> String {
        let other = Image::new(23, &[2 * CHUNK]);
        self.upstream.add("other", "v1", &other);
        let replica = self.replica("scout").await;
        assert!(replica.get(&format!("/v2/other/blobs/{}", digest(other.layer()))).await.body == other.layer());
        replica.until_quiet().await;
        self.until("its fill is over", |it| it.left().is_empty()).await;
        let puts = self.s3.seen("PutObject").into_iter();
        let mut directories = puts.filter_map(|put| {
            let below = put.path.strip_prefix("/bucket/pounce/fills/sha256/")?.to_owned();
            let mut parts = below.split('/').skip(1);
            parts.next().map(str::to_owned)
        });
        let upstream = directories.next().expect("something was put");
        let key = format!("pounce/fills/sha256/{}/{upstream}/lease", &self.digest()[7..]);
        self.upstream.forget();
        self.s3.take();
        key
    }

    /// A lease of an owner that is silent: 'filling', with nothing stored.
    pub fn silent(&self) -> Value {
        json!({
            "write": 1,
            "state": "filling",
            "generations": [GENERATION],
            "size": self.layer().len(),
            "chunk": CHUNK,
            "stored": [],
            "heads": [],
            "hashed": 0,
            "midstate": "",
            "chain": "0".repeat(64),
        })
    }

    /// Writes a lease as a replica with this secret would.
    pub fn plant(&self, key: &str, lease: &Value, secret: &str) {
        self.s3.put(key, signed(key, lease, secret));
    }
}

/// A layer from a replica, redirected or streamed.
pub(crate) async fn whole(replica: &Pounce, path: &str) -> Reply {
    let reply = replica.get(path).await;
    if reply.status == 307 { replica.follow(&reply).await } else { reply }
}

/// The requests of a replica that are not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Nothing,
    /// Those for chunks and heads.
    Chunks,
    /// Those for leases, too.
    Fills,
}

impl Cut {
    fn holds(self, path: &str) -> bool {
        let fills = path.contains("pounce/fills/");
        fills && (self == Self::Fills || (self == Self::Chunks && !path.contains("/lease")))
    }
}

/// A replica in a runtime of its own.
pub struct Mortal {
    pub pounce: Pounce,
    runtime: Option<Runtime>,
}

impl Mortal {
    /// Ends it between two instructions: its connections close, and nothing is tidied up.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The `http.secret` of all replicas.
pub const SECRET: &str = "shared";

/// The generation of an owner that is silent.
pub const GENERATION: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// Whether a request is of the replica with this access key.
pub fn is_by(seen: &Seen, name: &str) -> bool {
    let signed = seen.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    signed.contains(&format!("Credential={name}/"))
}

/// Longer than any test takes.
pub(crate) const NEVER: Duration = Duration::from_mins(10);

/// Reads what is left of a response; whether it is whole.
pub(crate) async fn rest(mut response: reqwest::Response, body: &mut Vec<u8>) -> bool {
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn signed(key: &str, lease: &Value, secret: &str) -> Vec<u8> {
    let lease = lease.to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for bytes in [b"pounce fill lease 1\0", key.as_bytes(), b"\0", lease.as_bytes()] {
        mac.update(bytes);
    }
    let tag = const_hex::encode(mac.finalize().into_bytes());
    [tag.as_bytes(), b"\n", lease.as_bytes()].concat()
}
