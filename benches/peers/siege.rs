//! The latency of pulls with passwords, while an attacker guesses passwords from the same address.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::load::Connection;
use crate::peers::{self, Peer};
use crate::report::Report;
use crate::tools::median;
use crate::world::{USER, World};

/// Wrong passwords a second, and for how long they are sent.
const GUESSES: u32 = 200;
const SIEGE: Duration = Duration::from_secs(5);
/// Connections whose latency is measured: a node pulls as many layers at once.
const PULLS: usize = 3;

pub async fn measure(report: &mut Report) {
    let world = World::build().await;
    for peer in peers::of("htpasswd").into_iter().filter(Peer::is_pounce) {
        let scenario = "blob GET with htpasswd, 3 connections: median latency";
        let running = match peer.start(&world.words).await {
            Ok(running) => running,
            Err(why) => {
                report.add(scenario, &peer.name, "ms", Err(why));
                continue;
            }
        };
        let addr: SocketAddr = running.url.trim_start_matches("http://").parse().unwrap();
        let request = request(&world.blob(), USER.0, USER.1);
        // One request, so that the password is cached.
        assert_eq!(Connection::to(addr).await.ask(&request).await, 307);
        report.one(scenario, &peer.name, "ms", latency(addr, &request).await);
        for (users, target) in [(false, "one user"), (true, "many users")] {
            let contestant = format!("the same, while {GUESSES} passwords a second are guessed for {target}");
            let (latency, (wrong, limited)) = tokio::join!(latency(addr, &request), guess(addr, users));
            report.one(scenario, &contestant, "ms", latency);
            let answers = format!("Guesses for {target}: {wrong} were compared (401), {limited} were not (429).");
            report.note(answers);
        }
    }
}

/// The bytes of a request.
fn request(path: &str, user: &str, password: &str) -> Vec<u8> {
    let credentials = STANDARD.encode(format!("{user}:{password}"));
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n").into_bytes()
}

/// The median latency of pulls in milliseconds, during the guesses.
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

/// Guesses passwords; how many answers were 401, and how many 429.
async fn guess(addr: SocketAddr, users: bool) -> (usize, usize) {
    let (mut wrong, mut limited) = (0, 0);
    let began = Instant::now();
    let mut connections = Vec::new();
    for at in 0..GUESSES * u32::try_from(SIEGE.as_secs()).unwrap() {
        let due = began + Duration::from_secs(1) * at / GUESSES;
        tokio::time::sleep_until(due.into()).await;
        // A guess that runs bcrypt takes long; the next one does not wait for it.
        connections.push(tokio::spawn(async move {
            let user = if users { format!("user-{at}") } else { "alice".to_owned() };
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
