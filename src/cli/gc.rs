//! `pounce gc`: a round of garbage collection.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use futures_util::TryStreamExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::bucket::open;
use super::progress::{Progress, bytes};
use super::runtime::{CommandResult, block_on, or_failure};
use super::signals;
use super::table::{self, Column, minute, number, rfc3339, short, size, text};
use crate::registry::{
    Amount, Begun, GoingKey, GoingTotals, Registry, Report, Round, RoundOptions, RoundProgress, RoundRequests,
    RoundStep,
};

/// The most requests a second, unless `--rate` says otherwise.
const RATE: u32 = 200;

const EXAMPLES: &str = "\
Examples:
  pounce gc --dry-run registry.yml   which tags and manifests would go, and why; totals; writes nothing
  pounce gc registry.yml             deletes what was condemned a day ago, and condemns what nothing needs now
  pounce gc --json | jq -r 'select(.kind == \"blob\") | .digest'

It goes by storage.retention, storage.maxsize and proxy.ttl, and runs beside servers, all of which must be of this
version. What it finds now goes in a round that begins storage.maintenance.gc.delay (24h) later, and not if a push
needed it meanwhile. docs/retention.md says what goes, and what a round costs. --json prints an object for each key,
blobs and links included, and then one with the totals. There are bars on a terminal, and elsewhere a line every 10 s.

Exit status: 0 if the round is done; 1 if something was left: another process collects, something cannot be read, a
deletion failed, or a signal came; 2 for a failure, a bucket without conditional writes and no --exclusive, or a wrong
command line.";

/// The columns of tags and manifests. Lines are printed as they are found.
const COLUMNS: [Column; 6] =
    [text("KIND", 8), number("SIZE", 10), text("PULLED", 16), text("WHY", 22), text("DIGEST", 12), text("NAME", 0)];

/// The arguments of `gc`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration, as `serve` takes it
    file: Option<PathBuf>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Nothing else writes to the bucket: then it need not keep conditions of writes
    #[arg(long)]
    exclusive: bool,
    /// How many requests a second: 10 to 10000
    #[arg(long, default_value_t = RATE, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    rate: u32,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    or_failure(block_on(async {
        let stop = CancellationToken::new();
        signals::watch(stop.clone(), "the round ends; the next one goes on")?;
        let registry = tokio::select! {
            registry = open(arguments.file.as_deref()) => registry?,
            // The bucket may be slow to answer.
            () = stop.cancelled() => return Ok(ExitCode::from(1)),
        };
        collect(arguments, &registry, &stop).await
    }))
}

async fn collect(arguments: &Arguments, registry: &Registry, stop: &CancellationToken) -> CommandResult {
    let Arguments { dry_run, json, exclusive, rate, .. } = *arguments;
    let options = RoundOptions { dry_run, is_exclusive: exclusive, rate };
    let (bars, progress) = (Progress::new(io::stderr().is_terminal()), Arc::new(RoundProgress::default()));
    let shown = bars.watch({
        let progress = Arc::clone(&progress);
        move || describe(progress.step())
    });
    let round = match registry.gc.begin(options, &progress, stop).await? {
        Begun::Round(round) => round,
        Begun::Busy(age) => {
            let age = humantime::format_duration(std::time::Duration::from_secs(age.as_secs()));
            bars.error(&format!("another process collects garbage, and was active {age} ago: nothing was done"));
            return Ok(ExitCode::from(1));
        }
        Begun::Refused(why) => return Err(why.into()),
        Begun::Stopped => {
            bars.error("interrupted: nothing was done");
            return Ok(ExitCode::from(1));
        }
    };
    if stop.run_until_cancelled(list(&round, json, &bars)).await.transpose()?.is_none() && dry_run {
        bars.error("interrupted: the list is not whole");
        return Ok(ExitCode::from(1));
    }
    let report = registry.gc.finish(*round, &progress, stop).await?;
    drop(shown);
    bars.line(&if json { serde_json::to_string(&report)? } else { summary(&report) });
    if let Some(why) = report.unfinished() {
        bars.error(&why);
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what goes: tags and manifests, and as JSON, everything.
async fn list(round: &Round, json: bool, bars: &Progress) -> Result<(), Box<dyn std::error::Error>> {
    let mut going = round.going(json);
    let mut is_first = true;
    while let Some(going) = going.try_next().await? {
        if json {
            bars.line(&of_going(&going).to_string());
            continue;
        }
        if std::mem::take(&mut is_first) {
            bars.line(&table::titles(&COLUMNS));
        }
        bars.line(&line(&going));
    }
    Ok(())
}

fn line(going: &GoingKey) -> String {
    let GoingKey { kind, repository, tag, digest, size: all, pulled, reason, .. } = going;
    let repository = repository.as_deref().unwrap_or("-");
    let name = tag.as_ref().map_or_else(|| repository.to_owned(), |tag| format!("{repository}:{tag}"));
    let digest = digest.map(|digest| short(&digest.to_string())).unwrap_or_default();
    let cells = [kind.as_str().to_owned(), size(*all), minute(*pulled), reason.to_string(), digest, name];
    table::line(&COLUMNS, &cells)
}

fn of_going(going: &GoingKey) -> Value {
    let GoingKey { kind, repository, tag, digest, size, pulled, reason, path } = going;
    json!({
        "kind": kind.as_str(), "repository": repository, "tag": tag, "digest": digest, "size": size,
        "pulled": rfc3339(*pulled), "reason": reason.to_string(), "key": path,
    })
}

/// The figures, as lines.
fn summary(report: &Report) -> String {
    let Report { repositories, tags, manifests, before, after, goes, .. } = report;
    let blobs = |amount: &Amount| format!("{} blobs, {}", amount.count, bytes(amount.bytes));
    let mut lines = vec![format!(
        "before     {} in {repositories} repositories, {tags} tags, {manifests} manifests",
        blobs(before)
    )];
    if goes.keys == 0 {
        lines.push("goes       nothing: everything is needed, or younger than the delay".to_owned());
    }
    for (reason, GoingTotals { tags, manifests, blobs: own, .. }) in &report.by_reason {
        lines.push(format!("goes       {tags} tags, {manifests} manifests, {}: {reason}", blobs(own)));
    }
    if !report.dry_run {
        let deleted = report.deleted.get("blob").copied().unwrap_or_default();
        let (all, kept) = (report.deleted_in_all().count, report.kept);
        lines.push(format!("deleted    {all} keys: {}; {kept} were needed again", blobs(&deleted)));
        let Report { condemned, condemned_before, waiting, .. } = report;
        let waiting = if *waiting > 0 { format!(", {waiting} wait for room") } else { String::new() };
        lines.push(format!("condemned  {condemned} keys now, {condemned_before} before{waiting}"));
        lines.push(format!("after      {}", blobs(after)));
    }
    let RoundRequests { lists, gets, puts, deletes } = report.requests;
    lines.push(format!("requests   {lists} LISTs, {gets} GETs, {puts} PUTs, {deletes} DELETEs"));
    if report.strangers > 0 {
        lines.push(format!("strangers  {} keys of other programs were left alone", report.strangers));
    }
    lines.join("\n")
}

/// How far a round or a survey is.
pub(super) fn describe(step: RoundStep) -> String {
    match step {
        RoundStep::Survey { repositories, manifests } => {
            format!("reading the bucket: {repositories} repositories, {manifests} manifests")
        }
        RoundStep::Sweep { keys, bytes: size } => format!("deleting: {keys} keys, {}", bytes(size)),
    }
}
