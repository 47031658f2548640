//! `make bench`: pounce beside its peers, on this machine, in one run.
//!
//! `benches/peers.toml` lists the contestants. Rounds alternate between them. The medians of all rounds are printed as
//! one table, and scenarios with an axis are drawn into `benches/results/`. A run of all scenarios also writes the
//! table into `docs/performance.md`. A contestant that does not start has a row that says why. The clients share the
//! machine.
//!
//! `make bench SCENARIO=warm` runs one of the scenarios. `fleet` has a section of its own in the document, which a run
//! of that scenario writes. `shared` prints its table.
#![allow(clippy::unwrap_used, missing_docs, reason = "what goes wrong here ends the measurement")]

mod calls;
mod cold;
mod content;
mod fleet;
mod load;
mod peers;
mod plot;
mod push;
mod report;
mod shared;
mod siege;
mod start;
mod support;
mod tools;
mod warm;
mod world;

use std::time::Instant;

use report::Report;

const SCENARIOS: [&str; 9] = ["warm", "start", "calls", "siege", "push", "cold", "fleet", LARGE, SHARED];
/// Run only when they are named: one takes a minute, and 20 GB of disk, the other one some ten minutes.
const LARGE: &str = "large";
const SHARED: &str = "shared";

/// The document with the table of a run of all scenarios (`bench`), and with that of the fleet (`fleet`), each between
/// two comments.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/performance.md");

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
        if chosen.as_deref().unwrap_or(scenario) != scenario
            || (chosen.is_none() && [LARGE, SHARED].contains(&scenario))
        {
            continue;
        }
        match scenario {
            "warm" => warm::measure(&mut report).await,
            "start" => start::measure(&mut report).await,
            "calls" => calls::measure(&mut report).await,
            "siege" => siege::measure(&mut report).await,
            "push" => push::measure(&mut report).await,
            "fleet" => {
                if let Some(section) = fleet::measure(&mut report, chosen.is_some()) {
                    println!("{section}");
                    publish("fleet", &section);
                }
            }
            LARGE => push::large(&mut report).await,
            SHARED => println!("{}", shared::measure().await),
            _ => cold::measure(&mut report).await,
        }
        let minutes = began.elapsed().as_secs_f64() / 60.0;
        eprintln!("{scenario}: done after {minutes:.1} minutes");
    }
    if report.is_empty() {
        return;
    }
    let table = report.table();
    println!("{table}");
    if chosen.is_none() {
        publish("bench", &table);
    }
}

/// Replaces what is between the document's comments of this name.
fn publish(name: &str, table: &str) {
    let (begin, end) = (format!("\n<!-- {name}: "), format!("\n<!-- /{name} -->\n"));
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(&begin).unwrap();
    let (comment, rest) = rest.split_once('\n').unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    std::fs::write(DOCUMENT, format!("{before}{begin}{comment}\n\n{}\n{end}{after}", table.trim_end())).unwrap();
}
