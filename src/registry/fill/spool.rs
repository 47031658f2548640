//! Scratch files for blobs on their way, and how many bytes they may take.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// How long the directory is not used after a write to it failed: blobs bypass it meanwhile.
const PAUSE: Duration = Duration::from_mins(1);

/// How many bytes of scratch space are in use, of how many.
#[derive(Debug)]
pub(super) struct Budget {
    directory: PathBuf,
    max: u64,
    used: AtomicU64,
    suspended: Mutex<Option<Instant>>,
}

/// Reserved scratch space, until it is dropped.
#[derive(Debug)]
pub(super) struct SpoolReservation {
    budget: Arc<Budget>,
    bytes: u64,
}

/// An unlinked temporary file: it is gone when its last reader is, or the process.
#[derive(Debug)]
pub(super) struct Spool {
    file: Arc<File>,
    /// Held as long as the file is.
    reservation: Mutex<Option<SpoolReservation>>,
}

impl Budget {
    /// `max` bytes in `directory`; without a `max`, half of what is free now.
    pub(super) fn new(directory: PathBuf, max: Option<u64>) -> Self {
        let max = match rustix::fs::statvfs(&directory) {
            Ok(found) => max.unwrap_or(found.f_bavail.saturating_mul(found.f_frsize) / 2),
            Err(error) => {
                let directory = directory.display();
                tracing::warn!(%error, %directory, "proxy.spool.directory cannot be used, blobs are copied without it");
                0
            }
        };
        Self { directory, max, used: AtomicU64::new(0), suspended: Mutex::default() }
    }

    /// A write failed: the directory is not used for a while.
    pub(super) fn suspend(&self) {
        *self.suspended() = Some(Instant::now());
    }

    /// Whether it makes sense to try a blob of `bytes`.
    pub(super) fn may_fit(&self, bytes: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let fits = used.checked_add(bytes).is_some_and(|used| used <= self.max);
        fits && self.suspended().is_none_or(|since| since.elapsed() >= PAUSE)
    }

    fn suspended(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves space for a blob of `bytes`; `None` when there is not so much.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Option<SpoolReservation> {
        let mut reservation = SpoolReservation { budget: Arc::clone(self), bytes: 0 };
        reservation.grow_to(bytes).then_some(reservation)
    }
}

impl SpoolReservation {
    /// Makes the reservation at least `bytes` large; `false`, and nothing changes, when that is too much.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let max = self.budget.max;
        let grown = self.budget.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|used| *used <= max)
        });
        if grown.is_ok() {
            self.bytes += more;
        }
        grown.is_ok()
    }
}

impl Drop for SpoolReservation {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Spool {
    pub(super) async fn create(budget: &Arc<Budget>) -> io::Result<Self> {
        let directory = budget.directory.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(directory)).await??;
        Ok(Self { file: Arc::new(file), reservation: Mutex::default() })
    }

    /// Ties the reservation to the life of the file.
    pub(super) fn keep(&self, reservation: SpoolReservation) {
        *self.reservation.lock().unwrap_or_else(PoisonError::into_inner) = Some(reservation);
    }

    /// Whether the disk has space for `bytes` now: a full disk is better met here than in the middle of a blob that
    /// clients follow.
    pub(super) async fn has_space(self: &Arc<Self>, bytes: u64) -> bool {
        let spool = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || rustix::fs::fstatvfs(&spool.file)).await;
        // If the system does not say, a failed write will.
        !matches!(found, Ok(Ok(found)) if found.f_bavail.saturating_mul(found.f_frsize) < bytes)
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Writes at a position; blocks.
    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    /// Reads bytes that were written before; blocks.
    pub(super) fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, position)
    }

    /// Reads at most `len` bytes, at least one, that were written before.
    ///
    /// Bytes that were just written are in the page cache, and are read right here: handing each piece to another
    /// thread and back took a tenth of a fill's time. Another thread waits for the others.
    pub(super) async fn read_at(self: &Arc<Self>, position: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(len);
        if let Some(len) = self.read_cached(&mut bytes, position) {
            bytes.truncate(len);
            return Ok(bytes.freeze());
        }
        let spool = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let len = spool.file.read_at(&mut bytes, position)?;
            bytes.truncate(len);
            if len == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            Ok(bytes.freeze())
        })
        .await?
    }

    /// Reads what is in the page cache; `None` if that is nothing, or if the system cannot tell.
    #[cfg(target_os = "linux")]
    fn read_cached(&self, bytes: &mut [u8], position: u64) -> Option<usize> {
        let mut buffers = [io::IoSliceMut::new(bytes)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        let read = rustix::io::preadv2(&self.file, &mut buffers, position, flags);
        read.ok().filter(|len| *len > 0)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_cached(&self, _bytes: &mut [u8], _position: u64) -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_and_comes_back() {
        let budget = Arc::new(Budget::new(std::env::temp_dir(), Some(10)));
        let mut first = budget.reserve(6).unwrap();
        assert!(budget.reserve(5).is_none());
        assert!(first.grow_to(10) && first.grow_to(3) && !first.grow_to(11));
        drop(first);
        assert!(budget.reserve(10).is_some());
    }
}
