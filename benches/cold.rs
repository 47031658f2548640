//! `make bench`: a blob pulled cold through pounce, beside the same pull without it.
//!
//! The upstream is Debian's `docker-registry`, straight and behind an nginx that caps each connection;
//! clients are `curl`. distribution (the same `docker-registry`, as a pull-through cache over a folder)
//! stands in pounce's place for comparison. Rounds alternate; medians are printed.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "what goes wrong here ends the measurement"
)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/mod.rs"]
mod tools;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::Process;
use support::image::{digest, noise};
use tempfile::TempDir;
use tools::{Running, flush, free_port, machine, median, peak_memory, until_up};

const SIZE: usize = 1 << 30;
const ROUNDS: usize = 3;
const CLIENTS: usize = 8;

/// The upstream, with the blob in it.
struct Origin {
    _registry: Running,
    _nginx: Running,
    folder: TempDir,
    straight: String,
    capped: String,
    blob: String,
}

#[tokio::main]
async fn main() {
    tools::require(&[
        ("docker-registry", "docker-registry"),
        ("nginx", "nginx-light"),
        ("curl", "curl"),
    ]);
    let origin = Origin::start().await;
    let path = format!("/v2/bench/blob/blobs/{}", origin.blob);
    println!(
        "A blob of {} MiB, cold, median of {ROUNDS} rounds, on {}.\n",
        SIZE >> 20,
        machine()
    );
    println!(
        "| upstream | direct | through pounce | ratio | through distribution | ratio | pounce's peak memory |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (what, upstream) in [
        ("capped at 100 MB/s", &origin.capped),
        ("uncapped, loopback", &origin.straight),
    ] {
        let (mut direct, mut pounce, mut peer, mut peak) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            direct.push(fetch(&format!("{upstream}{path}")));
            let process = start_pounce(upstream);
            pounce.push(fetch(&process.url(&path)));
            settle(&process).await;
            peak = peak.max(peak_memory(process.pid()));
            drop(process);
            let (_distribution, url, _folder) = start_distribution(Some(upstream)).await;
            peer.push(fetch(&format!("{url}{path}")));
            flush();
        }
        let (direct, pounce, peer) = (median(direct), median(pounce), median(peer));
        println!(
            "| {what} | {direct:.2} s | {pounce:.2} s | {:.2} | {peer:.2} s | {:.2} | {peak} MiB |",
            pounce / direct,
            peer / direct
        );
    }
    together(&origin, &path).await;
}

/// Several clients at once.
async fn together(origin: &Origin, path: &str) {
    let process = start_pounce(&origin.straight);
    let before = origin.blob_gets();
    let began = Instant::now();
    let clients: Vec<Child> = (0..CLIENTS).map(|_| curl(&process.url(path))).collect();
    for mut client in clients {
        assert!(client.wait().unwrap().success());
    }
    let seconds = began.elapsed().as_secs_f64();
    settle(&process).await;
    println!(
        "\n{CLIENTS} clients at once, uncapped: {seconds:.2} s for all, {} GET upstream, peak memory {} MiB.",
        origin.blob_gets() - before,
        peak_memory(process.pid())
    );
}

impl Origin {
    async fn start() -> Self {
        let (registry, straight, folder) = start_distribution(None).await;
        let port = free_port();
        let config = format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
             uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {straight}; proxy_buffering on;\n\
             proxy_max_temp_file_size 0; limit_rate 100000000; }} }} }}\n",
            root = folder.path().display()
        );
        fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let mut nginx = Command::new("nginx");
        nginx
            .arg("-e")
            .arg("stderr")
            .arg("-c")
            .arg(folder.path().join("nginx.conf"));
        let nginx = Running(nginx.stderr(Stdio::null()).spawn().unwrap());
        let capped = format!("http://127.0.0.1:{port}");
        until_up(&format!("{capped}/v2/")).await;
        let blob = push(&straight).await;
        flush();
        Self {
            _registry: registry,
            _nginx: nginx,
            folder,
            straight,
            capped,
            blob,
        }
    }

    /// How many blob GETs its log has.
    fn blob_gets(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        let gets = log
            .lines()
            .filter(|line| line.contains("response completed") && line.contains("method=GET"));
        gets.filter(|line| line.contains("/blobs/sha256:")).count()
    }
}

fn start_pounce(upstream: &str) -> Process {
    Process::start(&[("REGISTRY_PROXY_REMOTEURL", upstream)])
}

/// distribution over a folder, before an upstream or by itself.
async fn start_distribution(upstream: Option<&str>) -> (Running, String, TempDir) {
    let proxy = upstream
        .map(|url| format!("proxy:\n  remoteurl: {url}\n"))
        .unwrap_or_default();
    let storage = "storage:\n  filesystem:\n    rootdirectory: FOLDER/data\n";
    tools::start_distribution(&format!("{storage}{proxy}")).await
}

async fn push(registry: &str) -> String {
    let (client, blob) = (reqwest::Client::new(), noise(1, SIZE));
    let digest = digest(&blob);
    let begun = client
        .post(format!("{registry}/v2/bench/blob/blobs/uploads/"))
        .send()
        .await
        .unwrap();
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    let put = client
        .put(format!("{location}&digest={digest}"))
        .body(blob)
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 201);
    digest
}

fn curl(url: &str) -> Child {
    Command::new("curl")
        .args(["-sfL", "-o", "/dev/null", url])
        .spawn()
        .unwrap()
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
    let began = Instant::now();
    assert!(curl(url).wait().unwrap().success(), "{url}");
    began.elapsed().as_secs_f64()
}

/// Waits until the blob is in the bucket: the next round must not share the machine with it.
async fn settle(process: &Process) {
    while process.metric("fills_active").await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(process.metric("fills").await, 1);
    flush();
}
