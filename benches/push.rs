//! `make bench`: pushing through pounce, beside distribution and a plain multipart upload.
//!
//! Three layers are pushed at once into one S3: as clients push them through pounce and through
//! Debian's `docker-registry`, and by the AWS SDK straight into the S3 as parallel multipart uploads.
//! The S3 is the one inside another pounce, over a folder; all share the machine. Rounds alternate;
//! medians are printed. Then one blob of 6 GiB is pushed and pulled back.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "what goes wrong here ends the measurement"
)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/mod.rs"]
mod tools;

use std::time::Instant;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use sha2::{Digest as _, Sha256};
use support::Process;
use support::image::{digest, noise};
use support::push::{closing, streamed};
use tools::{Running, flush, machine, median, peak_memory, start_distribution};

const LAYERS: usize = 3;
const LAYER: usize = 128 << 20;
const PART: usize = 10 << 20;
const ROUNDS: usize = 5;
/// Of the large blob, in pieces of 1 MiB.
const LARGE: usize = 6 << 10;

/// An S3 of its own, for everybody.
struct S3 {
    process: Process,
    access: String,
    secret: String,
}

/// How a client pushes.
#[derive(Clone, Copy)]
enum Client {
    /// POST, PUT with the bytes, in pieces and with their length.
    Containerd,
    /// POST, PATCH without a length, PUT.
    Docker,
}

/// What is measured.
enum Way {
    Plain,
    /// And whether the S3 is one that renames.
    Pounce(Client, &'static str),
    Distribution(Client),
}

#[tokio::main]
async fn main() {
    tools::require(&[("docker-registry", "docker-registry")]);
    let layers: Vec<Bytes> = (0..LAYERS).map(|seed| noise(seed as u64, LAYER)).collect();
    let what = [
        ("plain multipart uploads", Way::Plain),
        (
            "pounce, as containerd pushes",
            Way::Pounce(Client::Containerd, "true"),
        ),
        (
            "pounce, as docker pushes",
            Way::Pounce(Client::Docker, "true"),
        ),
        (
            "pounce, as docker pushes, to an S3 that cannot rename",
            Way::Pounce(Client::Docker, "false"),
        ),
        (
            "distribution, as containerd pushes",
            Way::Distribution(Client::Containerd),
        ),
        (
            "distribution, as docker pushes",
            Way::Distribution(Client::Docker),
        ),
    ];
    let mut seconds = vec![Vec::new(); what.len()];
    let mut peaks = vec![None; what.len()];
    for _ in 0..ROUNDS {
        for (index, (_, way)) in what.iter().enumerate() {
            let s3 = S3::start();
            let (took, peak) = match *way {
                Way::Plain => (plain(&s3, &layers).await, None),
                Way::Pounce(client, renames) => through_pounce(&s3, &layers, client, renames).await,
                Way::Distribution(client) => through_distribution(&s3, &layers, client).await,
            };
            seconds[index].push(took);
            peaks[index] = peaks[index].max(peak);
            drop(s3);
            flush();
        }
    }
    println!(
        "{LAYERS} layers of {} MiB pushed at once, median of {ROUNDS} rounds, on {}.\n",
        LAYER >> 20,
        machine()
    );
    println!("| push | seconds | MB/s | of the plain upload | peak memory |");
    println!("|---|---:|---:|---:|---:|");
    let plain = median(seconds[0].clone());
    for ((what, _), (seconds, peak)) in what.iter().zip(seconds.into_iter().zip(peaks)) {
        let seconds = median(seconds);
        #[expect(clippy::cast_precision_loss, reason = "a few hundred million bytes")]
        let rate = (LAYERS * LAYER) as f64 / 1e6 / seconds;
        let peak = peak.map_or(String::new(), |peak| format!("{peak} MiB"));
        println!(
            "| {what} | {seconds:.2} | {rate:.0} | {:.2} | {peak} |",
            plain / seconds
        );
    }
    large().await;
}

impl S3 {
    fn start() -> Self {
        let process = Process::start(&[]);
        let keys = process.folder.path().join("data/.pounce/credentials.json");
        let keys: serde_json::Value =
            serde_json::from_slice(&std::fs::read(keys).unwrap()).unwrap();
        let text = |key: &str| keys[key].as_str().unwrap().to_owned();
        let (access, secret) = (text("accesskey"), text("secretkey"));
        Self {
            process,
            access,
            secret,
        }
    }

    fn endpoint(&self) -> String {
        self.process.url("")
    }

    fn client(&self) -> aws_sdk_s3::Client {
        let keys = Credentials::new(&self.access, &self.secret, None, None, "bench");
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("auto"))
            .endpoint_url(self.endpoint())
            .credentials_provider(keys)
            .request_checksum_calculation(
                aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired,
            )
            .force_path_style(true);
        aws_sdk_s3::Client::from_conf(config.build())
    }
}

/// Every layer as a multipart upload of its own, four parts of each at a time.
async fn plain(s3: &S3, layers: &[Bytes]) -> f64 {
    let client = s3.client();
    let began = Instant::now();
    let uploads = layers.iter().enumerate().map(async |(index, layer)| {
        let key = format!("plain/{index}");
        let created = client.create_multipart_upload().bucket("pounce").key(&key);
        let id = created.send().await.unwrap().upload_id.unwrap();
        let parts: Vec<CompletedPart> = stream::iter((1..).zip(0..layer.len().div_ceil(PART)))
            .map(|(number, index)| {
                let part = layer.slice(index * PART..layer.len().min((index + 1) * PART));
                let request = client
                    .upload_part()
                    .bucket("pounce")
                    .key(&key)
                    .upload_id(&id)
                    .part_number(number)
                    .body(part.into());
                async move {
                    let sent = request.send().await?;
                    let part = CompletedPart::builder().part_number(number);
                    Ok::<_, aws_sdk_s3::Error>(part.set_e_tag(sent.e_tag).build())
                }
            })
            .buffered(4)
            .try_collect()
            .await
            .unwrap();
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts));
        let complete = client
            .complete_multipart_upload()
            .bucket("pounce")
            .key(&key)
            .upload_id(&id)
            .multipart_upload(parts.build());
        complete.send().await.unwrap();
    });
    future::join_all(uploads).await;
    began.elapsed().as_secs_f64()
}

async fn through_pounce(
    s3: &S3,
    layers: &[Bytes],
    client: Client,
    renames: &str,
) -> (f64, Option<u64>) {
    let pounce = start_pounce(s3, renames);
    let seconds = push_all(&pounce.url(""), layers, client).await;
    (seconds, Some(peak_memory(pounce.pid())))
}

fn start_pounce(s3: &S3, renames: &str) -> Process {
    Process::start(&[
        ("REGISTRY_STORAGE", "s3"),
        ("REGISTRY_STORAGE_S3_BUCKET", "pounce"),
        ("REGISTRY_STORAGE_S3_REGIONENDPOINT", &s3.endpoint()),
        ("REGISTRY_STORAGE_S3_REGION", "auto"),
        ("REGISTRY_STORAGE_S3_FORCEPATHSTYLE", "true"),
        ("REGISTRY_STORAGE_S3_ACCESSKEY", &s3.access),
        ("REGISTRY_STORAGE_S3_SECRETKEY", &s3.secret),
        ("REGISTRY_STORAGE_S3_TIGRIS", renames),
    ])
}

async fn through_distribution(s3: &S3, layers: &[Bytes], client: Client) -> (f64, Option<u64>) {
    let storage = format!(
        "storage:\n  s3:\n    bucket: pounce\n    regionendpoint: {}\n    region: auto\n    forcepathstyle: true\n    \
         accesskey: {}\n    secretkey: {}\n    secure: false\n",
        s3.endpoint(),
        s3.access,
        s3.secret
    );
    let (registry, url, _folder): (Running, _, _) = start_distribution(&storage).await;
    let seconds = push_all(&url, layers, client).await;
    (seconds, Some(peak_memory(registry.pid())))
}

/// Seconds until the last of the layers is acknowledged.
async fn push_all(registry: &str, layers: &[Bytes], client: Client) -> f64 {
    let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let http = reqwest::Client::new();
    let began = Instant::now();
    let pushes = layers.iter().zip(&digests).map(async |(layer, digest)| {
        let mut location = begin(&http, registry).await;
        // As these clients do: they copy a file to the connection, piece by piece.
        let pieces = layer.chunks(64 << 10).map(|piece| layer.slice_ref(piece));
        let body = streamed(pieces.collect());
        let closing = match client {
            Client::Docker => {
                location = patch(&http, registry, &location, body).await;
                http.put(closing(&location, digest))
            }
            Client::Containerd => http
                .put(closing(&location, digest))
                .header("content-length", layer.len())
                .body(body),
        };
        assert_eq!(closing.send().await.unwrap().status(), 201);
    });
    future::join_all(pushes).await;
    began.elapsed().as_secs_f64()
}

async fn begin(http: &reqwest::Client, registry: &str) -> String {
    let begun = http.post(format!("{registry}/v2/bench/push/blobs/uploads/"));
    located(registry, &begun.send().await.unwrap())
}

async fn patch(
    http: &reqwest::Client,
    registry: &str,
    location: &str,
    body: reqwest::Body,
) -> String {
    let reply = http.patch(location).body(body).send().await.unwrap();
    assert_eq!(reply.status(), 202);
    located(registry, &reply)
}

fn located(registry: &str, reply: &reqwest::Response) -> String {
    let location = reply.headers()["location"].to_str().unwrap();
    let base = reqwest::Url::parse(registry).unwrap();
    base.join(location).unwrap().to_string()
}

/// A blob larger than S3 copies in one request.
async fn large() {
    let (s3, http) = (S3::start(), reqwest::Client::new());
    let pounce = start_pounce(&s3, "false");
    let piece = |index: usize| noise(index as u64, 1 << 20);
    let mut hasher = Sha256::new();
    for index in 0..LARGE {
        hasher.update(piece(index));
    }
    let expected = format!("sha256:{}", const_hex::encode(hasher.finalize()));
    let began = Instant::now();
    let location = begin(&http, &pounce.url("")).await;
    let body = stream::iter((0..LARGE).map(move |index| Ok::<_, std::io::Error>(piece(index))));
    let body = reqwest::Body::wrap_stream(body);
    let location = patch(&http, &pounce.url(""), &location, body).await;
    let closed = http
        .put(closing(&location, &expected))
        .send()
        .await
        .unwrap();
    assert_eq!(closed.status(), 201);
    let pushed = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let url = pounce.url(&format!("/v2/bench/push/blobs/{expected}"));
    let mut pulled = http.get(url).send().await.unwrap();
    let (mut hasher, mut size) = (Sha256::new(), 0);
    while let Some(piece) = pulled.chunk().await.unwrap() {
        hasher.update(&piece);
        size += piece.len();
    }
    assert_eq!(size, LARGE << 20);
    let actual = format!("sha256:{}", const_hex::encode(hasher.finalize()));
    assert_eq!(actual, expected, "other bytes came back");
    println!(
        "\nA blob of {} GiB: pushed in {pushed:.1} s (streamed, copied in parts), pulled back right in {:.1} s, \
         peak memory {} MiB.",
        LARGE >> 10,
        began.elapsed().as_secs_f64(),
        peak_memory(pounce.pid())
    );
}
