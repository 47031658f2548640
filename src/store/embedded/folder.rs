//! Objects as files: an object's path is its key.
//!
//! ```text
//! <root>/docker/registry/v2/…                 the objects
//! <root>/.pounce/lock                         held by the process that uses the folder
//! <root>/.pounce/credentials.json             the server's key pair
//! <root>/.pounce/tmp/                         files that are being written, and filled blobs
//! <root>/.pounce/metadata/<key>.<etag>.json   an object's attributes, where it has any
//! <root>/.pounce/uploads/<id>/                parts of uploads that are not complete
//! <root>/.pounce/joining/                     uploads that are being begun, completed or aborted
//! ```
//!
//! A file is written under a temporary name, synced and renamed, so that an object is whole or not there. Attributes
//! are written first, under the new content's `ETag`: the rename makes both appear. A blob that a fill downloaded is
//! such a file already ([`adopt`](super::adopt)).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use futures_util::StreamExt;
use s3s::dto::{self, ETag, StreamingBlob};
use s3s::{S3Error, S3Result, s3_error};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::faults::{Faults, internal};
use crate::oci::MediaType;

/// The only bucket.
pub(super) const BUCKET: &str = "pounce";

/// The directory of the server's own files, which are no objects.
pub(super) const STATE: &str = ".pounce";

/// How much of a body is written at once.
const WRITE_BYTES: usize = 1 << 20;

/// A folder that holds one bucket.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// See [`lock`](Self::lock).
    mutex: Arc<Mutex<()>>,
    faults: Faults,
    /// Keeps other processes out as long as it is open.
    _lock: Arc<File>,
}

/// What an object has besides its content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Attributes {
    pub(super) content_type: Option<String>,
    pub(super) metadata: Option<dto::Metadata>,
}

impl Folder {
    /// The directory of the server's own files.
    pub(super) fn state_of(root: &Path) -> PathBuf {
        root.join(STATE)
    }

    /// Waits for another process to leave the folder, for at most `lock_timeout`.
    pub(super) fn open(root: &Path, lock_timeout: Duration) -> io::Result<Self> {
        let root = std::path::absolute(root)?;
        let state = Self::state_of(&root);
        fs::create_dir_all(&state)?;
        let lock = lock(&state.join("lock"), lock_timeout)?;
        for directory in ["tmp", "joining", "metadata", "uploads"] {
            fs::create_dir_all(state.join(directory))?;
        }
        // Left by an earlier process that was killed. Uploads stay: clients may go on with them.
        for leftover in fs::read_dir(state.join("tmp"))? {
            fs::remove_file(leftover?.path())?;
        }
        for leftover in fs::read_dir(state.join("joining"))? {
            fs::remove_dir_all(leftover?.path())?;
        }
        Ok(Self { root, mutex: Arc::default(), faults: Faults::default(), _lock: Arc::new(lock) })
    }

    /// Excludes other changes of objects and uploads; blocks.
    pub(super) fn lock(&self) -> MutexGuard<'_, ()> {
        self.mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn state(&self) -> PathBuf {
        self.root.join(STATE)
    }

    pub(super) fn tmp(&self) -> PathBuf {
        self.state().join("tmp")
    }

    /// The directory of uploads that are under way.
    pub(super) fn uploads(&self) -> PathBuf {
        self.state().join("uploads")
    }

    /// The directory of uploads that are being begun, completed or aborted.
    pub(super) fn joining(&self) -> PathBuf {
        self.state().join("joining")
    }

    /// The file of a key: below the root, and not among the server's own.
    pub(super) fn file(&self, bucket: &str, key: &str) -> S3Result<PathBuf> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let path = Path::new(key);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        // `components` folds `a//b` and `a/./b`; as keys they are other objects, which do not exist.
        let canonical = path.components().map(|part| part.as_os_str().len() + 1).sum::<usize>() == key.len() + 1;
        if !plain || !canonical || key.contains('\0') || path.starts_with(STATE) {
            return Err(s3_error!(InvalidArgument, "not a key that this server has"));
        }
        Ok(self.root.join(path))
    }

    fn attributes_file(&self, key: &str, version: &str) -> PathBuf {
        let mut path = self.state().join("metadata").join(key).into_os_string();
        path.push(format!(".{version}.json"));
        path.into()
    }

    /// Makes a finished file an object's; it must be synced. The caller holds the [`lock`](Self::lock).
    pub(super) fn commit(
        &self,
        file: NamedTempFile,
        path: &Path,
        key: &str,
        attributes: &Attributes,
    ) -> io::Result<()> {
        if !attributes.are_default() {
            let described = self.attributes_file(key, &version(&file.as_file().metadata()?));
            fs::create_dir_all(parent(&described))?;
            let mut aside = NamedTempFile::new_in(self.tmp())?;
            io::Write::write_all(&mut aside, &serde_json::to_vec(attributes)?)?;
            aside.persist(described)?;
        }
        let replaced = fs::metadata(path).ok();
        fs::create_dir_all(parent(path))?;
        file.persist(path)?;
        match replaced {
            Some(replaced) => self.remove_attributes(key, &replaced),
            None => Ok(()),
        }
    }

    /// Removes the attributes of a content that is gone.
    pub(super) fn remove_attributes(&self, key: &str, gone: &fs::Metadata) -> io::Result<()> {
        ignore_missing(fs::remove_file(self.attributes_file(key, &version(gone))))
    }

    /// Writes a body to a temporary file.
    pub(super) async fn receive(&self, body: Option<StreamingBlob>) -> S3Result<NamedTempFile> {
        let tmp = self.tmp();
        let mut file = self.blocking(move || NamedTempFile::new_in(tmp).map_err(internal)).await?;
        let Some(mut body) = body else {
            return Ok(file);
        };
        loop {
            let (mut pieces, mut len, mut more) = (Vec::new(), 0, true);
            while more && len < WRITE_BYTES {
                match body.next().await {
                    Some(Ok(piece)) => {
                        len += piece.len();
                        pieces.push(piece);
                    }
                    Some(Err(error)) => {
                        let code = s3s::S3ErrorCode::IncompleteBody;
                        return Err(S3Error::with_source(code, error));
                    }
                    None => more = false,
                }
            }
            // Not by an async file, which would copy each piece first.
            file = self
                .blocking(move || {
                    for piece in &pieces {
                        io::Write::write_all(file.as_file_mut(), piece).map_err(internal)?;
                    }
                    Ok(file)
                })
                .await?;
            if !more {
                return Ok(file);
            }
        }
    }

    /// Opens an object, with the attributes of just this content.
    pub(super) fn open_object(&self, bucket: &str, key: &str) -> S3Result<(File, fs::Metadata, Attributes)> {
        let path = self.file(bucket, key)?;
        let missing_or = |error: io::Error| {
            if is_missing(&error) { s3_error!(NoSuchKey) } else { internal(error) }
        };
        // Its attributes go when it is replaced, so they may be gone by the time they are read.
        for _ in 0..10 {
            let file = File::open(&path).map_err(missing_or)?;
            let found = file.metadata().map_err(internal)?;
            if !found.is_file() {
                return Err(s3_error!(NoSuchKey));
            }
            match fs::read(self.attributes_file(key, &version(&found))) {
                Ok(bytes) => {
                    let attributes = serde_json::from_slice(&bytes).map_err(|error| internal(error.into()))?;
                    return Ok((file, found, attributes));
                }
                Err(error) if !is_missing(&error) => return Err(internal(error)),
                Err(_) => {
                    let now = fs::metadata(&path).map_err(missing_or)?;
                    if version(&now) == version(&found) {
                        return Ok((file, found, Attributes::default()));
                    }
                }
            }
        }
        Err(s3_error!(OperationAborted, "the object is being replaced again and again"))
    }
}

impl Folder {
    /// Runs file work off the async threads, and logs a fault of the folder.
    pub(super) async fn blocking<T, F>(&self, work: F) -> S3Result<T>
    where
        T: Send + 'static,
        F: FnOnce() -> S3Result<T> + Send + 'static,
    {
        let result = match tokio::task::spawn_blocking(work).await {
            Ok(result) => result,
            Err(error) => Err(internal(io::Error::other(error))),
        };
        if let Err(error) = &result
            && let Some(fault) = error.source().and_then(|it| it.downcast_ref())
        {
            self.faults.report(&self.root, fault);
        }
        result
    }
}

impl Attributes {
    /// Whether they are those of an object that has no file of them.
    fn are_default(&self) -> bool {
        self.metadata.as_ref().is_none_or(std::collections::HashMap::is_empty)
            && self.content_type.as_deref().is_none_or(|text| text == MediaType::OCTET_STREAM.as_str())
    }
}

impl Default for Attributes {
    /// S3 has a type for every object, and some registry clients refuse a blob without one.
    fn default() -> Self {
        Self { content_type: Some(MediaType::OCTET_STREAM.as_str().to_owned()), metadata: None }
    }
}

/// Locks a folder against other processes, once one that is ending has left it.
fn lock(path: &Path, timeout: Duration) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if began.elapsed() < timeout => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(fs::TryLockError::WouldBlock) => break,
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another pounce uses this folder"))
}

/// Changes whenever the content does: a new content is a new file, with an inode of its own as long as the old one is
/// there. S3 promises no more of an `ETag`.
fn version(found: &fs::Metadata) -> String {
    let age = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    format!("{:x}-{:x}-{:x}", found.len(), age.as_nanos(), found.ino())
}

pub(super) fn etag(found: &fs::Metadata) -> ETag {
    ETag::Strong(version(found))
}

/// Whether a condition names this `ETag`.
pub(super) fn matches(wanted: &dto::ETagCondition, found: &ETag) -> bool {
    wanted.is_any() || wanted.as_etag() == Some(found)
}

pub(super) fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

/// The file is not there, or its path leads through a file, or its name is not a file name.
pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if is_missing(&error) { Ok(()) } else { Err(error) })
}
