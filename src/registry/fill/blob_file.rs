//! The file that a blob is downloaded into: over a folder it becomes the stored blob, and over an S3 it takes the place
//! of memory where `proxy.spool.directory` is set.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::telemetry::FileUsage;

/// An unlinked temporary file: it is gone when its last reader is, or the process.
#[derive(Debug)]
pub(super) struct BlobFile {
    file: Arc<File>,
    usage: Arc<FileUsage>,
}

impl BlobFile {
    /// A new one, which counts its bytes, with room for `size` bytes where the file system can reserve it.
    ///
    /// # Errors
    /// There is no room, or no file can be made.
    pub(super) async fn create(directory: PathBuf, size: Option<u64>, usage: FileUsage) -> io::Result<Self> {
        let create = move || {
            let file = tempfile::tempfile_in(directory)?;
            reserve(&file, size.unwrap_or(0)).map(|()| file)
        };
        let file = tokio::task::spawn_blocking(create).await??;
        Ok(Self { file: Arc::new(file), usage: Arc::new(usage) })
    }

    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Writes at a position.
    pub(super) async fn write_at(&self, pieces: Vec<Bytes>, mut position: u64) -> io::Result<()> {
        let (file, usage) = (Arc::clone(&self.file), Arc::clone(&self.usage));
        tokio::task::spawn_blocking(move || {
            for piece in pieces {
                file.write_all_at(&piece, position)?;
                position += piece.len() as u64;
                usage.add(piece.len() as u64);
            }
            Ok(())
        })
        .await?
    }

    /// Reads bytes that were written before; blocks.
    pub(super) fn read_exact_at(&self, bytes: &mut [u8], position: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, position)
    }

    /// Reads at most `len` bytes, at least one, that were written before.
    ///
    /// Bytes that were just written are in the page cache, and are read right here: handing each piece to another
    /// thread and back took a tenth of a fill's time. Another thread waits for the others.
    pub(super) async fn read_at(&self, position: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(len);
        if let Some(len) = self.read_cached(&mut bytes, position) {
            bytes.truncate(len);
            return Ok(bytes.freeze());
        }
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || {
            let len = file.read_at(&mut bytes, position)?;
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

/// Takes room for a file on the disk before its bytes come, so that a full disk is known while the client can still be
/// told.
#[cfg(target_os = "linux")]
fn reserve(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};

    if size == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, size).map_err(io::Error::from) {
        Err(error) if is_no_room(&error) => Err(error),
        // Network file systems, among others, cannot: writing shows whether there is room.
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_file: &File, _size: u64) -> io::Result<()> {
    Ok(())
}

/// Whether an error says that a file system, or a quota, has no room.
pub(super) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
