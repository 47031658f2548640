//! The command line.

mod image;
mod progress;
mod serve;
mod signals;
mod warm;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// An OCI registry that keeps nothing on its own disk.
#[derive(Debug, Parser)]
#[command(name = "pounce", version, about, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the registry until SIGTERM.
    Serve(serve::Arguments),
    /// Copy images into the bucket before anybody asks for them.
    Warm(warm::Arguments),
}

/// Does what the command line says.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Warm(arguments) => warm::run(&arguments),
    }
}

/// Runs what a command does, on a runtime of its own.
fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let code = runtime.block_on(work);
    // A thread that is stuck in a lookup or on a disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// One sentence, whether or not logging has begun.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("pounce: {error}");
    ExitCode::FAILURE
}
