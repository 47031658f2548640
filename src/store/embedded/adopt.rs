//! A file that becomes an object: a verified blob.
//!
//! On the folder's file system the file gets a second name, so that none of its bytes is read or written again. That
//! takes an unlinked file of the kind `O_TMPFILE`, as fills make where the file system knows them (ext4, XFS, Btrfs,
//! tmpfs). Otherwise the kernel copies the bytes from file to file (`copy_file_range`, or `sendfile`).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use s3s::{S3Error, S3Result};
use tempfile::NamedTempFile;

use super::Embedded;
use super::faults::internal;
use super::folder::{Attributes, BUCKET, Folder};
use crate::store::error::StoreError;
use crate::store::filled_for::FilledFor;
use crate::store::key::Key;
use crate::store::response_monitor::FULL;

/// How many bytes are copied before the caller can cancel the rest.
const SLICE: u64 = 64 << 20;

impl Embedded {
    /// The directory in which a file must lie so that it can become an object without being copied. Objects are not
    /// listed there. It is emptied when the folder is opened.
    #[must_use]
    pub fn spool_directory(&self) -> PathBuf {
        self.folder.tmp()
    }

    /// Makes a blob of a file with its bytes, as [`Store::put_filled`](crate::store::Store::put_filled) does. They were
    /// verified, and must not change any more; they can still be read from the file. The file's cursor moves.
    ///
    /// The object is there whole when this returns. It is not there, or whole, when this fails, is cancelled or the
    /// process is killed.
    ///
    /// # Errors
    /// The folder did not take it.
    pub async fn adopt(&self, key: Key<'_>, file: &Arc<File>, filled_for: FilledFor) -> Result<(), StoreError> {
        let attributes = Attributes { metadata: Some(filled_for.metadata()), ..Attributes::default() };
        // Nothing is in front of a folder's keys.
        self.folder.adopt(file, key.to_string(), attributes).await.map_err(|error| failure(&error))
    }
}

impl Folder {
    async fn adopt(&self, source: &Arc<File>, key: String, attributes: Attributes) -> S3Result<()> {
        let path = self.file(BUCKET, &key)?;
        let (folder, open) = (self.clone(), Arc::clone(source));
        let file = match self.blocking(move || Ok(folder.link_open(&open).ok())).await? {
            Some(linked) => linked,
            None => self.copy_open(source).await?,
        };
        let folder = self.clone();
        self.blocking(move || {
            file.as_file().sync_data().map_err(internal)?;
            let _lock = folder.lock();
            folder.commit(file, &path, &key, &attributes).map_err(internal)
        })
        .await
    }

    /// Gives an open file without a name a temporary one in the folder.
    ///
    /// # Errors
    /// It is on another file system, or once had a name, or there is no `/proc`.
    #[cfg(target_os = "linux")]
    fn link_open(&self, file: &File) -> io::Result<NamedTempFile> {
        use std::fs::Permissions;
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::PermissionsExt;

        use rustix::fs::{AtFlags, CWD, linkat};

        let open = format!("/proc/self/fd/{}", file.as_raw_fd());
        // As all other files of the folder, which begin as a `NamedTempFile`.
        file.set_permissions(Permissions::from_mode(0o600))?;
        tempfile::Builder::new().make_in(self.tmp(), |name| {
            let file = file.try_clone()?;
            linkat(CWD, &open, CWD, name, AtFlags::SYMLINK_FOLLOW)?;
            Ok(file)
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn link_open(&self, _: &File) -> io::Result<NamedTempFile> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Copies an open file into the folder. A caller that goes away stops it.
    async fn copy_open(&self, source: &Arc<File>) -> S3Result<NamedTempFile> {
        let tmp = self.tmp();
        let mut copy = self.blocking(move || NamedTempFile::new_in(tmp).map_err(internal)).await?;
        let mut position = 0;
        loop {
            let source = Arc::clone(source);
            let (grown, copied) = self
                .blocking(move || {
                    (&*source).seek(SeekFrom::Start(position)).map_err(internal)?;
                    let copied = io::copy(&mut (&*source).take(SLICE), copy.as_file_mut()).map_err(internal)?;
                    Ok((copy, copied))
                })
                .await?;
            (copy, position) = (grown, position + copied);
            if copied < SLICE {
                return Ok(copy);
            }
        }
    }
}

/// The error of an operation that is not S3's.
fn failure(error: &S3Error) -> StoreError {
    let (operation, cause) = ("adopting a file", error.to_string());
    match error.status_code() {
        Some(status) if status.as_u16() == FULL => StoreError::Full { operation, cause },
        _ => StoreError::Unavailable { operation, cause },
    }
}
