//! `pounce serve [FILE.yml]`

use std::path::PathBuf;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::runtime::{CommandResult, block_on};
use super::signals;
use crate::config::{Config, Environment, Loaded};
use crate::{Server, telemetry};

/// What the log says of the shutdown.
const SHUTDOWN: &str = "requests and fills may go on for http.draintimeout";

/// The arguments of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration; without one, the file that `REGISTRY_CONFIGURATION_PATH` names, or the defaults. `REGISTRY_…`
    /// variables override it.
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let Loaded { config, notices, .. } = Config::load(arguments.file.as_deref(), &Environment::of_process())?;
    telemetry::init_logs(&config.log)?;
    block_on(async {
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let stop = CancellationToken::new();
        signals::watch(stop.clone(), SHUTDOWN)?;
        signals::reopen_at_hangup()?;
        let server = tokio::select! {
            bound = Server::bind(&config) => bound?,
            // The bucket may be slow to answer.
            () = stop.cancelled() => {
                tracing::info!("stopped before it served");
                return Ok(ExitCode::SUCCESS);
            }
        };
        server.greet_upstreams();
        server.run(stop).await;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    })
}
