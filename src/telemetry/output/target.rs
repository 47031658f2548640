//! What a batch is written to: standard error, standard output, or a file that may be rotated.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// The names for the process's own files: to open these again may be forbidden, or not possible.
const STDERR: &str = "/dev/stderr";
const STDOUT: &str = "/dev/stdout";
/// Not for others to read, because lines name users and addresses.
const MODE: u32 = 0o640;
/// How often a path is compared with the open file.
const LOOKS: Duration = Duration::from_secs(1);
/// How long a write waits that would block.
const PAUSE: Duration = Duration::from_millis(10);

/// Raised by SIGHUP.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Every file is opened anew before its next batch.
pub(super) fn reopen() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Whether a file can be written, or made, without making it.
///
/// # Errors
/// It cannot, and why.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    if is_own(path) {
        return Ok(());
    }
    match OpenOptions::new().append(true).custom_flags(nonblocking()).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Ok(rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)?)
        }
        other => other.map(drop),
    }
}

fn is_own(path: &Path) -> bool {
    path == Path::new(STDERR) || path == Path::new(STDOUT)
}

/// A named pipe without a reader is an error then, in the place of a start that never ends.
fn nonblocking() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

#[derive(Debug)]
enum Kind {
    Stderr,
    Stdout,
    File(Rotated),
}

/// A target, and whether a line of it is unfinished.
#[derive(Debug)]
pub(super) struct Target {
    kind: Kind,
    torn: bool,
}

impl Target {
    pub(super) const fn stderr() -> Self {
        Self { kind: Kind::Stderr, torn: false }
    }

    /// # Errors
    /// The file cannot be opened.
    pub(super) fn file(path: PathBuf) -> io::Result<Self> {
        let kind = match path.to_str() {
            Some(STDERR) => Kind::Stderr,
            Some(STDOUT) => Kind::Stdout,
            _ => Kind::File(Rotated::open(path)?),
        };
        Ok(Self { kind, torn: false })
    }

    /// Opens a file anew that was moved or deleted, or after [`reopen`].
    ///
    /// # Errors
    /// It cannot be opened, and the old file is kept.
    pub(super) fn reopen_if_moved(&mut self) -> io::Result<()> {
        let Kind::File(file) = &mut self.kind else {
            return Ok(());
        };
        if file.reopen_if_moved()? {
            self.torn = false;
        }
        Ok(())
    }

    /// Writes whole lines, in as few system calls as the system allows.
    ///
    /// # Errors
    /// The system's error, and how many bytes are not written.
    pub(super) fn write(&mut self, batch: &[u8]) -> Result<(), (io::Error, usize)> {
        if self.torn {
            self.write_all(b"\n").map_err(|(error, _)| (error, batch.len()))?;
            self.torn = false;
        }
        self.write_all(batch).inspect_err(|(_, left)| {
            let written = &batch[..batch.len() - left];
            self.torn = written.last().is_some_and(|byte| *byte != b'\n');
        })
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(0) => return Err((io::ErrorKind::WriteZero.into(), bytes.len())),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another program may have made a shared pipe or terminal non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
                Err(error) => return Err((error, bytes.len())),
            }
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            Kind::Stderr => io::stderr().write(bytes),
            // Not by the library's handle, which keeps the text behind a last line break.
            Kind::Stdout => Ok(rustix::io::write(io::stdout(), bytes)?),
            Kind::File(file) => file.open.write(bytes),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Stderr => f.write_str(STDERR),
            Kind::Stdout => f.write_str(STDOUT),
            Kind::File(file) => file.path.display().fmt(f),
        }
    }
}

/// An open file, and the path at which there should be one.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    open: File,
    identity: (u64, u64),
    generation: u64,
    looked: Instant,
}

impl Rotated {
    fn open(path: PathBuf) -> io::Result<Self> {
        let generation = GENERATION.load(Ordering::Relaxed);
        let mut options = OpenOptions::new();
        let open = options.append(true).create(true).mode(MODE).custom_flags(nonblocking()).open(&path)?;
        let identity = identity(&open.metadata()?);
        Ok(Self { path, open, identity, generation, looked: Instant::now() })
    }

    /// Whether it was opened anew.
    fn reopen_if_moved(&mut self) -> io::Result<bool> {
        let is_asked = self.generation != GENERATION.load(Ordering::Relaxed);
        if !is_asked && self.looked.elapsed() < LOOKS {
            return Ok(false);
        }
        // Also after a failure, so that a missing folder is not looked for with each batch.
        (self.looked, self.generation) = (Instant::now(), GENERATION.load(Ordering::Relaxed));
        let is_same = std::fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity);
        if is_same && !is_asked {
            return Ok(false);
        }
        *self = Self::open(self.path.clone())?;
        Ok(true)
    }
}

/// Device and inode.
fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
