//! Scratch files for blobs on their way, and how much room they may take.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

/// How long a directory is not used in which something could not be written: blobs go past it meanwhile.
const PAUSE: Duration = Duration::from_mins(1);

/// How much scratch space is in use, of how much.
#[derive(Debug)]
pub(super) struct Budget {
    directory: PathBuf,
    max: u64,
    used: AtomicU64,
    distrusted: Mutex<Option<Instant>>,
}

/// A claim on scratch space; it ends with the value.
#[derive(Debug)]
pub(super) struct Room {
    budget: Arc<Budget>,
    bytes: u64,
}

/// An unlinked temporary file: it is gone when the last one who reads it is, or the process.
#[derive(Debug)]
pub(super) struct Spool {
    file: File,
    /// Held as long as the file is.
    room: Mutex<Option<Room>>,
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
        Self { directory, max, used: AtomicU64::new(0), distrusted: Mutex::default() }
    }

    /// Something could not be written there.
    pub(super) fn distrust(&self) {
        *self.distrusted() = Some(Instant::now());
    }

    /// Whether it makes sense to try a blob of `bytes`.
    pub(super) fn may_take(&self, bytes: u64) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let fits = used.checked_add(bytes).is_some_and(|used| used <= self.max);
        fits && self.distrusted().is_none_or(|since| since.elapsed() >= PAUSE)
    }

    fn distrusted(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.distrusted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims room for a blob of `bytes`; `None` when there is not so much.
    pub(super) fn take(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let mut room = Room { budget: Arc::clone(self), bytes: 0 };
        room.grow_to(bytes).then_some(room)
    }
}

impl Room {
    /// Makes the claim at least `bytes` large; `false`, and nothing changes, when that is too much.
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

impl Drop for Room {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Spool {
    pub(super) async fn create(budget: &Arc<Budget>) -> io::Result<Self> {
        let directory = budget.directory.clone();
        let file = tokio::task::spawn_blocking(move || tempfile::tempfile_in(directory)).await??;
        Ok(Self { file, room: Mutex::default() })
    }

    /// Ties the claim to the life of the file.
    pub(super) fn keep(&self, room: Room) {
        *self.room.lock().unwrap_or_else(PoisonError::into_inner) = Some(room);
    }

    /// Whether there is room for `bytes` on the disk now: better asked before than met in the middle of a blob that
    /// clients follow.
    pub(super) async fn has_space(self: &Arc<Self>, bytes: u64) -> bool {
        let spool = Arc::clone(self);
        let found = tokio::task::spawn_blocking(move || rustix::fs::fstatvfs(&spool.file)).await;
        // What cannot be told will show.
        !matches!(found, Ok(Ok(found)) if found.f_bavail.saturating_mul(found.f_frsize) < bytes)
    }

    /// Writes at a position; blocks.
    pub(super) fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, position)
    }

    /// Reads what must have been written; blocks.
    pub(super) fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, position)
    }

    /// Reads at most `len` bytes, at least one, from where something must have been written.
    ///
    /// What was just written is in the page cache, and is read right here: to hand each piece to another thread and
    /// back took a tenth of a fill's time. What is not there is another thread's to wait for.
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
        let mut first = budget.take(6).unwrap();
        assert!(budget.take(5).is_none());
        assert!(first.grow_to(10) && first.grow_to(3) && !first.grow_to(11));
        drop(first);
        assert!(budget.take(10).is_some());
    }
}
