//! What a batch is written to: standard error, standard output, or a file that may be rotated.

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

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
    if !is_rotated(path) {
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

/// Whether a file is opened anew when it was moved, or after [`reopen`]: not if it is one of the process's own.
fn is_rotated(path: &Path) -> bool {
    own(path).is_none()
}

/// The process's own file that a path names: to open it again may be forbidden, or not possible.
fn own(path: &Path) -> Option<Kind> {
    match path.to_str()? {
        STDERR => Some(Kind::Stderr),
        STDOUT if is_stdout_stderr() => Some(Kind::Stderr),
        STDOUT => Some(Kind::Stdout),
        _ => None,
    }
}

/// Whether standard output is the same file as standard error, as with `2>&1`.
fn is_stdout_stderr() -> bool {
    let (out, err) = (rustix::fs::fstat(io::stdout()), rustix::fs::fstat(io::stderr()));
    out.is_ok_and(|out| err.is_ok_and(|err| (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)))
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
        if let Some(kind) = own(&path) {
            return Ok(Self { kind, torn: false });
        }
        let file = Rotated::open(path)?;
        Ok(Self { torn: file.is_torn(), kind: Kind::File(file) })
    }

    pub(super) const fn is_stderr(&self) -> bool {
        matches!(self.kind, Kind::Stderr)
    }

    /// Opens a file anew that was moved or deleted, or after [`reopen`].
    ///
    /// # Errors
    /// It cannot be opened, and the old file is kept.
    pub(super) fn reopen_if_moved(&mut self) -> io::Result<()> {
        let Kind::File(file) = &mut self.kind else {
            return Ok(());
        };
        let before = file.identity;
        if file.reopen_if_moved()? {
            // A named pipe does not tell how its last line ends.
            self.torn = file.is_torn() || (self.torn && file.identity == before);
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
                // A named pipe is full, or another program made a shared pipe or terminal non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if matches!(&self.kind, Kind::File(file) if file.is_to_reopen()) {
                        return Err((error, bytes.len()));
                    }
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err((error, bytes.len())),
            }
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.kind {
            // Neither by the library's handle: the one would hold a lock of the process while a pipe is full, the other
            // keeps the text behind a last line break.
            Kind::Stderr => Ok(rustix::io::write(io::stderr(), bytes)?),
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
        let is_asked = self.is_asked();
        if !is_asked && self.looked.elapsed() < LOOKS {
            return Ok(false);
        }
        // Also after a failure, so that a missing folder is not looked for with each batch.
        (self.looked, self.generation) = (Instant::now(), GENERATION.load(Ordering::Relaxed));
        if !is_asked && !self.is_moved() {
            return Ok(false);
        }
        *self = Self::open(self.path.clone())?;
        Ok(true)
    }

    /// Whether the next batch opens it anew.
    fn is_to_reopen(&self) -> bool {
        self.is_asked() || (self.looked.elapsed() >= LOOKS && self.is_moved())
    }

    fn is_asked(&self) -> bool {
        self.generation != GENERATION.load(Ordering::Relaxed)
    }

    fn is_moved(&self) -> bool {
        !std::fs::metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity)
    }

    /// Whether its last line is unfinished, because the disk was full or a process was killed. False if it may not be
    /// read.
    fn is_torn(&self) -> bool {
        let Some(at) = self.open.metadata().ok().filter(Metadata::is_file).and_then(|found| found.len().checked_sub(1))
        else {
            return false;
        };
        let mut last = [b'\n'];
        let file = OpenOptions::new().read(true).custom_flags(nonblocking()).open(&self.path);
        file.and_then(|file| file.read_exact_at(&mut last, at)).is_ok() && last != [b'\n']
    }
}

/// Device and inode.
fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
