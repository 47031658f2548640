//! The `pounce` program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    pounce::cli::run(pounce::cli::Arguments::parse())
}
