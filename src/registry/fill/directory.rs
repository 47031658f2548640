//! The directory for blobs that are being filled, where there is one.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::blob_file::{BlobFile, is_no_room};
use crate::log_limit::LogLimit;
use crate::telemetry::SpoolUsage;

/// How often the log says that there is no room.
const QUIET: Duration = Duration::from_mins(1);

/// Over a folder, the one inside it from which a file becomes a blob; over an S3, `proxy.spool.directory`.
#[derive(Debug)]
pub(super) struct Directory {
    path: Option<PathBuf>,
    usage: SpoolUsage,
    /// Fills can do without it.
    may_fail: bool,
    has_failed: AtomicBool,
    said: LogLimit<()>,
}

impl Directory {
    /// `may_fail`: memory can take its place.
    pub(super) fn new(path: Option<PathBuf>, usage: SpoolUsage, may_fail: bool) -> Self {
        Self { path, usage, may_fail, has_failed: AtomicBool::new(false), said: LogLimit::new(QUIET, 1) }
    }

    /// Whether blobs are filled in files there.
    pub(super) fn is_used(&self) -> bool {
        self.path.is_some() && !self.has_failed.load(Ordering::Relaxed)
    }

    /// A new file there, for a blob of `size` bytes, if that is known; `None`: the blob is filled in memory.
    ///
    /// # Errors
    /// There can be none, or there is no room, and nothing takes its place.
    pub(super) async fn create(&self, size: Option<u64>) -> io::Result<Option<BlobFile>> {
        let path = self.path.as_ref().filter(|_| !self.has_failed.load(Ordering::Relaxed));
        let Some(path) = path else {
            return Ok(None);
        };
        match BlobFile::create(path.clone(), size, self.usage.of_file()).await {
            Ok(file) => Ok(Some(file)),
            // A smaller blob may find room.
            Err(error) if is_no_room(&error) => {
                self.log_no_room(&error, size);
                if self.may_fail { Ok(None) } else { Err(error) }
            }
            Err(error) if self.may_fail => {
                self.distrust(&error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A file there could not be written: memory is used from now on, if it can be. A failure that is not the
    /// directory's changes nothing.
    pub(super) fn distrust(&self, error: &io::Error) {
        if is_of_process(error) {
            tracing::warn!(%error, "a file for a blob cannot be opened");
            return;
        }
        if !self.may_fail && is_no_room(error) {
            self.log_no_room(error, None);
        }
        if self.may_fail && !self.has_failed.swap(true, Ordering::Relaxed) {
            let directory = self.shown();
            tracing::error!(%error, directory, "proxy.spool.directory cannot be used, blobs are copied through memory");
        }
    }

    fn log_no_room(&self, error: &io::Error, size: Option<u64>) {
        if self.said.is_due(()) {
            let directory = self.shown();
            tracing::error!(%error, directory, size, "blobs find no room there: make room, or move it to a larger disk");
        }
    }

    fn shown(&self) -> String {
        self.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    }
}

/// Whether it is the process, or the machine, that has too many files open, or no memory.
fn is_of_process(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_failures_make_it_useless() {
        for (errno, is_used) in [
            (Errno::MFILE, true),
            (Errno::NFILE, true),
            (Errno::NOSPC, false),
            (Errno::DQUOT, false),
            (Errno::ROFS, false),
            (Errno::ACCESS, false),
            (Errno::IO, false),
        ] {
            let directory = Directory::new(Some(PathBuf::from("/")), SpoolUsage::default(), true);
            directory.distrust(&errno.into());
            assert_eq!(directory.is_used(), is_used, "{errno:?}");
        }
    }
}
