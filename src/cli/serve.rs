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
    let environment = Environment::of_process();
    let loaded = match Config::load(arguments.file.as_deref(), &environment) {
        Ok(loaded) => loaded,
        Err(error) => {
            telemetry::fatal(Config::log_formatter(arguments.file.as_deref(), &environment), &error);
            return Ok(ExitCode::FAILURE);
        }
    };
    let served = telemetry::init_logs(&loaded.config.log).map_err(Into::into).and_then(|()| serve(&loaded));
    served.or_else(|error| {
        // The lines that the log still has come first.
        telemetry::flush_logs();
        telemetry::fatal(loaded.config.log.formatter, &*error);
        Ok(ExitCode::FAILURE)
    })
}

fn serve(Loaded { config, notices, .. }: &Loaded) -> CommandResult {
    block_on(async {
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let stop = CancellationToken::new();
        signals::watch(stop.clone(), SHUTDOWN)?;
        signals::reopen_at_hangup()?;
        let server = tokio::select! {
            bound = Server::bind(config) => bound?,
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
