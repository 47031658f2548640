//! Pushes, beside plain multipart uploads.
//!
//! A client pushes three layers at once into one S3, through each peer. The AWS SDK sends the same layers straight into
//! the S3, as parallel multipart uploads.

use std::time::Instant;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future, stream};
use sha2::{Digest as _, Sha256};

use crate::peers::{self, Words};
use crate::report::Report;
use crate::support::Process;
use crate::support::image::{digest, noise};
use crate::support::requests::{closing, streamed};
use crate::tools::flush;
use crate::world::s3_words;

const LAYERS: usize = 3;
const LAYER: usize = 128 << 20;
const PART: usize = 10 << 20;
const ROUNDS: usize = 2;
/// A contestant that takes longer than this, in seconds, has one round.
const LONG: f64 = 3.0;
/// The size of the large blob in MiB.
const LARGE: usize = 6 << 10;

/// How a client pushes.
#[derive(Clone, Copy)]
enum Client {
    /// POST, PUT with the bytes, in pieces and with their length.
    Containerd,
    /// POST, PATCH without a length, PUT.
    Docker,
}

pub async fn measure(report: &mut Report) {
    let layers: Vec<Bytes> = (0..LAYERS).map(|seed| noise(seed as u64, LAYER)).collect();
    for round in 0..ROUNDS {
        for (client, what) in [(Client::Containerd, "containerd"), (Client::Docker, "docker")] {
            let scenario = &format!("push of 3 layers of 128 MiB, as {what} does it");
            for peer in peers::of("push") {
                let took = report.median(scenario, &peer.name);
                if round > 0 && took.is_some_and(|seconds| seconds > LONG) {
                    continue;
                }
                let s3 = Process::start(&[]);
                match peer.start(&s3_words(&s3)).await {
                    Ok(running) => {
                        let seconds = push_all(&running.url, &layers, client).await;
                        report.one(scenario, &peer.name, "s", seconds);
                        let scenario = &format!("{scenario}: peak memory");
                        report.one(scenario, &peer.name, "MiB", running.peak());
                    }
                    Err(why) => report.add(scenario, &peer.name, "s", Err(why)),
                }
                drop(s3);
                flush();
            }
            let s3 = Process::start(&[]);
            let seconds = plain(&s3_words(&s3), &layers).await;
            report.one(scenario, "plain multipart uploads", "s", seconds);
            drop(s3);
            flush();
        }
    }
}

fn client(s3: &Words) -> aws_sdk_s3::Client {
    let keys = Credentials::new(&s3["accesskey"], &s3["secretkey"], None, None, "bench");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("auto"))
        .endpoint_url(&s3["s3"])
        .credentials_provider(keys)
        .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
        .force_path_style(true);
    aws_sdk_s3::Client::from_conf(config.build())
}

/// Every layer as a multipart upload of its own, four parts of each at a time.
async fn plain(s3: &Words, layers: &[Bytes]) -> f64 {
    let client = client(s3);
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

/// Seconds until the last of the layers is acknowledged.
async fn push_all(registry: &str, layers: &[Bytes], client: Client) -> f64 {
    let digests: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let http = reqwest::Client::new();
    let began = Instant::now();
    let pushes = layers.iter().zip(&digests).map(async |(layer, digest)| {
        let mut location = begin(&http, registry).await;
        // These clients copy a file to the connection, piece by piece.
        let pieces = layer.chunks(64 << 10).map(|piece| layer.slice_ref(piece));
        let body = streamed(pieces.collect());
        let closing = match client {
            Client::Docker => {
                location = patch(&http, registry, &location, body).await;
                http.put(closing(&location, digest))
            }
            Client::Containerd => http.put(closing(&location, digest)).header("content-length", layer.len()).body(body),
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

async fn patch(http: &reqwest::Client, registry: &str, location: &str, body: reqwest::Body) -> String {
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
pub async fn large(report: &mut Report) {
    let (s3, http) = (Process::start(&[]), reqwest::Client::new());
    let peer = peers::of("push").into_iter().rfind(peers::Peer::is_pounce);
    // The last one copies.
    let peer = peer.unwrap();
    let scenario = "a blob of 6 GiB, streamed, then copied in parts";
    let pounce = match peer.start(&s3_words(&s3)).await {
        Ok(running) => running,
        Err(why) => return report.add(scenario, &peer.name, "s", Err(why)),
    };
    let piece = |index: usize| noise(index as u64, 1 << 20);
    let mut hasher = Sha256::new();
    for index in 0..LARGE {
        hasher.update(piece(index));
    }
    let expected = format!("sha256:{}", const_hex::encode(hasher.finalize()));
    let began = Instant::now();
    let location = begin(&http, &pounce.url).await;
    let body = stream::iter((0..LARGE).map(move |index| Ok::<_, std::io::Error>(piece(index))));
    let body = reqwest::Body::wrap_stream(body);
    let location = patch(&http, &pounce.url, &location, body).await;
    let closed = http.put(closing(&location, &expected)).send().await.unwrap();
    assert_eq!(closed.status(), 201);
    let pushed = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let url = format!("{}/v2/bench/push/blobs/{expected}", pounce.url);
    let mut pulled = http.get(url).send().await.unwrap();
    let (mut hasher, mut size) = (Sha256::new(), 0);
    while let Some(piece) = pulled.chunk().await.unwrap() {
        hasher.update(&piece);
        size += piece.len();
    }
    assert_eq!(size, LARGE << 20);
    let actual = format!("sha256:{}", const_hex::encode(hasher.finalize()));
    assert_eq!(actual, expected, "other bytes came back");
    let peak = &format!("{scenario}: peak memory");
    report.one(scenario, &peer.name, "s", pushed);
    report.one("the same blob pulled back", &peer.name, "s", began.elapsed().as_secs_f64());
    report.one(peak, &peer.name, "MiB", pounce.peak());
}
