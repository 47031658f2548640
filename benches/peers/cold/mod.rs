//! Cold pulls of blobs, beside the same pulls from the upstream itself.
//!
//! The upstream is Debian's `docker-registry`: uncapped, behind a proxy that caps all connections together, and behind
//! an nginx that caps each. Clients are `curl` and containerd.

pub mod containerd;
mod front;
mod origin;

use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use containerd::Containerd;
use front::Front;
use origin::Origin;

use crate::peers::{self, Peer, Running, Words};
use crate::plot::Lines;
use crate::report::Report;
use crate::support::Process;
use crate::tools::{flush, missing, touch_memory};

const MIB: usize = 1 << 20;

pub async fn measure(report: &mut Report) {
    let tools = [("docker-registry", "docker-registry"), ("nginx", "nginx-light"), ("curl", "curl")];
    if let Some(missing) = missing(&tools) {
        report.add("cold pulls", "the upstream", "s", Err(missing));
        return;
    }
    let origin = Origin::start().await;
    one_client(report, &origin).await;
    sizes(report, &origin).await;
    many_clients(report, &origin).await;
    first_byte(report, &origin).await;
    many_fills(report, &origin).await;
    prefetch(report, &origin).await;
}

/// One blob and one client, over three kinds of network.
async fn one_client(report: &mut Report, origin: &Origin) {
    const SIZE: usize = 256 * MIB;
    let path = origin.blob(8, SIZE);
    flush();
    let capped = Front::start(&origin.straight, Some(100e6)).await;
    let per_connection = format!("http://{}", origin.per_connection);
    let uncapped = format!("http://{}", origin.straight);
    for (what, upstream, rounds) in [
        ("upstream 100 MB/s in all", &capped.url, 1),
        ("upstream 40 MB/s a connection", &per_connection, 1),
        ("upstream uncapped", &uncapped, 3),
    ] {
        let scenario = &format!("cold blob of 256 MiB, {what}");
        let wire = (upstream.as_str(), *upstream == per_connection);
        for _ in 0..rounds {
            pull_once(report, scenario, wire, &path, SIZE).await;
        }
    }
}

/// Blobs of all sizes.
async fn sizes(report: &mut Report, origin: &Origin) {
    let upstream = format!("http://{}", origin.straight);
    let mut lines = Lines::new("cold blob, MB a second, upstream uncapped", "MiB");
    for (seed, mib) in [(3, 1), (4, 16), (5, 128)] {
        let path = origin.blob(seed, mib * MIB);
        let scenario = &format!("cold blob of {mib} MiB");
        for _ in 0..3 {
            pull_once(report, scenario, (&upstream, false), &path, mib * MIB).await;
        }
        for contestant in contestants() {
            if let Some(seconds) = report.median(scenario, &contestant) {
                #[expect(clippy::cast_precision_loss, reason = "some hundred millions")]
                lines.point(&contestant, mib, (mib * MIB) as f64 / 1e6 / seconds);
            }
        }
    }
    lines.save("cold-sizes");
}

const DIRECT: &str = "the upstream itself";

fn contestants() -> Vec<String> {
    let peers = peers::of("cold").into_iter().map(|peer| peer.name);
    std::iter::once(DIRECT.to_owned()).chain(peers).collect()
}

/// A round: the blob from the upstream itself, and through each peer, with an empty cache.
async fn pull_once(report: &mut Report, scenario: &str, (upstream, capped): (&str, bool), path: &str, size: usize) {
    for peer in peers::of("cold") {
        let running = match start(&peer, upstream).await {
            Ok(running) => running,
            Err(why) => {
                report.add(scenario, &peer.name, "s", Err(why));
                continue;
            }
        };
        // The spool, the bucket's parts and the bucket's blob.
        touch_memory(size / 2 * 5);
        report.one(scenario, &peer.name, "s", fetch(&format!("{}{path}", running.url), capped));
        running.until_idle().await;
        if peer.is_pounce() {
            let scenario = &format!("{scenario}: peak memory");
            report.one(scenario, &peer.name, "MiB", running.peak());
        }
        drop(running);
        flush();
    }
    report.one(scenario, DIRECT, "s", fetch(&format!("{upstream}{path}"), capped));
}

/// Several clients at once, one blob of 128 MiB.
async fn many_clients(report: &mut Report, origin: &Origin) {
    const SIZE: usize = 128 * MIB;
    let path = origin.blob(2, SIZE);
    let file = origin.as_file(&path);
    flush();
    let mut lines = Lines::new("one cold blob of 128 MiB: seconds until the last client has it", "clients");
    for clients in [1, 10, 50] {
        let plural = if clients == 1 { "" } else { "s" };
        let scenario = &format!("{clients} client{plural} at once, one cold blob of 128 MiB");
        for peer in peers::of("cold") {
            let front = Front::start(&origin.straight, None).await;
            let running = match start(&peer, &front.url).await {
                Ok(running) => running,
                Err(why) => {
                    report.add(scenario, &peer.name, "s", Err(why));
                    continue;
                }
            };
            let seconds = together(&format!("{}{path}", running.url), clients);
            running.until_idle().await;
            report.one(scenario, &peer.name, "s", seconds);
            lines.point(&peer.name, clients, seconds);
            #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
            let ratio = front.sent() as f64 / SIZE as f64;
            let bytes = &format!("{scenario}: bytes from the upstream");
            report.one(bytes, &peer.name, "× the blob", ratio);
            if peer.is_pounce() {
                let scenario = &format!("{scenario}: peak memory");
                report.one(scenario, &peer.name, "MiB", running.peak());
            }
            drop(running);
            flush();
        }
        let seconds = together(&file, clients);
        report.one(scenario, "nginx, from a file", "s", seconds);
        lines.point("nginx, from a file", clients, seconds);
    }
    lines.save("cold-clients");
}

/// The time from the request to the first byte of the body.
async fn first_byte(report: &mut Report, origin: &Origin) {
    const BLOBS: u64 = 21;
    let scenario = "first byte of a cold blob of 1 MiB";
    let upstream = format!("http://{}", origin.straight);
    let paths: Vec<String> = (0..BLOBS).map(|seed| origin.blob(100 + seed, MIB)).collect();
    let mut contestants = Vec::new();
    for peer in peers::of("cold") {
        match start(&peer, &upstream).await {
            Ok(running) => contestants.push((peer.name, running.url.clone(), Some(running))),
            Err(why) => report.add(scenario, &peer.name, "ms", Err(why)),
        }
    }
    contestants.push((DIRECT.to_owned(), upstream, None));
    let client = reqwest::Client::new();
    for path in &paths {
        for (name, url, _running) in &contestants {
            let began = Instant::now();
            let mut reply = client.get(format!("{url}{path}")).send().await.unwrap();
            reply.chunk().await.unwrap().unwrap();
            let seconds = began.elapsed().as_secs_f64();
            while reply.chunk().await.unwrap().is_some() {}
            report.one(scenario, name, "ms", seconds * 1000.0);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The memory of 20 fills at once.
async fn many_fills(report: &mut Report, origin: &Origin) {
    const FILLS: u64 = 20;
    let scenario = "20 cold blobs of 64 MiB at once";
    let paths: Vec<String> = (0..FILLS).map(|seed| origin.blob(200 + seed, 64 * MIB)).collect();
    flush();
    for peer in peers::of("cold").into_iter().filter(Peer::is_pounce) {
        let running = match start(&peer, &format!("http://{}", origin.straight)).await {
            Ok(running) => running,
            Err(why) => {
                report.add(scenario, &peer.name, "s", Err(why));
                continue;
            }
        };
        let began = Instant::now();
        let urls = paths.iter().map(|path| format!("{}{path}", running.url));
        all_succeed(urls.map(|url| curl(&url)).collect());
        report.one(scenario, &peer.name, "s", began.elapsed().as_secs_f64());
        running.until_idle().await;
        let scenario = &format!("{scenario}: peak memory");
        report.one(scenario, &peer.name, "MiB", running.peak());
        drop(running);
        flush();
    }
}

/// An image of six layers, by containerd, from an upstream that caps each connection.
async fn prefetch(report: &mut Report, origin: &Origin) {
    let scenario = "cold image of 6 layers of 40 MiB by containerd, 40 MB/s a connection, one a blob";
    let Some(containerd) = Containerd::start() else {
        let why = "containerd does not run here".to_owned();
        report.add(scenario, "pounce", "s", Err(why));
        return;
    };
    containerd::add_image(origin, 6, 40 * MIB);
    flush();
    let upstream = format!("http://{}", origin.per_connection);
    for _ in 0..2 {
        for (prefetch, contestant) in [("true", "pounce"), ("false", "pounce, without prefetch")] {
            // One connection a blob: another scenario measures parallel ones.
            let process = Process::start(&[
                ("REGISTRY_PROXY_REMOTEURL", &upstream),
                ("REGISTRY_PROXY_PREFETCH", prefetch),
                ("REGISTRY_PROXY_FILL_CONNECTIONS", "1"),
            ]);
            let image = format!("{}/bench/image:1", process.addr);
            report.one(scenario, contestant, "s", containerd.pull(&image));
            containerd.remove(&image);
            while process.metric("fills").await < 7 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(process);
            flush();
        }
        let image = format!("{}/bench/image:1", origin.per_connection);
        report.one(scenario, DIRECT, "s", containerd.pull(&image));
        containerd.remove(&image);
    }
}

async fn start(peer: &Peer, upstream: &str) -> Result<Running, String> {
    peer.start(&Words::from([("upstream", upstream.to_owned())])).await
}

fn curl(url: &str) -> Child {
    Command::new("curl").args(["-sfL", "-o", "/dev/null", url]).spawn().unwrap()
}

fn all_succeed(clients: Vec<Child>) {
    for mut client in clients {
        assert!(client.wait().unwrap().success());
    }
}

/// Seconds until the last of several clients has the blob.
fn together(url: &str, clients: usize) -> f64 {
    let began = Instant::now();
    all_succeed((0..clients).map(|_| curl(url)).collect());
    began.elapsed().as_secs_f64()
}

/// Seconds from the start of a client to its end.
///
/// nginx counts whole seconds when it caps a rate, so the moment within a second changes the figure: where nginx caps,
/// all requests are sent at the beginning of a second.
fn fetch(url: &str, capped: bool) -> f64 {
    if !capped {
        return together(url, 1);
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    std::thread::sleep(Duration::from_nanos(1_050_000_000 - u64::from(now.subsec_nanos())));
    together(url, 1)
}
