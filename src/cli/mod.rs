//! The command line: one file a command.

mod bucket;
mod check;
mod clients;
mod credential_provider;
mod du;
mod gc;
mod htpasswd;
mod image;
mod init;
mod ls;
mod password;
mod print;
mod progress;
mod runtime;
mod serve;
mod signals;
mod status;
mod table;
mod traces;
mod warm;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry;

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
    /// Try the configuration, the bucket and the upstreams, and say what to change.
    Check(check::Arguments),
    /// Write a first configuration, from three questions or from flags, and check it.
    Init(init::Arguments),
    /// Print, or write, what a node needs to pull through a registry.
    Clients(clients::Arguments),
    /// Add, change or remove a user in a file, or print a line for auth.htpasswd.users.
    Htpasswd(htpasswd::Arguments),
    /// Answer kubelet, which runs this, with a pod's token as the password for pounce
    CredentialProvider(credential_provider::Arguments),
    /// Show what a running pounce is doing: copies, hits, upstreams, bytes saved.
    Status(status::Arguments),
    /// List repositories in the bucket, or the images of one
    Ls(ls::Arguments),
    /// Show which repositories take how many bytes of the bucket
    Du(du::Arguments),
    /// Delete from the bucket what nothing needs, and what the rules of the configuration let go
    Gc(gc::Arguments),
    /// Copy images into the bucket before clients pull them.
    Warm(warm::Arguments),
}

/// Runs the command.
#[must_use]
pub fn run(arguments: Arguments) -> ExitCode {
    telemetry::log_panics();
    let _flush = telemetry::FlushOnDrop;
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Clients(arguments) => clients::run(&arguments),
        Command::Htpasswd(arguments) => htpasswd::run(&arguments),
        Command::CredentialProvider(arguments) => credential_provider::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Ls(arguments) => ls::run(&arguments),
        Command::Du(arguments) => du::run(&arguments),
        Command::Gc(arguments) => gc::run(&arguments),
        Command::Warm(arguments) => warm::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        // Not logged, because logging may not have started.
        telemetry::print_error(&format!("pounce: {error}"));
        ExitCode::FAILURE
    })
}

/// Whether a name in the place of a URL, or of an image, is that of a configuration.
fn names_configuration(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}
