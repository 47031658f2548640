//! `make bench`: pounce beside its peers, on this machine, in one run.
//!
//! `benches/peers.toml` lists the contestants. Rounds alternate between them. The medians of all rounds are printed as
//! one table, and scenarios with an axis are drawn into `benches/results/`. A run of all scenarios also writes the
//! table into `docs/performance.md`. A contestant that does not start has a row that says why. The clients share the
//! machine.
//!
//! `make bench SCENARIO=warm` runs one of the scenarios.
#![allow(clippy::unwrap_used, missing_docs, reason = "what goes wrong here ends the measurement")]

mod calls;
mod cold;
mod load;
mod peers;
mod plot;
mod push;
mod report;
mod siege;
mod start;
mod support;
mod tools;
mod warm;
mod world;

use std::time::Instant;

use report::Report;

const SCENARIOS: [&str; 7] = ["warm", "start", "calls", "siege", "push", "cold", LARGE];
/// Runs only when it is named: it takes a minute, and 20 GB of disk.
const LARGE: &str = "large";

/// The document with the table of a run of all scenarios, and the two comments around it.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md");
const BEGIN: &str = "\n<!-- bench: ";
const END: &str = "\n<!-- /bench -->\n";

#[tokio::main]
async fn main() {
    let chosen = std::env::args().nth(1);
    if let Some(chosen) = &chosen
        && !SCENARIOS.contains(&chosen.as_str())
    {
        eprintln!("there is no scenario {chosen}: there are {}", SCENARIOS.join(", "));
        std::process::exit(2);
    }
    let (mut report, began) = (Report::default(), Instant::now());
    for scenario in SCENARIOS {
        if chosen.as_deref().unwrap_or(scenario) != scenario || (chosen.is_none() && scenario == LARGE) {
            continue;
        }
        match scenario {
            "warm" => warm::measure(&mut report).await,
            "start" => start::measure(&mut report).await,
            "calls" => calls::measure(&mut report).await,
            "siege" => siege::measure(&mut report).await,
            "push" => push::measure(&mut report).await,
            LARGE => push::large(&mut report).await,
            _ => cold::measure(&mut report).await,
        }
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        eprintln!("{scenario}: done after {minutes:.1} minutes");
    }
    let table = report.table();
    println!("{table}");
    if chosen.is_none() {
        publish(&table);
    }
}

/// Replaces the table in the document.
fn publish(table: &str) {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (comment, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    std::fs::write(DOCUMENT, format!("{before}{BEGIN}{comment}\n\n{}\n{END}{after}", table.trim_end())).unwrap();
}
