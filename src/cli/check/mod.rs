//! `pounce check [FILE.yml]`: the settings with their origins, and whether they work.
//!
//! It tries everything that serving needs once, with the real bucket and the real upstreams, and removes what it wrote
//! to the bucket.

mod bucket;
mod files;
mod report;
mod settings;
mod upstreams;

use std::path::PathBuf;
use std::process::ExitCode;

use super::runtime::{CommandResult, block_on};
use crate::config::{Config, Environment, Log, LogLevel};
use crate::{http, telemetry};

use report::Report;

/// The arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration, as `serve` takes it
    file: Option<PathBuf>,
    /// Only ask the pounce that runs here whether it is alive, for a health check
    #[arg(long)]
    alive: bool,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let loaded = Config::load(arguments.file.as_deref(), &Environment::of_process())?;
    let config = &loaded.config;
    if arguments.alive {
        return block_on(alive(config));
    }
    // This command's own lines replace the log's.
    telemetry::init_logs(&Log { level: LogLevel::Error, ..config.log.clone() })?;
    block_on(async {
        let mut report = Report::default();
        settings::print(&loaded);
        println!();
        files::check(config, &mut report);
        bucket::check(config, &mut report).await;
        upstreams::check(config, &mut report).await;
        Ok(report.end())
    })
}

async fn alive(config: &Config) -> CommandResult {
    let asked = http::probe_liveness(&config.http).await;
    asked.map_err(|why| format!("http.addr: {}: {why}", config.http.addr.to_reach()))?;
    Ok(ExitCode::SUCCESS)
}
