//! `make bench`: what access control costs, beside distribution's.
//!
//! One blob is asked for over and over on a few connections, from a pounce without auth and from one with
//! htpasswd, with a password of bcrypt cost 10; and from Debian's `docker-registry` with the same file. Then
//! the latency of such requests is measured while somebody guesses passwords. Rounds alternate; medians are
//! printed. The client shares the machine.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "what goes wrong here ends the measurement"
)]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "support/mod.rs"]
mod tools;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use support::Process;
use support::image::{digest, noise};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tools::{machine, median, require, start_distribution};

const CONNECTIONS: usize = 8;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);
/// Wrong passwords a second, and for how long.
const GUESSES: u32 = 200;
const SIEGE: Duration = Duration::from_secs(10);
/// Connections whose latency is measured: as many requests at once as a node pulls layers.
const PULLS: usize = 3;

/// One request, written out.
fn request(path: &str, user: &str, password: &str) -> Vec<u8> {
    let shown = STANDARD.encode(format!("{user}:{password}"));
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {shown}\r\n\r\n").into_bytes()
}

/// A connection that reads answers as fast as they come.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let buffer = Vec::with_capacity(16 << 10);
        Self { stream, buffer }
    }

    /// The status of the answer, whose body is thrown away.
    async fn ask(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let end = loop {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the connection was closed");
            if let Some(end) = self.buffer.windows(4).position(|it| it == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = str::from_utf8(&self.buffer[..end])
            .unwrap()
            .to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap_or("0");
        let length: usize = length.split('\r').next().unwrap().parse().unwrap();
        while self.buffer.len() < end + length {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0);
        }
        head[9..12].parse().unwrap()
    }
}

/// Requests a second, each answered with this status.
async fn rate(addr: SocketAddr, request: &[u8], status: u16) -> f64 {
    let (stop, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut connection = Connection::to(addr).await;
    // Once, so that what is remembered is.
    assert_eq!(connection.ask(request).await, status);
    let asking: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let (stop, count, request) = (Arc::clone(&stop), Arc::clone(&count), request.to_vec());
            tokio::spawn(async move {
                let mut connection = Connection::to(addr).await;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(connection.ask(&request).await, status);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(ROUND).await;
    let rate = f64::from(u32::try_from(count.load(Ordering::Relaxed)).unwrap());
    let seconds = began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for task in asking {
        task.await.unwrap();
    }
    rate / seconds
}

/// The median latency of pulls in milliseconds, for a while.
async fn latency(addr: SocketAddr, request: &[u8]) -> f64 {
    let until = Instant::now() + SIEGE;
    let asking: Vec<_> = (0..PULLS)
        .map(|_| {
            let request = request.to_vec();
            tokio::spawn(async move {
                let (mut connection, mut times) = (Connection::to(addr).await, Vec::new());
                while Instant::now() < until {
                    let began = Instant::now();
                    assert_eq!(connection.ask(&request).await, 307);
                    times.push(began.elapsed().as_secs_f64() * 1000.0);
                }
                times
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in asking {
        all.extend(task.await.unwrap());
    }
    median(all)
}

/// Guesses passwords for as long as it is let; how many were answered with 401, and with 429.
async fn guess(addr: SocketAddr, users: bool) -> (usize, usize) {
    let (mut wrong, mut limited) = (0, 0);
    let began = Instant::now();
    let mut connections = Vec::new();
    for at in 0..GUESSES * u32::try_from(SIEGE.as_secs()).unwrap() {
        let due = began + Duration::from_secs(1) * at / GUESSES;
        tokio::time::sleep_until(due.into()).await;
        // A guess that is compared takes its time; the next one does not wait for it.
        connections.push(tokio::spawn(async move {
            let user = if users {
                format!("user-{at}")
            } else {
                "alice".to_owned()
            };
            let guess = request("/v2/", &user, &format!("guess {at}"));
            Connection::to(addr).await.ask(&guess).await
        }));
    }
    for status in connections {
        match status.await.unwrap() {
            401 => wrong += 1,
            429 => limited += 1,
            other => panic!("{other}"),
        }
    }
    (wrong, limited)
}

async fn push(addr: &str, blob: &Bytes, user: Option<&str>) {
    let client = reqwest::Client::new();
    let authorized = |request: reqwest::RequestBuilder| match user {
        Some(user) => request.basic_auth(user, Some("secret")),
        None => request,
    };
    let asking = authorized(client.post(format!("http://{addr}/v2/a/b/blobs/uploads/")));
    let begun = asking.send().await.unwrap();
    let location = begun.headers()["location"].to_str().unwrap();
    let location = match location.strip_prefix('/') {
        Some(path) => format!("http://{addr}/{path}"),
        None => location.to_owned(),
    };
    let url = support::push::closing(&location, &digest(blob));
    let pushed = authorized(client.put(url))
        .body(blob.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(pushed.status(), 201);
}

#[tokio::main]
async fn main() {
    require(&[("docker-registry", "docker-registry")]);
    let line = pounce::auth::line("alice", "secret", 10).unwrap();
    let quiet = ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true");
    let open = Process::start(&[quiet]);
    let guarded = Process::start(&[quiet, ("REGISTRY_AUTH_HTPASSWD_USERS", &line)]);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, &line).unwrap();
    let sections = format!(
        "log: {{level: error, accesslog: {{disabled: true}}}}\nstorage: {{filesystem: {{rootdirectory: FOLDER/data}}}}\n\
         auth: {{htpasswd: {{realm: x, path: {}}}}}\n",
        file.display()
    );
    let (_registry, url, _folder) = start_distribution(&sections).await;
    let distribution = url.strip_prefix("http://").unwrap().to_owned();

    let blob = noise(1, 1000);
    push(&open.addr, &blob, None).await;
    push(&guarded.addr, &blob, Some("alice")).await;
    push(&distribution, &blob, Some("alice")).await;
    let path = format!("/v2/a/b/blobs/{}", digest(&blob));
    let shown = request(&path, "alice", "secret");

    let mut rates = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (rates, (addr, status)) in rates.iter_mut().zip([
            (&open.addr, 307),
            (&guarded.addr, 307),
            (&distribution, 200),
        ]) {
            rates.push(rate(addr.parse().unwrap(), &shown, status).await);
        }
    }
    let [open_rate, guarded_rate, distribution_rate] = rates.map(median);
    println!("{}", machine());
    println!("warm blob GETs a second, {CONNECTIONS} connections:");
    println!("| registry | a second | of pounce's without auth |\n|---|---:|---:|");
    for (name, rate) in [
        ("pounce without auth", open_rate),
        ("pounce with htpasswd", guarded_rate),
        ("distribution with htpasswd", distribution_rate),
    ] {
        println!("| {name} | {rate:.0} | {:.4} |", rate / open_rate);
    }
    println!("\nmedian latency of authenticated pulls, {PULLS} connections:");
    println!("| meanwhile | ms | ratio | 401 | 429 |\n|---|---:|---:|---:|---:|");
    let addr: SocketAddr = guarded.addr.parse().unwrap();
    let calm = latency(addr, &shown).await;
    println!("| nothing | {calm:.3} | 1.00 | | |");
    for (users, what) in [
        (false, "guesses for one user"),
        (true, "guesses for many users"),
    ] {
        let (under_siege, (wrong, limited)) =
            tokio::join!(latency(addr, &shown), guess(addr, users));
        let ratio = under_siege / calm;
        println!(
            "| {GUESSES} {what} a second | {under_siege:.3} | {ratio:.2} | {wrong} | {limited} |"
        );
    }
}
