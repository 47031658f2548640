//! `pounce serve [FILE.yml]`

use std::path::PathBuf;
use std::process::ExitCode;

use tokio_util::sync::CancellationToken;

use super::runtime::{block_on, fail};
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

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loaded = match Config::load(arguments.file.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
    telemetry::init_logs(&loaded.config.log);
    block_on(serve(loaded))
}

async fn serve(Loaded { config, notices, .. }: Loaded) -> ExitCode {
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let stop = CancellationToken::new();
    if let Err(error) = signals::watch(stop.clone(), SHUTDOWN) {
        return fail(&error);
    }
    let bound = tokio::select! {
        bound = Server::bind(&config) => bound,
        // The bucket may be slow to answer.
        () = stop.cancelled() => {
            tracing::info!("ended before it began");
            return ExitCode::SUCCESS;
        }
    };
    let server = match bound {
        Ok(server) => server,
        Err(error) => return fail(&error),
    };
    server.greet_upstreams();
    server.run(stop).await;
    tracing::info!("ended");
    ExitCode::SUCCESS
}
