//! Where lines go: a bounded buffer, and a thread that writes it in batches.
//!
//! A caller never waits for a pipe or a disk. The log and the access log share the output on standard error, also where
//! the access log's file is `/dev/stderr`, or `/dev/stdout` and both are one file: so their lines keep their order, and
//! none is written into another. A line that a full disk or a kill cut off is ended before the next one.

mod buffer;
mod counters;
mod target;
mod writer;

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use buffer::Buffer;
use target::Target;

pub(super) use buffer::Priority;
pub(super) use counters::COUNTERS;
pub(crate) use target::check;

/// How long the end of the process waits for a pipe or a disk.
const LAST_FLUSH: Duration = Duration::from_secs(1);

/// The buffers of all threads that write, for the flush at the end of the process.
static BUFFERS: Mutex<Vec<Weak<Buffer>>> = Mutex::new(Vec::new());

/// A buffer with its thread. Dropping it lets the thread write the rest and end.
#[derive(Debug)]
pub(super) struct Output {
    buffer: Arc<Buffer>,
}

impl Output {
    /// Standard error, for the whole process.
    ///
    /// # Errors
    /// The system has no thread.
    pub(super) fn stderr() -> io::Result<Arc<Self>> {
        static STDERR: OnceLock<Arc<Output>> = OnceLock::new();
        if let Some(output) = STDERR.get() {
            return Ok(Arc::clone(output));
        }
        let started = Self::start(Target::stderr())?;
        Ok(Arc::clone(STDERR.get_or_init(|| started)))
    }

    /// A file, to which lines are appended; it is created with mode 0640.
    ///
    /// # Errors
    /// The file cannot be opened, or the system has no thread.
    pub(super) fn file(path: PathBuf) -> io::Result<Arc<Self>> {
        match Target::file(path)? {
            target if target.is_stderr() => Self::stderr(),
            target => Self::start(target),
        }
    }

    fn start(target: Target) -> io::Result<Arc<Self>> {
        let buffer = Arc::new(Buffer::default());
        writer::start(Arc::clone(&buffer), target)?;
        let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.push(Arc::downgrade(&buffer));
        Ok(Arc::new(Self { buffer }))
    }

    /// Takes whole lines, or drops and counts them if the buffer is full.
    pub(super) fn push(&self, lines: &[u8], priority: Priority) {
        if !self.buffer.push(lines, priority) {
            COUNTERS.drop_lines(lines);
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.buffer.close();
    }
}

/// Hands a line to standard error, behind those of the log. It is written at once, or by the [`flush`] at the end: to
/// print it would wait for a pipe that is not read.
pub(crate) fn print_error(line: &str) {
    match Output::stderr() {
        Ok(output) => output.push(format!("{line}\n").as_bytes(), Priority::Error),
        // Without a thread there is no other way.
        Err(_) => drop(writeln!(io::stderr(), "{line}")),
    }
}

/// [`flush`]es on drop, also where a panic unwinds.
#[derive(Debug)]
pub(crate) struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        flush();
    }
}

/// Writes all lines, as far as that is done within a second, because a pipe may have no reader.
pub(crate) fn flush() {
    let until = Instant::now() + LAST_FLUSH;
    let buffers: Vec<_> = {
        let buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.iter().filter_map(Weak::upgrade).collect()
    };
    for buffer in buffers {
        buffer.flush(until);
    }
}

/// Every file of lines is opened anew before its next batch, as programs that rotate files expect of SIGHUP.
pub(crate) fn reopen() {
    target::reopen();
}
