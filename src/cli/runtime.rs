//! The runtime and the result of a command.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::ExitCode;
use std::time::Duration;

use crate::telemetry;

/// The exit code of a command, or an error to print.
pub(super) type CommandResult = Result<ExitCode, Box<dyn Error>>;

/// The result of a command whose failures have a status of their own, 2, because 1 says that something was found.
pub(super) fn or_failure(result: CommandResult) -> CommandResult {
    result.or_else(|error| {
        telemetry::print_error(&format!("pounce: {error}"));
        Ok(ExitCode::from(2))
    })
}

/// Runs a command on a new runtime.
pub(super) fn block_on(command: impl Future<Output = CommandResult>) -> CommandResult {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Nothing that the command had is looked at after a panic.
    let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(command)));
    // A thread that is stuck in a DNS lookup or on a disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.unwrap_or_else(|panic| resume_unwind(panic))
}
