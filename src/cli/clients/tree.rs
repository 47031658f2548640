//! The node's files, below a directory that is its `/`.
//!
//! A file is written whole or not at all, with the mode and the owner that it had. Before its first change, what was
//! there is kept beside it: in `<file>.before-pounce`, or as the note `<file>.new-by-pounce`, which has the number of
//! directories that were made for it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::bounded_file;

/// What was there before.
pub(super) const BACKUP: &str = ".before-pounce";
/// The file was not there before.
pub(super) const NEW: &str = ".new-by-pounce";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// The mode of new files: all clients may read them.
const NEW_MODE: u32 = 0o644;

/// A directory that is the node's `/`.
#[derive(Debug)]
pub(super) struct Tree {
    /// Without symbolic links.
    root: PathBuf,
}

impl Tree {
    /// # Errors
    /// The directory is not there.
    pub(super) fn open(root: &Path) -> Result<Self, String> {
        let opened = fs::canonicalize(root).map_err(|error| format!("--root: {}: {error}", root.display()))?;
        if !opened.is_dir() {
            return Err(format!("--root: {}: it is not a directory", root.display()));
        }
        Ok(Self { root: opened })
    }

    /// Whether a directory is there.
    pub(super) fn has_directory(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|path| path.is_dir())
    }

    /// The text of a file; `None` if it is not there.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub(super) fn read(&self, path: &str) -> Result<Option<String>, String> {
        let real = self.resolve(path)?;
        // A pipe would be waited for.
        if fs::metadata(&real).is_ok_and(|data| !data.is_file()) {
            return Err(format!("{path}: it is not a regular file, and stays as it is"));
        }
        match bounded_file::read_text(&real, MAX_FILE) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    /// Writes a file, and keeps what was there before the first change.
    ///
    /// # Errors
    /// A sentence that names the file. It is then as it was.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<(), String> {
        let real = self.resolve(path)?;
        let (backup, new) = (format!("{path}{BACKUP}"), format!("{path}{NEW}"));
        if self.read(&backup)?.is_none() && self.read(&new)?.is_none() {
            if let Some(before) = self.read(path)? {
                let like = fs::metadata(&real).map_err(|error| failed(path, &error))?;
                self.write_like(&backup, &before, Some(&like))?;
            } else {
                let made = make_directories(&real).map_err(|error| failed(path, &error))?;
                // Without the note, no later run would know of the directories.
                self.write_like(&new, &format!("{made}\n"), None)
                    .inspect_err(|_| self.above(&real, made).for_each(|it| drop(fs::remove_dir(it))))?;
            }
        }
        let like = fs::metadata(&real).ok();
        self.write_like(path, text, like.as_ref())
    }

    /// Puts a file in the place of another one, or of none, in one step.
    pub(super) fn write_like(&self, path: &str, text: &str, like: Option<&Metadata>) -> Result<(), String> {
        let real = self.resolve(path)?;
        let write = || -> io::Result<()> {
            make_directories(&real)?;
            let directory = real.parent().unwrap_or(&self.root);
            let mut file = NamedTempFile::new_in(directory)?;
            file.write_all(text.as_bytes())?;
            let mode = like.map_or(NEW_MODE, |like| like.mode() & 0o7777);
            if let Some(like) = like {
                let own = file.as_file().metadata()?;
                if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                    fchown(file.as_file(), Some(like.uid()), Some(like.gid()))?;
                }
            }
            file.as_file().set_permissions(Permissions::from_mode(mode))?;
            file.as_file().sync_all()?;
            file.persist(&real).map_err(|error| error.error)?;
            File::open(directory)?.sync_all()
        };
        write().map_err(|error| failed(path, &error))
    }

    /// The metadata of a file.
    pub(super) fn metadata(&self, path: &str) -> Result<Metadata, String> {
        fs::metadata(self.resolve(path)?).map_err(|error| failed(path, &error))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &str) -> Result<(), String> {
        match fs::remove_file(self.resolve(path)?) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(path, &error)),
            _ => Ok(()),
        }
    }

    /// Removes directories that were made for files, as far as they are empty now: of each file, so many above it.
    ///
    /// # Errors
    /// A sentence that names a file.
    pub(super) fn remove_directories<'a>(&self, made: impl Iterator<Item = (&'a str, usize)>) -> Result<(), String> {
        let mut directories = BTreeSet::new();
        for (path, count) in made {
            let real = self.resolve(path)?;
            directories.extend(self.above(&real, count).map(Path::to_owned));
        }
        // A directory comes after those in it. One that is not empty stays.
        for directory in directories.iter().rev() {
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }

    /// So many directories above a file.
    fn above<'a>(&self, file: &'a Path, count: usize) -> impl Iterator<Item = &'a Path> {
        file.ancestors().skip(1).take(count).take_while(|it| it.starts_with(&self.root))
    }

    /// The names in a directory, in order; none, if it is not there.
    pub(super) fn names(&self, directory: &str) -> Result<Vec<String>, String> {
        let entries = match fs::read_dir(self.resolve(directory)?) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(failed(directory, &error)),
        };
        let names = entries.map(|entry| entry.map(|entry| entry.file_name().into_string().unwrap_or_default()));
        let mut names: Vec<_> = names.collect::<Result<_, _>>().map_err(|error| failed(directory, &error))?;
        names.sort();
        Ok(names)
    }

    /// The real path of a file, whether it is there or not. A link that leaves the tree is refused: in the tree of an
    /// image, `/etc/docker` may lead to the one of this machine.
    fn resolve(&self, path: &str) -> Result<PathBuf, String> {
        let mut real = self.root.clone();
        for component in Path::new(path).components() {
            let Component::Normal(name) = component else { continue };
            real.push(name);
            let is_link = fs::symlink_metadata(&real).is_ok_and(|it| it.is_symlink());
            if is_link {
                real = fs::canonicalize(&real)
                    .map_err(|error| format!("{path}: a symbolic link on the way leads nowhere: {error}"))?;
            }
            if !real.starts_with(&self.root) {
                return Err(format!("{path}: a symbolic link on the way leaves {}", self.root.display()));
            }
        }
        Ok(real)
    }
}

/// Makes the directories above a file, and counts them.
fn make_directories(file: &Path) -> io::Result<usize> {
    let missing: Vec<&Path> = file.ancestors().skip(1).take_while(|it| !it.exists()).collect();
    for directory in missing.iter().rev() {
        fs::create_dir(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    Ok(missing.len())
}

fn failed(path: &str, error: &io::Error) -> String {
    let advice = match error.kind() {
        // root gets this one where the file has the attribute `i`.
        ErrorKind::PermissionDenied if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
            ": it may be immutable, as `lsattr` shows and `chattr -i` changes, or take root"
        }
        ErrorKind::PermissionDenied => ": it takes root, as in `sudo pounce clients …`",
        ErrorKind::ReadOnlyFilesystem => ": on such a node, put the files into its image, with --root DIRECTORY",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ": free some space, then do it again",
        ErrorKind::InvalidData => ", and stays as it is",
        _ => "",
    };
    format!("{path}: {error}{advice}")
}
