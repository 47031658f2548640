//! `pounce serve [FILE.yml]`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::runtime::{CommandResult, block_on};
use super::{signals, traces};
use crate::config::{Config, Environment, Loaded};
use crate::{Server, telemetry};

/// What the log says of the shutdown.
const SHUTDOWN: &str = "requests and fills may go on for http.draintimeout";

const EXAMPLES: &str = "\
Examples:
  pounce serve                        over the folder ./data, on port 5000 of every address, with no upstream
  pounce serve registry.yml           a file as registry:2 has it, or as `pounce init` writes it
  REGISTRY_PROXY_REMOTEURL=https://registry-1.docker.io pounce serve
  REGISTRY_STORAGE=s3 REGISTRY_STORAGE_S3_BUCKET=b REGISTRY_STORAGE_S3_REGION=auto \\
    REGISTRY_STORAGE_S3_REGIONENDPOINT=https://t3.storage.dev pounce serve

Some settings, their defaults and ranges (config/registry.yml has all of them):
  http.addr                  :5000; host:port, or :port for every address
  http.draintimeout          30s; how long requests may go on after SIGTERM; a second SIGTERM ends at once
  proxy.tagttl               60s; how long a tag is served before the upstream is asked again
  proxy.fill.connections     8; 1 to 32, for one large blob
  proxy.fill.maxconnections  32; 1 to 256, for all blobs
  storage.redirect.expiry    20m; 1m to 168h, how long presigned URLs live
  log.level                  info; error, warn, info or debug

`pounce check` tries a configuration; docs/troubleshooting.md explains what it and the log say. Exit status: 0 after
SIGTERM or SIGINT, 1 if pounce cannot start, 2 for a wrong command line.";

/// The arguments of `serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    /// The configuration; without one, the file that `REGISTRY_CONFIGURATION_PATH` names, or the defaults. `REGISTRY_…`
    /// variables override it.
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> CommandResult {
    let environment = Environment::of_process();
    let loaded = match Config::load(arguments.file.as_deref(), &environment) {
        Ok(loaded) => Arc::new(loaded),
        Err(error) => {
            telemetry::fatal(Config::log_formatter(arguments.file.as_deref(), &environment), &error);
            return Ok(ExitCode::FAILURE);
        }
    };
    let served =
        telemetry::init_logs(&loaded.config.log).map_err(Into::into).and_then(|()| serve(&loaded, environment));
    served.or_else(|error| {
        // The lines that the log still has come first.
        telemetry::flush_logs();
        telemetry::fatal(loaded.config.log.formatter, &*error);
        Ok(ExitCode::FAILURE)
    })
}

fn serve(loaded: &Arc<Loaded>, environment: Environment) -> CommandResult {
    let config = &loaded.config;
    block_on(async {
        for notice in &loaded.notices {
            tracing::warn!("{notice}");
        }
        traces::start(&environment);
        let stop = CancellationToken::new();
        signals::watch(stop.clone(), SHUTDOWN)?;
        signals::reload_at_hangup(stop.clone())?;
        let server = tokio::select! {
            bound = Server::bind(config) => bound?,
            // The bucket may be slow to answer.
            () = stop.cancelled() => {
                tracing::info!("stopped before it served");
                return Ok(ExitCode::SUCCESS);
            }
        };
        server.follow(Arc::clone(loaded), environment);
        server.greet_upstreams();
        server.run(stop).await;
        telemetry::flush_traces().await;
        tracing::info!("ended");
        Ok(ExitCode::SUCCESS)
    })
}
