//! The command line.

mod serve;

use std::process::ExitCode;

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
}

/// Does what the command line says.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
    }
}
