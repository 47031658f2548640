//! `make torture`: the long form of the faults that the tests inject. It prints a table, and fails if an operation was
//! lost, wrong or without an end.
//!
//! `make torture FAULT=kills` runs one kind. The seed is printed, and `SEED=…` repeats a run. `ROUNDS=5` shortens the
//! rows of replicas that share fills, and of collectors.
#![allow(clippy::unwrap_used, missing_docs, reason = "what goes wrong here ends the run")]

#[path = "../tests/support/mod.rs"]
mod support;
#[path = "../tests/torture/mod.rs"]
mod torture;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use support::faults::Fault;
use torture::fillers::Act;
use torture::kills::Moment;
use torture::races::Race;
use torture::report::{Row, table};
use torture::siege::Siege;
use torture::{bucket, ending, fillers, fleet, gc, hostile, kills, outages, races, soak};

const KINDS: [&str; 10] =
    ["kills", "bucket", "upstream", "outages", "races", "replicas", "gc", "ending", "hostile", "soak"];

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let chosen = arguments.next();
    if chosen.as_deref() == Some(gc::REPLICA) {
        gc::serve().await;
        return ExitCode::SUCCESS;
    }
    if let Some(chosen) = &chosen
        && !KINDS.contains(&&chosen[..])
    {
        eprintln!("there is no {chosen}: there are {}", KINDS.join(", "));
        return ExitCode::from(2);
    }
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("SEED={seed}");
    let (began, mut rows) = (Instant::now(), Vec::new());
    for kind in KINDS {
        if chosen.as_deref().is_some_and(|chosen| chosen != kind) {
            continue;
        }
        let made = match kind {
            "kills" => kill(seed).await,
            "bucket" => break_bucket(seed).await,
            "upstream" => vec![fleet::misled(50, 20, 10, seed).await],
            "outages" => away().await,
            "races" => race(seed).await,
            "replicas" => {
                let mut made = share(seed);
                made.extend(fleet_of_replicas());
                made
            }
            "gc" => vec![print(gc::run(rounds(200), seed))],
            "ending" => vec![ending::under_load(50).await],
            "hostile" => attack().await,
            _ => vec![soak::soak(Duration::from_mins(10), 500, true).await],
        };
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        eprintln!("{kind}: done after {minutes:.1} minutes");
        for row in made.iter().filter(|row| !row.is_clean()) {
            eprintln!("{row:#?}");
        }
        rows.extend(made);
    }
    println!("{}", table(&rows));
    if rows.iter().all(Row::is_clean) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints a row as soon as it is done.
fn print(row: Row) -> Row {
    eprintln!("{}", table(std::slice::from_ref(&row)).lines().last().unwrap());
    row
}

/// 420 rounds. Some work ends before the kill; the row does not count that.
async fn kill(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for moment in Moment::ALL {
        rows.push(print(kills::at(moment, 60, seed).await));
    }
    rows
}

/// Each fault alone, and all of them together.
async fn break_bucket(seed: u64) -> Vec<Row> {
    let alone = Fault::ALL.into_iter().map(|fault| async move {
        // An operation has few of these calls.
        let percent = if fault == Fault::LostComplete { 50 } else { 5 };
        let name = format!("S3: {}, {percent} %", fault.describe());
        print(bucket::with(&name, &[fault], percent, 250, seed).await)
    });
    // They mostly wait.
    let mut rows: Vec<Row> = stream::iter(alone).buffered(3).collect().await;
    rows.push(bucket::with("S3: all of these, 5 % each", &Fault::ALL, 5, 2000, seed).await);
    rows
}

async fn away() -> Vec<Row> {
    let mut rows = vec![
        outages::upstream(20, false).await,
        outages::upstream(20, true).await,
        outages::bucket(20, false).await,
        outages::bucket(20, true).await,
    ];
    for row in [outages::disk(20).await, outages::folder(20).await] {
        match row {
            Some(row) => rows.push(row),
            None => eprintln!("outages: cannot mount a file system here: no full disk"),
        }
    }
    rows
}

async fn race(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for kind in Race::ALL {
        rows.push(print(races::run(kind, 100, seed).await));
    }
    rows
}

/// `ROUNDS`, or so many.
fn rounds(usual: usize) -> usize {
    std::env::var("ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

/// 200 kills and pauses of the replica that fills, and what else happens to fills that replicas share.
fn share(seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for act in Act::ALL {
        let rounds = if [Act::Kill, Act::Pause].contains(&act) { 100 } else { 40 };
        rows.push(print(fillers::run(act, self::rounds(rounds), seed)));
    }
    rows
}

/// One attack after the other, each on a process of its own, while a fleet pulls from it.
async fn attack() -> Vec<Row> {
    let print = |siege: &Siege| eprintln!("{siege}");
    let sieges = hostile::all(print).await;
    sieges.iter().map(Siege::row).collect()
}

/// Real clients behind a proxy, while replicas die. A script runs them, and prints its figures at its end.
fn fleet_of_replicas() -> Vec<Row> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/torture.sh");
    let mut row = Row::new("kill -9 of one of three replicas every 3 s, with docker and skopeo");
    let output = std::process::Command::new(script).arg(support::program()).output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().find_map(|line| line.strip_prefix("figures: "));
    let figures: Vec<usize> = figures.unwrap_or_default().split(' ').filter_map(|figure| figure.parse().ok()).collect();
    if let [kills, operations, failed] = figures[..] {
        (row.injected, row.operations) = (kills, operations);
        row.failed.extend((0..failed).map(|_| text.clone().into_owned()));
    }
    if figures.len() != 3 || !output.status.success() {
        row.failed.push(format!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    }
    vec![row]
}
