//! The thread that writes.

use std::io;
use std::sync::Arc;

use super::buffer::Buffer;
use super::counters::COUNTERS;
use super::target::Target;

/// Starts the thread. It ends when the buffer is closed and empty.
///
/// # Errors
/// The system has no thread.
pub(super) fn start(buffer: Arc<Buffer>, mut target: Target) -> io::Result<()> {
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        let mut batch = Vec::new();
        while buffer.next(&mut batch) {
            write(&mut target, &batch);
            buffer.finish(batch.len());
            if let Some(lines) = COUNTERS.newly_dropped() {
                tracing::error!(
                    lines,
                    "lines of the log or of the access log were dropped, because they were not read or written fast enough"
                );
            }
        }
    })?;
    Ok(())
}

/// Writes a batch. What cannot be written is dropped, because the next batch may find a disk with space.
fn write(target: &mut Target, batch: &[u8]) {
    if let Err(error) = target.reopen_if_moved() {
        report(target, &error, "a file of the log cannot be opened anew: the moved one is still written");
    }
    if let Err((error, left)) = target.write(batch) {
        COUNTERS.drop_lines(&batch[batch.len() - left..]);
        report(target, &error, "the log cannot be written: lines are dropped");
    }
}

fn report(target: &Target, error: &io::Error, what: &'static str) {
    if COUNTERS.fail() {
        tracing::error!(%error, file = %target, "{what}");
    }
}
