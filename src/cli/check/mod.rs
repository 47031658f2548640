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

use super::runtime::{block_on, fail};
use crate::config::{Config, Environment, LogLevel};
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

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loaded = Config::load(arguments.file.as_deref(), &Environment::of_process());
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
    if arguments.alive {
        return block_on(alive(&loaded.config));
    }
    let mut log = loaded.config.log.clone();
    // This command's own lines replace the log's.
    log.level = LogLevel::Error;
    telemetry::init_logs(&log);
    block_on(async {
        let mut report = Report::default();
        settings::print(&loaded);
        let config = &loaded.config;
        println!();
        files::check(config, &mut report);
        bucket::check(config, &mut report).await;
        upstreams::check(config, &mut report).await;
        report.end()
    })
}

async fn alive(config: &Config) -> ExitCode {
    match http::probe_liveness(&config.http).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("pounce: http.addr: {}: {why}", config.http.addr.to_reach());
            ExitCode::FAILURE
        }
    }
}
