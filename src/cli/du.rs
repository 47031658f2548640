//! `pounce du`: which repositories take how many bytes.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};

use super::bucket::open;
use super::gc::describe;
use super::progress::{Progress, bytes};
use super::runtime::{CommandResult, block_on, or_failure};
use super::table::{self, Column, number, size, text};
use crate::registry::{Amount, RepositoryUsage, RoundProgress, Usage};

/// The most requests a second.
const RATE: u32 = 200;

const EXAMPLES: &str = "\
Examples:
  pounce du                          repositories, those with the most bytes of their own first, and totals
  pounce du --json | jq '.unneeded.bytes'

OWN are blobs and manifests that no other repository needs: what would go with the repository. SHARED are those that
others need, too. It reads the whole bucket: a request for each 1,000 keys, for each tag, and for each manifest that no
garbage collection has read; nothing is written.

Exit status: 0; 1 if a tag or a manifest cannot be read; 2 if the bucket cannot be read, or for a wrong command line.";

/// The arguments of `du`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration, as `serve` takes it
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    or_failure(block_on(async {
        let registry = open(arguments.file.as_deref()).await?;
        let (bars, progress) = (Progress::new(io::stderr().is_terminal()), Arc::new(RoundProgress::default()));
        let shown = bars.watch({
            let progress = Arc::clone(&progress);
            move || describe(progress.step())
        });
        let usage = registry.gc.usage(RATE, &progress).await?;
        drop(shown);
        let lines = if arguments.json { vec![of_usage(&usage).to_string()] } else { lines(&usage) };
        for line in lines {
            // A closed output changes no result.
            let _ = writeln!(io::stdout(), "{line}");
        }
        if usage.unreadable > 0 {
            bars.error(&format!(
                "{} tags or manifests cannot be read, and what they name is not counted",
                usage.unreadable
            ));
            return Ok(ExitCode::from(1));
        }
        Ok(ExitCode::SUCCESS)
    }))
}

fn lines(usage: &Usage) -> Vec<String> {
    let mut columns: [Column; 5] =
        [number("OWN", 0), number("SHARED", 0), number("TAGS", 0), number("MANIFESTS", 0), text("REPOSITORY", 0)];
    let rows = usage.repositories.iter().map(|repository| {
        let RepositoryUsage { name, tags, manifests, own, shared } = repository;
        vec![size(own.bytes), size(shared.bytes), tags.to_string(), manifests.to_string(), name.to_string()]
    });
    let mut lines = table::lines(&mut columns, &rows.collect::<Vec<_>>());
    let Amount { count, bytes: all } = usage.all;
    let Amount { count: unneeded, bytes: free } = usage.unneeded;
    lines.push(format!("{count} blobs, {}; no manifest names {unneeded} of them, {}", bytes(all), bytes(free)));
    if usage.strangers > 0 {
        lines.push(format!("{} keys of other programs are not counted", usage.strangers));
    }
    lines
}

fn of_usage(usage: &Usage) -> Value {
    let Usage { repositories, all, unneeded, unreadable, strangers } = usage;
    let repositories = repositories.iter().map(|repository| {
        let RepositoryUsage { name, tags, manifests, own, shared } = repository;
        json!({"repository": name.as_str(), "tags": tags, "manifests": manifests, "own": own, "shared": shared})
    });
    json!({
        "repositories": repositories.collect::<Vec<_>>(), "all": all, "unneeded": unneeded, "unreadable": unreadable,
        "strangers": strangers,
    })
}
