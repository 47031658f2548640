//! The command line.

mod check;
mod htpasswd;
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
    /// Print the configuration, and try the bucket and the upstreams.
    Check(check::Arguments),
    /// Print a line with a user's password for auth.htpasswd.
    Htpasswd(htpasswd::Arguments),
    /// Copy images into the bucket before anybody asks for them.
    Warm(warm::Arguments),
}

/// Does what the command line says.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Htpasswd(arguments) => htpasswd::run(&arguments),
        Command::Warm(arguments) => warm::run(&arguments),
    }
}

/// Runs what a command does, on a runtime of its own.
fn on_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
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
