//! `make demo`: an image pulled twice through pounce, cold and warm, without any network.
//!
//! The upstream is a fake in this process. pounce is the real program, over a folder of its own. The client does the
//! same as real clients: it pulls the manifest, then all blobs at once, and verifies each.
#![allow(clippy::unwrap_used, missing_docs, reason = "what goes wrong here ends the demonstration")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use futures_util::future::join_all;
use support::image::digest;
use support::{Image, Process, Upstream};

const MIB: usize = 1 << 20;
const LAYERS: [usize; 6] = [64 * MIB, 48 * MIB, 32 * MIB, 16 * MIB, 4 * MIB, 300];

#[tokio::main]
async fn main() {
    let image = Image::new(1, &LAYERS);
    let size: usize = image.blobs.iter().map(bytes::Bytes::len).sum();
    let upstream = Upstream::start().await;
    upstream.add("demo/app", "latest", &image);
    let pounce = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    println!("demo/app:latest has {} layers, {} MiB in all.", LAYERS.len(), size / MIB);
    println!("upstream {}, pounce {} over {}\n", upstream.addr, pounce.addr, pounce.folder.path().display());
    println!("| pull | seconds | blob bytes through pounce | requests upstream |");
    println!("|---|---:|---:|---:|");
    let mut warm = Row::default();
    for pull in ["cold", "warm"] {
        warm = measure(&upstream, &pounce, &image).await;
        println!("| {pull} | {:.2} | {} | {} |", warm.seconds, warm.through, warm.upstream);
        pounce.until_quiet().await;
    }
    println!("\nThe warm pull's bytes came from presigned URLs of the bucket. Here the bucket is a folder behind the");
    println!("same process; with a bucket at Tigris the bytes do not touch pounce's machine.");
    assert_eq!((warm.through, warm.upstream), (0, 0), "the second pull must be warm");
}

#[derive(Default)]
struct Row {
    seconds: f64,
    through: u64,
    upstream: usize,
}

async fn measure(upstream: &Upstream, pounce: &Process, image: &Image) -> Row {
    upstream.forget();
    let before = pounce.metric("blob_bytes").await;
    let began = Instant::now();
    pull(pounce, image).await;
    let seconds = began.elapsed().as_secs_f64();
    let through = pounce.metric("blob_bytes").await - before;
    Row { seconds, through, upstream: upstream.requests() }
}

/// Pulls as a client does, and verifies every blob.
async fn pull(pounce: &Process, image: &Image) {
    let client = reqwest::Client::new();
    let get = async |path: String| {
        let reply = client.get(pounce.url(&path)).send().await.unwrap().error_for_status().unwrap();
        reply.bytes().await.unwrap()
    };
    assert_eq!(get("/v2/demo/app/manifests/latest".into()).await, image.manifest);
    let blobs = image.blobs.iter().map(|blob| get(format!("/v2/demo/app/blobs/{}", digest(blob))));
    for (got, wanted) in join_all(blobs).await.iter().zip(&image.blobs) {
        assert_eq!(digest(got), digest(wanted));
    }
}
