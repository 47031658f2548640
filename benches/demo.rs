//! `make demo`: what pounce is for, in a table, without any network.
//!
//! The upstream is a fake in this process that caps each connection. pounce is the real program, over a folder of its
//! own. Five clients pull an image at once, as real clients do: the manifest, then all blobs at a time, whole or in
//! ranges, and each blob is verified. They do so cold, warm, and with the upstream dead.
#![allow(clippy::unwrap_used, missing_docs, reason = "what goes wrong here ends the demonstration")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::redirect::Policy;
use support::image::digest;
use support::upstream::Manners;
use support::{Image, Process, Upstream};

const MIB: usize = 1 << 20;
const LAYERS: [usize; 5] = [40 * MIB, 24 * MIB, 12 * MIB, 4 * MIB, 300];
const CLIENTS: usize = 5;
/// The upstream's pause before each 64 KiB, which makes some 12 MB/s of a connection.
const PACE: Duration = Duration::from_millis(5);
/// How a client asks for ranges, as containerd does: so many at a time, of this size.
const RANGES: (usize, usize) = (3, 8 * MIB);
/// Longer than `proxy.tagttl` of the demonstration, so that a dead upstream is asked, and missed.
const TTL: Duration = Duration::from_millis(1500);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Whole,
    InRanges,
}

/// Bytes of blobs that the clients received, by where they came from.
#[derive(Default)]
struct Received {
    /// From the URL that they were redirected to.
    redirected: AtomicUsize,
    /// From the registry that they asked.
    streamed: AtomicUsize,
}

#[tokio::main]
async fn main() {
    let image = Image::new(1, &LAYERS);
    let size: usize = image.blobs.iter().map(bytes::Bytes::len).sum();
    println!("{CLIENTS} clients pull an image of {} MiB at once. The upstream caps a connection at", size / MIB);
    println!("some {} MB/s; pounce runs beside the clients.\n", 64 * 1024 / 1000 / PACE.as_millis());
    println!("| blobs | pull | last client | MB to clients | = redirected | + streamed | MB from upstream |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    for (form, name) in [(Form::Whole, "whole"), (Form::InRanges, "in ranges")] {
        let mut upstream = Upstream::start().await;
        upstream.add("demo/app", "latest", &image);
        let manners = || Manners { pace: Some(PACE), ranges: true, ..Manners::default() };
        upstream.behave(manners());
        row(&format!("{name} | without pounce"), &upstream, &upstream.url(), &image, form).await;
        let pounce = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_PROXY_TAGTTL", "1s")]);
        for pull in ["cold", "warm", "upstream dead"] {
            upstream.behave(manners());
            if pull == "upstream dead" {
                upstream.stop().await;
                tokio::time::sleep(TTL).await;
            }
            let from_upstream = row(&format!("{name} | {pull}"), &upstream, &pounce.url(""), &image, form).await;
            assert!(pull == "cold" || from_upstream == 0, "only a cold pull asks the upstream for blobs");
            pounce.until_quiet().await;
        }
    }
    println!("\nRedirected bytes came from presigned URLs of the bucket. Here the bucket is a folder behind the same");
    println!("process; with a bucket at Tigris, they do not touch pounce's machine.");
}

/// Pulls with all clients, and prints a row; returns the bytes that the upstream sent.
async fn row(name: &str, upstream: &Upstream, registry: &str, image: &Image, form: Form) -> usize {
    let (received, began) = (Received::default(), Instant::now());
    join_all((0..CLIENTS).map(|_| pull(registry, image, form, &received))).await;
    let seconds = began.elapsed().as_secs_f64();
    let (redirected, streamed) = (received.redirected.into_inner(), received.streamed.into_inner());
    let (total, from_upstream) = (redirected + streamed, upstream.blob_bytes());
    let size: usize = image.blobs.iter().map(bytes::Bytes::len).sum();
    assert_eq!(total, CLIENTS * size, "every client has the image, once");
    // In tenths of a MB; the columns add up after they were rounded, too.
    let [total, redirected, sent] = [total, redirected, from_upstream].map(|bytes| bytes / 100_000);
    let mb = |tenths: usize| format!("{}.{}", tenths / 10, tenths % 10);
    let columns = [total, redirected, total - redirected, sent].map(mb).join(" | ");
    println!("| {name} | {seconds:.2} s | {columns} |");
    from_upstream
}

/// Pulls as a client does, and verifies every blob.
async fn pull(registry: &str, image: &Image, form: Form, received: &Received) {
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let manifest = client.get(format!("{registry}/v2/demo/app/manifests/latest")).send().await.unwrap();
    assert_eq!(manifest.error_for_status().unwrap().bytes().await.unwrap(), image.manifest);
    let blobs = image.blobs.iter().map(async |blob| {
        let url = format!("{registry}/v2/demo/app/blobs/{}", digest(blob));
        let (parallel, chunk) = if form == Form::InRanges { RANGES } else { (1, usize::MAX) };
        let starts = (0..blob.len()).step_by(chunk).map(|start| (start, blob.len().min(start.saturating_add(chunk))));
        let chunks = starts.map(|(start, end)| {
            let range = (form == Form::InRanges).then(|| format!("bytes={start}-{}", end - 1));
            get(&client, &url, range, received)
        });
        let chunks: Vec<_> = chunks.collect();
        let chunks: Vec<_> = stream::iter(chunks).buffered(parallel).collect().await;
        assert_eq!(digest(&chunks.concat()), digest(blob));
    });
    join_all(blobs).await;
}

/// The bytes of a blob, or of a range of it, wherever the registry sends the client.
async fn get(client: &reqwest::Client, url: &str, range: Option<String>, received: &Received) -> Vec<u8> {
    let ask = async |url: &str| {
        let mut request = client.get(url);
        if let Some(range) = &range {
            request = request.header("range", range);
        }
        request.send().await.unwrap().error_for_status().unwrap()
    };
    let mut counter = &received.streamed;
    let mut reply = ask(url).await;
    if reply.status().is_redirection() {
        counter = &received.redirected;
        let location = reply.headers()["location"].to_str().unwrap();
        let location = reqwest::Url::parse(url).unwrap().join(location).unwrap();
        reply = ask(location.as_str()).await;
    }
    let pieces: Vec<bytes::Bytes> = reply.bytes_stream().try_collect().await.unwrap();
    let bytes = pieces.concat();
    counter.fetch_add(bytes.len(), Ordering::Relaxed);
    bytes
}
