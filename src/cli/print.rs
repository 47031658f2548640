//! What commands print. `println!` and `eprintln!` would panic at a full disk, and at a pipe without a reader.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("standard output: {0}")]
pub(super) struct OutputError(io::Error);

/// Prints what the command was asked for, and says whether there is still a reader.
///
/// # Errors
/// It cannot be written: the disk is full, say. A reader that ended, as `head` does, is no error.
pub(super) fn result(text: impl Display) -> Result<bool, OutputError> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(OutputError(error)),
        written => Ok(written.is_ok()),
    }
}

/// Prints a line that tells what was done. That it cannot be written changes nothing of that.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Prints a line of advice on standard error, as far as that can be written.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
