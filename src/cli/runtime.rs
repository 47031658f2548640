//! What the commands share: the runtime, and errors.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

/// Runs a command on a new runtime.
pub(super) fn block_on(command: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let code = runtime.block_on(command);
    // A thread that is stuck in a DNS lookup or on a disk must not keep the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    code
}

/// Prints an error, because logging may not have started.
pub(super) fn fail(error: &dyn Error) -> ExitCode {
    eprintln!("pounce: {error}");
    ExitCode::FAILURE
}
