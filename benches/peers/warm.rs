//! The requests of a node for a warm image, at the highest rate.

use std::net::SocketAddr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future;

use crate::load::{Connection, Load};
use crate::peers::{self, Peer, Running};
use crate::plot::Lines;
use crate::report::Report;
use crate::world::{USER, World};

/// How many seconds each round takes: short rounds that alternate, because the machine has good and bad moments.
const ROUNDS: [u32; 3] = [1, 1, 1];
/// The rounds where a contestant runs bcrypt for every request, some 20 a second: it has the first round only.
const SLOW_ROUNDS: [u32; 3] = [3, 1, 1];
/// How many distinct blobs the large registry has.
const MANY: u32 = 100_000;
/// How many connections ask for all of them once.
const WARMING: usize = 64;

/// One request, and how often it is sent.
struct Question<'a> {
    scenario: &'a str,
    path: &'a str,
    connections: usize,
    header: Option<&'a str>,
    script: Option<&'a Path>,
    /// HEAD instead of GET.
    heads: bool,
    /// How many seconds each round takes.
    rounds: [u32; 3],
}

/// Without it, distribution answers that it has no OCI manifests.
const ACCEPT: &str = "Accept: application/vnd.oci.image.manifest.v1+json";

fn ask<'a>(scenario: &'a str, path: &'a str) -> Question<'a> {
    Question { scenario, path, connections: 32, header: Some(ACCEPT), script: None, heads: false, rounds: ROUNDS }
}

/// A contestant that runs, or why it does not.
type Contestant = (Peer, Result<Running, String>);

pub async fn measure(report: &mut Report) {
    let world = World::build().await;
    let contestants = start("warm", &world).await;
    let (blob, manifest, digest) = (world.blob(), World::by_tag(), world.by_digest());
    let mut lines = Lines::new("warm blob GETs a second", "connections");
    for connections in [1, 32, 256] {
        let plural = if connections == 1 { "" } else { "s" };
        let scenario = &format!("blob GET, {connections} connection{plural}");
        let question = Question { connections, ..ask(scenario, &blob) };
        rounds(report, &contestants, &question).await;
        for (peer, _) in &contestants {
            if let Some(rate) = report.median(scenario, &peer.name) {
                lines.point(&peer.name, connections, rate);
            }
        }
    }
    lines.save("warm");
    let logging = start("logging", &world).await;
    rounds(report, &logging, &ask("blob GET, 32 connections", &blob)).await;
    drop(logging);
    let unlogged = start("unlogged", &world).await;
    rounds(report, &unlogged, &ask("blob GET, 32 connections, without a log", &blob)).await;
    drop(unlogged);
    rounds(report, &contestants, &ask("manifest GET by tag, 2.5 KB", &manifest)).await;
    rounds(report, &contestants, &ask("manifest GET by digest", &digest)).await;
    let question = Question { heads: true, ..ask("manifest HEAD by tag", &manifest) };
    rounds(report, &contestants, &question).await;
    rounds(report, &contestants, &ask("GET /v2/", "/v2/")).await;
    drop(contestants);

    let basic = STANDARD.encode(format!("{}:{}", USER.0, USER.1));
    let header = format!("Authorization: Basic {basic}");
    let contestants = start("htpasswd", &world).await;
    let question = Question { header: Some(&header), rounds: SLOW_ROUNDS, ..ask("blob GET with htpasswd", &blob) };
    rounds(report, &contestants, &question).await;
    drop(contestants);
    many(report, &world).await;
}

/// A registry that has many blobs in its cache: its rate, and its memory.
async fn many(report: &mut Report, world: &World) {
    let contestants = start("warm", world).await;
    for (peer, running) in &contestants {
        if let Ok(running) = running {
            let scenario = "memory at rest";
            report.one(scenario, &peer.name, "MiB", running.memory());
        }
    }
    let paths = world.many(MANY);
    let scenario = &format!("blob GET, 32 connections, {MANY} blobs");
    let script = world.script(&paths);
    for (peer, running) in &contestants {
        let Ok(running) = running else { continue };
        if !peer.is_pounce() {
            continue;
        }
        let before = running.memory();
        ask_each(&running.url, &paths).await;
        let (scenario, after) = (&format!("memory for {MANY} blobs"), running.memory());
        report.one(scenario, &peer.name, "MiB", after - before);
    }
    let blob = world.blob();
    let question = Question { script: Some(&script), ..ask(scenario, &blob) };
    rounds(report, &contestants, &question).await;
}

async fn start(scenario: &str, world: &World) -> Vec<Contestant> {
    let mut contestants = Vec::new();
    for peer in peers::of(scenario) {
        let running = peer.start(&world.words).await;
        contestants.push((peer, running));
    }
    contestants
}

/// Runs the rounds: each contestant in turn.
async fn rounds(report: &mut Report, contestants: &[Contestant], question: &Question<'_>) {
    let scenario = question.scenario;
    let tail = &format!("{scenario}: p99");
    let memory = &format!("{scenario}: peak memory");
    let share = &format!("{scenario}: processor");
    let mut figures = vec![<[Vec<f64>; 3]>::default(); contestants.len()];
    for (round, seconds) in question.rounds.into_iter().enumerate() {
        for ((peer, running), [rates, tails, spent]) in contestants.iter().zip(&mut figures) {
            let running = match running {
                Ok(running) => running,
                Err(why) => {
                    report.add(scenario, &peer.name, "/s", Err(why.clone()));
                    continue;
                }
            };
            if round == 0 {
                running.forget_peak();
            }
            // A contestant that is a hundred times slower has one round.
            if round > 0 && rates.first().is_some_and(|rate| *rate < 5_000.0) {
                continue;
            }
            let url = format!("{}{}", running.url, question.path);
            let load = Load {
                url: &url,
                connections: question.connections,
                seconds,
                header: question.header,
                script: question.script,
            };
            // One request first, so that the caches are filled.
            if let Err(why) = ask_once(&load).await {
                report.add(scenario, &peer.name, "/s", Err(why));
                continue;
            }
            let processor = running.processor();
            let made = if question.heads { load.heads().await } else { tokio::task::block_in_place(|| load.run()) };
            match made {
                Ok(made) => {
                    rates.push(made.rate);
                    tails.push(made.p99);
                    spent.push((running.processor() - processor) * 1e6 / made.requests);
                }
                Err(why) => report.add(scenario, &peer.name, "/s", Err(why)),
            }
        }
    }
    for ((peer, _), [rates, _, _]) in contestants.iter().zip(&figures) {
        if !rates.is_empty() {
            report.add(scenario, &peer.name, "/s", Ok(rates.clone()));
        }
    }
    for ((peer, running), [_, tails, spent]) in contestants.iter().zip(&figures) {
        if let (Ok(running), false) = (running, tails.is_empty()) {
            if question.connections == 32 {
                report.add(tail, &peer.name, "ms", Ok(tails.clone()));
                report.add(share, &peer.name, "µs a request", Ok(spent.clone()));
            }
            if peer.is_pounce() {
                report.one(memory, &peer.name, "MiB", running.peak());
            }
        }
    }
}

async fn ask_once(load: &Load<'_>) -> Result<(), String> {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let mut request = client.build().unwrap().get(load.url);
    if let Some((name, value)) = load.header.and_then(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let answer = request.send().await.map_err(|error| error.to_string())?;
    match answer.status().as_u16() {
        200 | 307 => Ok(()),
        other => Err(format!("{} is answered with {other}", load.url)),
    }
}

/// Asks for every path once.
async fn ask_each(url: &str, paths: &[String]) {
    let addr: SocketAddr = url["http://".len()..].parse().unwrap();
    let shares = paths.chunks(paths.len().div_ceil(WARMING));
    let asks = shares.map(async |share| {
        let mut connection = Connection::to(addr).await;
        for path in share {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\n\r\n");
            assert_eq!(connection.ask(request.as_bytes()).await, 307, "{path}");
        }
    });
    future::join_all(asks).await;
}
