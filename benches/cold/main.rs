//! `make bench`: blobs pulled cold through pounce, beside the same pulls without it.
//!
//! The upstream is Debian's `docker-registry`: straight, behind a front that caps all connections
//! together, and behind an nginx that caps each; clients are `curl` and containerd. distribution (the same
//! `docker-registry`, as a pull-through cache over a folder) stands in pounce's place for comparison.
//! Rounds alternate; medians are printed.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "what goes wrong here ends the measurement"
)]

#[path = "../../tests/support/mod.rs"]
mod support;
#[path = "../support/mod.rs"]
mod tools;

mod containerd;
mod front;
mod origin;

use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use containerd::Containerd;
use front::Front;
use origin::Origin;
use support::Process;
use tools::{flush, machine, median, peak_memory, touch_memory};

const MIB: usize = 1 << 20;
/// The spool, the bucket's parts and the bucket's blob.
const ROOM: usize = 5 << 29;

#[tokio::main]
async fn main() {
    tools::require(&[
        ("docker-registry", "docker-registry"),
        ("nginx", "nginx-light"),
        ("curl", "curl"),
    ]);
    let origin = Origin::start().await;
    println!("Cold pulls, on {}.\n", machine());
    one_client(&origin).await;
    many_clients(&origin).await;
    first_byte(&origin).await;
    many_fills(&origin).await;
    prefetch(&origin).await;
}

/// One blob of 1 GiB and one client, over three kinds of wire.
async fn one_client(origin: &Origin) {
    let path = origin.blob(1, 1 << 30);
    flush();
    let capped = Front::start(&origin.straight, Some(100e6)).await;
    let per_connection = format!("http://{}", origin.per_connection);
    println!(
        "| 1 GiB, upstream | direct | through pounce | ratio | through distribution | ratio | pounce's peak memory |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let uncapped = format!("http://{}", origin.straight);
    for (what, upstream, rounds) in [
        ("100 MB/s in all", &capped.url, 2),
        ("uncapped, loopback", &uncapped, 5),
        ("40 MB/s a connection", &per_connection, 2),
    ] {
        let (mut direct, mut pounce, mut peer, mut peak) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for round in 0..rounds {
            let uncapped = what.starts_with("uncapped");
            let touch = || {
                if uncapped {
                    touch_memory(ROOM);
                }
            };
            touch();
            direct.push(fetch(&format!("{upstream}{path}")));
            let process = start_pounce(upstream, &[]);
            touch();
            pounce.push(fetch(&process.url(&path)));
            settle(&process, 1).await;
            peak = peak.max(peak_memory(process.pid()));
            drop(process);
            // Slow rows say enough of it in one round.
            if round == 0 || uncapped {
                let (_distribution, url, _folder) = start_distribution(upstream).await;
                touch();
                peer.push(fetch(&format!("{url}{path}")));
            }
            flush();
        }
        let (direct, pounce, peer) = (median(direct), median(pounce), median(peer));
        println!(
            "| {what} | {direct:.2} s | {pounce:.2} s | {:.2} | {peer:.2} s | {:.2} | {peak} MiB |",
            pounce / direct,
            peer / direct
        );
    }
}

/// 50 clients at once, one blob of 256 MiB.
async fn many_clients(origin: &Origin) {
    const CLIENTS: usize = 50;
    let path = origin.blob(2, 256 * MIB);
    let file = origin.as_file(&path);
    flush();
    let alone = {
        let process = start_pounce(&format!("http://{}", origin.straight), &[]);
        let seconds = together(&process.url(&path), 1);
        settle(&process, 1).await;
        seconds
    };
    let front = Front::start(&origin.straight, None).await;
    let process = start_pounce(&front.url, &[]);
    let all = together(&process.url(&path), CLIENTS);
    settle(&process, 1).await;
    let (alone_static, all_static) = (together(&file, 1), together(&file, CLIENTS));
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    let ratio = front.sent() as f64 / (256 * MIB) as f64;
    println!(
        "\n{CLIENTS} clients at once, one cold blob of 256 MiB: {ratio:.3} times its bytes from the upstream; \
         slowest client {all:.2} s, one alone {alone:.2} s ({:.1} times), peak memory {} MiB. \
         nginx with the same bytes in a file: {all_static:.2} s and {alone_static:.2} s ({:.1} times).",
        all / alone,
        peak_memory(process.pid()),
        all_static / alone_static
    );
    flush();
}

/// From the request to the first byte of the body.
async fn first_byte(origin: &Origin) {
    const BLOBS: u64 = 21;
    let upstream = format!("http://{}", origin.straight);
    let paths: Vec<String> = (0..BLOBS)
        .map(|seed| origin.blob(100 + seed, MIB))
        .collect();
    let process = start_pounce(&upstream, &[]);
    let client = reqwest::Client::new();
    let first = async |url: String| {
        let began = Instant::now();
        let mut reply = client.get(url).send().await.unwrap();
        reply.chunk().await.unwrap().unwrap();
        let seconds = began.elapsed().as_secs_f64();
        while reply.chunk().await.unwrap().is_some() {}
        seconds * 1000.0
    };
    let (mut direct, mut pounce) = (Vec::new(), Vec::new());
    for path in &paths {
        direct.push(first(format!("{upstream}{path}")).await);
        pounce.push(first(process.url(path)).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (direct, pounce) = (median(direct), median(pounce));
    println!(
        "\nFirst byte of a cold blob, median of {BLOBS}: {pounce:.1} ms, from the upstream itself {direct:.1} ms \
         ({:+.1} ms).",
        pounce - direct
    );
}

/// The memory that 20 fills of 256 MiB take.
async fn many_fills(origin: &Origin) {
    const FILLS: u64 = 20;
    let paths: Vec<String> = (0..FILLS)
        .map(|seed| origin.blob(200 + seed, 256 * MIB))
        .collect();
    flush();
    let process = start_pounce(&format!("http://{}", origin.straight), &[]);
    let began = Instant::now();
    let clients: Vec<Child> = paths.iter().map(|path| curl(&process.url(path))).collect();
    all_succeed(clients);
    let seconds = began.elapsed().as_secs_f64();
    settle(&process, FILLS).await;
    println!(
        "\n{FILLS} fills of 256 MiB at once: {seconds:.2} s, peak memory {} MiB.",
        peak_memory(process.pid())
    );
    flush();
}

/// An image of six layers, by containerd, from an upstream that caps each connection.
async fn prefetch(origin: &Origin) {
    let Some(containerd) = Containerd::start() else {
        println!("\ncontainerd does not run here: no image was pulled with it.");
        return;
    };
    containerd::add_image(origin, 6, 40 * MIB);
    flush();
    let upstream = format!("http://{}", origin.per_connection);
    let (mut without, mut with, mut direct) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        let image = format!("{}/bench/image:1", origin.per_connection);
        direct.push(containerd.pull(&image));
        containerd.remove(&image);
        for (prefetch, seconds) in [("false", &mut without), ("true", &mut with)] {
            // One connection a blob: what parallel ones gain stands above.
            let variables = [
                ("REGISTRY_PROXY_PREFETCH", prefetch),
                ("REGISTRY_PROXY_FILL_CONNECTIONS", "1"),
            ];
            let process = start_pounce(&upstream, &variables);
            let image = format!("{}/bench/image:1", process.addr);
            seconds.push(containerd.pull(&image));
            containerd.remove(&image);
            settle(&process, 7).await;
        }
    }
    let (without, with, direct) = (median(without), median(with), median(direct));
    println!(
        "\nAn image of 6 layers of 40 MiB, cold, by containerd (3 layers at once), upstream capped at 40 MB/s a \
         connection: {with:.2} s with prefetch, {without:.2} s without, {direct:.2} s without pounce."
    );
}

fn start_pounce(upstream: &str, more: &[(&str, &str)]) -> Process {
    let upstream = [("REGISTRY_PROXY_REMOTEURL", upstream)];
    Process::start(&[&upstream, more].concat())
}

/// distribution over a folder, before an upstream.
async fn start_distribution(upstream: &str) -> (tools::Running, String, tempfile::TempDir) {
    let storage = "storage:\n  filesystem:\n    rootdirectory: FOLDER/data\n";
    let proxy = format!("proxy:\n  remoteurl: {upstream}\n");
    tools::start_distribution(&format!("{storage}{proxy}")).await
}

fn curl(url: &str) -> Child {
    Command::new("curl")
        .args(["-sfL", "-o", "/dev/null", url])
        .spawn()
        .unwrap()
}

fn all_succeed(clients: Vec<Child>) {
    for mut client in clients {
        assert!(client.wait().unwrap().success());
    }
}

/// Seconds until the last of so many clients is done.
fn together(url: &str, clients: usize) -> f64 {
    let began = Instant::now();
    all_succeed((0..clients).map(|_| curl(url)).collect());
    began.elapsed().as_secs_f64()
}

/// Seconds from the start of a client to its end.
///
/// nginx counts whole seconds when it caps a rate, so what a request gets depends on when in a second
/// it comes: all of them come at the beginning of one.
fn fetch(url: &str) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    std::thread::sleep(Duration::from_nanos(
        1_050_000_000 - u64::from(now.subsec_nanos()),
    ));
    together(url, 1)
}

/// Waits until so many blobs are in the bucket: the next round must not share the machine with them.
async fn settle(process: &Process, fills: u64) {
    while process.metric("fills_active").await > 0 || process.metric("fills").await < fills {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.metric("fills").await, fills);
    flush();
}
