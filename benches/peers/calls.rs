//! The S3 calls of each operation, and the round trips that its client waits for one after the other, counted by a
//! proxy in front of the S3.

use std::fmt::Write;

use crate::report::Report;
use crate::support::front::{Calls, Front};
use crate::support::image::digest;
use crate::support::{Image, Process, Upstream, borrowed};
use crate::world::{push_blob, push_blob_in_chunks, push_manifest};

const NAME: &str = "bench/calls";

pub async fn measure(report: &mut Report) {
    let mut table = String::from(
        "Round trips to the S3 that a client waits for, one after the other, and the S3 calls of one operation, those \
         in the background included, on an image of three layers:\n\n\
         | operation | round trips | calls | which |\n|---|---:|---:|---|\n",
    );
    let mut row = |operation: &str, trips: usize, calls: &Calls| {
        let which = calls.iter().map(|(name, times)| format!("{name} {times}"));
        let which = which.collect::<Vec<_>>().join(", ");
        let sum: usize = calls.values().sum();
        let _ = writeln!(table, "| {operation} | {trips} | {sum} | {which} |");
    };

    let s3 = Process::start(&[]);
    let front = Front::before(&s3.addr).await;
    let (image, upstream) = (Image::new(3, &[50_000; 3]), Upstream::start().await);
    upstream.add(NAME, "1", &image);
    let upstream = upstream.url();
    let over = |upstream: Option<&str>| {
        let mut variables = s3.as_s3_behind(front.addr);
        variables.push(("REGISTRY_PROXY_PREFETCH", "false".to_owned()));
        let upstream = upstream.map(|url| ("REGISTRY_PROXY_REMOTEURL", url.to_owned()));
        variables.extend(upstream);
        Process::start(&borrowed(&variables))
    };
    let manifest = format!("/v2/{NAME}/manifests/1");
    let blob = format!("/v2/{NAME}/blobs/{}", digest(&image.blobs[1]));

    let pounce = over(Some(&upstream));
    front.take();
    for (operation, path) in [
        ("pull a manifest by tag, from the upstream", &manifest),
        ("the same again", &manifest),
        ("pull a blob, from the upstream", &blob),
        ("the same again", &blob),
    ] {
        let ((), trips) = front.trips(get(&pounce, path)).await;
        pounce.until_quiet().await;
        row(operation, trips, &front.take());
    }
    for blob in &image.blobs {
        get(&pounce, &format!("/v2/{NAME}/blobs/{}", digest(blob))).await;
        pounce.until_quiet().await;
    }
    drop(pounce);
    let pounce = over(Some(&upstream));
    front.take();
    for (operation, path) in [
        ("a fresh replica: a blob, with an empty cache", &blob),
        ("a fresh replica: the manifest by tag, and the lookup of its blobs", &manifest),
        ("a fresh replica: a blob of it", &blob),
    ] {
        let ((), trips) = front.trips(get(&pounce, path)).await;
        pounce.until_quiet().await;
        row(operation, trips, &front.take());
    }
    drop(pounce);

    let pounce = over(None);
    front.take();
    let other = Image::new(4, &[50_000]);
    let url = pounce.url("");
    for operation in ["push a blob: POST, PUT", "push a blob that is there"] {
        let ((), trips) = front.trips(push_blob(&url, NAME, &other.blobs[1])).await;
        pounce.until_quiet().await;
        row(operation, trips, &front.take());
    }
    let ((), trips) = front.trips(push_blob_in_chunks(&url, NAME, &other.blobs[0])).await;
    pounce.until_quiet().await;
    row("push a blob: POST, PATCH, PUT", trips, &front.take());
    let ((), trips) = front.trips(push_manifest(&url, NAME, "2", &other)).await;
    pounce.until_quiet().await;
    row("push a manifest by tag, with two blobs", trips, &front.take());
    report.note(table.trim_end().to_owned());
}

async fn get(pounce: &Process, path: &str) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let answer = client.build().unwrap().get(pounce.url(path)).send().await.unwrap();
    assert!(matches!(answer.status().as_u16(), 200 | 307), "{path}: {}", answer.status());
    answer.bytes().await.unwrap();
}
