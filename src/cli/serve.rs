//! `pounce serve [FILE.yml]`

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{fail, on_runtime};
use crate::config::{Config, Environment, Loaded};
use crate::{Server, telemetry};

/// What `serve` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration; without one, the file that `REGISTRY_CONFIGURATION_PATH` names, or the
    /// defaults. `REGISTRY_…` variables override it.
    file: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loaded = match Config::load(arguments.file.as_deref(), &Environment::of_process()) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error),
    };
    telemetry::init_logs(&loaded.config.log);
    on_runtime(serve(loaded))
}

async fn serve(Loaded { config, notices }: Loaded) -> ExitCode {
    for notice in notices {
        tracing::warn!("{notice}");
    }
    let stop = CancellationToken::new();
    if let Err(error) = watch_signals(stop.clone()) {
        return fail(&error);
    }
    let server = match Server::bind(&config).await {
        Ok(server) => server,
        Err(error) => return fail(&error),
    };
    server.run(stop).await;
    tracing::info!("ended");
    ExitCode::SUCCESS
}

/// The first SIGTERM or SIGINT asks for an orderly end, the second one for an immediate one.
fn watch_signals(stop: CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                tracing::warn!("ending at once");
                std::process::exit(1);
            }
            tracing::info!("ending: requests and fills may go on for http.draintimeout");
            stop.cancel();
        }
    });
    Ok(())
}
