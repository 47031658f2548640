//! Faults of the folder: as S3 errors, and in the log, each kind once a minute, with its path and advice.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use s3s::{S3Error, S3ErrorCode};

use crate::store::response_monitor::FULL;

/// How long after a fault was logged others of its kind are only counted.
const QUIET: Duration = Duration::from_mins(1);

/// The S3 error of a folder that takes no writes. Its status is 507, because the SDK retries a 500 in vain.
const UNWRITABLE: &str = "FolderUnwritable";

/// Faults by their kinds, of which there are a few dozen: when the last one was logged, and how many came since.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Mutex<HashMap<ErrorKind, (Instant, u64)>>>);

impl Faults {
    pub(super) fn report(&self, root: &Path, error: &io::Error) {
        let kind = error.kind();
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let repeated = match faults.get_mut(&kind) {
            Some((logged, since)) if logged.elapsed() < QUIET => {
                *since += 1;
                return;
            }
            Some((_, since)) => *since,
            None => 0,
        };
        faults.insert(kind, (Instant::now(), 0));
        drop(faults);
        tracing::error!(
            %error, folder = %root.display(), repeated,
            "storage.filesystem.rootdirectory cannot be used: {}", advice(kind)
        );
    }
}

/// A fault of the folder's as an S3 error.
pub(super) fn internal(error: io::Error) -> S3Error {
    if !is_unwritable(error.kind()) {
        return S3Error::with_source(S3ErrorCode::InternalError, Box::new(error));
    }
    let message = error.to_string();
    let mut refusal = S3Error::with_source(S3ErrorCode::Custom(UNWRITABLE.into()), Box::new(error));
    refusal.set_message(message);
    if let Ok(status) = FULL.try_into() {
        refusal.set_status_code(status);
    }
    refusal
}

const fn is_unwritable(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::StorageFull => "the disk is full, make room on it or move the folder to a larger one",
        ErrorKind::QuotaExceeded => "a quota is used up, raise it or make room",
        ErrorKind::ReadOnlyFilesystem => "its file system is mounted read-only, mount it writable",
        ErrorKind::PermissionDenied => "let the user that pounce runs as read and write everything in it",
        _ => "look at the disk, and at the system's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_takes_no_writes_is_not_retried() {
        // ENOSPC, EDQUOT, EROFS, EACCES; EIO.
        for (number, status) in [(28, 507), (122, 507), (30, 507), (13, 507), (5, 500)] {
            let error = internal(io::Error::from_raw_os_error(number));
            assert_eq!(error.status_code().unwrap().as_u16(), status, "{number}");
        }
        let full = internal(io::Error::from_raw_os_error(28));
        assert!(full.message().unwrap().contains("No space left"));
    }

    #[test]
    fn a_fault_is_logged_once_a_minute_and_counted() {
        let faults = Faults::default();
        let report = |number| faults.report(Path::new("/data"), &io::Error::from_raw_os_error(number));
        (0..5).for_each(|_| report(28));
        report(5);
        let kept = faults.0.lock().unwrap();
        assert_eq!(kept[&ErrorKind::StorageFull].1, 4);
        assert_eq!(kept.len(), 2);
    }
}
