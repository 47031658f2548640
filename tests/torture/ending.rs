//! SIGTERM, while requests come as fast as they can.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::client::{Client, Way};
use super::report::Row;
use crate::support::image::digest;
use crate::support::{Image, Process};

/// How long after the signal a new connection is surely accepted: pounce accepts for a second, but a client may connect
/// late.
const TAKEN: Duration = Duration::from_millis(500);
/// Clients of each kind.
const CLIENTS: usize = 8;

/// The clients' results.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    /// Requests without a whole answer, on a connection that had answered before, or sent while pounce still accepts
    /// new connections.
    lost: AtomicUsize,
    /// Requests on a new connection after that time.
    refused: AtomicUsize,
    /// When the process got the signal.
    told: OnceLock<Instant>,
    over: AtomicBool,
}

/// Runs so many processes, and ends each under load.
pub async fn under_load(rounds: usize) -> Row {
    let mut row = Row::new("SIGTERM under load");
    let image = Image::new(1, &[5000]);
    for round in 0..rounds {
        let process = Process::start(&[]);
        let client = Client::of(&process.addr, Duration::from_secs(20));
        client.push("a/b", "1", &image, Way::Whole).await.unwrap();
        let addr: SocketAddr = process.addr.parse().unwrap();
        let paths = [
            format!("/v2/a/b/blobs/{}", digest(image.layer())),
            "/v2/a/b/manifests/1".to_owned(),
            // This one is not answered from memory.
            "/v2/a/b/tags/list".to_owned(),
        ];
        let counts = Arc::new(Seen::default());
        let clients: Vec<_> = (0..CLIENTS * 2)
            .map(|number| {
                let (seen, path) = (Arc::clone(&counts), paths[number % paths.len()].clone());
                std::thread::spawn(move || ask_on(addr, &path, number < CLIENTS, &seen))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(100 + 7 * (round as u64 % 10))).await;
        counts.told.set(Instant::now()).unwrap();
        process.terminate();
        row.injected += 1;
        let (status, log) = process.end();
        counts.over.store(true, Ordering::SeqCst);
        for client in clients {
            client.join().unwrap();
        }
        row.operations += counts.answered.load(Ordering::SeqCst);
        row.refused += counts.refused.load(Ordering::SeqCst);
        let lost = counts.lost.load(Ordering::SeqCst);
        if lost > 0 {
            row.failed.push(format!("round {round}: {lost} requests had no answer"));
        }
        if status != 0 {
            row.failed.push(format!("round {round}: it ended with {status}: {log}"));
        }
    }
    row
}

/// Asks until the port is closed, on one connection for as long as it lasts, or on a new one each time.
fn ask_on(addr: SocketAddr, path: &str, keeps: bool, counts: &Seen) {
    let ending = if keeps { "" } else { "Connection: close\r\n" };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\n{ending}Accept: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
    );
    while !counts.over.load(Ordering::SeqCst) {
        let is_early = counts.told.get().is_none_or(|told| told.elapsed() < TAKEN);
        let failure = if is_early { &counts.lost } else { &counts.refused };
        let Ok(mut connection) = TcpStream::connect(addr) else {
            failure.fetch_add(1, Ordering::SeqCst);
            return;
        };
        connection.set_nodelay(true).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut lost = failure;
        loop {
            let Some(ends) = ask(&mut connection, &request) else {
                lost.fetch_add(1, Ordering::SeqCst);
                break;
            };
            lost = &counts.lost;
            counts.answered.fetch_add(1, Ordering::SeqCst);
            if ends || !keeps {
                break;
            }
        }
    }
}

/// Whether the answer was the connection's last one; `None` without an answer.
fn ask(connection: &mut TcpStream, request: &str) -> Option<bool> {
    connection.write_all(request.as_bytes()).ok()?;
    let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let read = connection.read(&mut piece).ok().filter(|read| *read > 0)?;
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if !["200", "307"].contains(&head.get(9..12)?) {
            return None;
        }
        let length = head.split("content-length: ").nth(1)?;
        let length: usize = length.split('\r').next()?.parse().ok()?;
        if body.len() >= length {
            return Some(head.contains("connection: close"));
        }
    }
}
