//! Changes of an htpasswd file: one user is added, changed or removed, and everything else stays as it is.
//!
//! The new text replaces the file by a rename, so that a server that reads it sees the old or the new users, and none of
//! them is lost if the machine stops. Two changes at once follow each other, by a lock on the folder.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::htpasswd::{MAX_FILE, content};
use crate::bounded_file;

/// How often, and after which time each, the lock on the folder is tried.
const LOCK_ATTEMPTS: (u32, Duration) = (100, Duration::from_millis(50));

/// What a change did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserChange {
    /// The file had no such user.
    Added,
    /// It had one, which has another password now.
    Changed,
    /// The user is gone; so many are left.
    Removed {
        /// The number of other users.
        left: usize,
    },
}

/// Why an htpasswd file is not changed. It stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum UserFileError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no user to remove.
    #[error("{}: there is no user {user} in it", path.display())]
    NoUser {
        /// The file.
        path: PathBuf,
        /// The user's name.
        user: String,
    },
    /// The new file would belong to another user or group.
    #[error("{}: it belongs to user {uid} and group {gid}, which only root can keep: run this as them", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// The file is a mount point, which cannot be replaced.
    #[error("{}: the file itself is mounted, so that it cannot be replaced: mount its folder", path.display())]
    Mounted {
        /// The file.
        path: PathBuf,
    },
}

/// Adds a user to the file, or changes the user's line; `line` is that of [`htpasswd_line`](super::htpasswd_line). A
/// missing file is made with this `mode`; another one keeps its mode and owner.
///
/// # Errors
/// See [`UserFileError`].
pub fn set_user(path: &Path, user: &str, line: &str, mode: u32) -> Result<UserChange, UserFileError> {
    let mut change = UserChange::Added;
    rewrite(path, Some(mode), |text| {
        let (text, found) = with_user(text, user, Some(line));
        if found {
            change = UserChange::Changed;
        }
        Ok(text)
    })?;
    Ok(change)
}

/// Removes a user from the file.
///
/// # Errors
/// See [`UserFileError`].
pub fn remove_user(path: &Path, user: &str) -> Result<UserChange, UserFileError> {
    let mut left = 0;
    rewrite(path, None, |text| {
        let (text, found) = with_user(text, user, None);
        if !found {
            return Err(UserFileError::NoUser { path: path.to_owned(), user: user.to_owned() });
        }
        left = text.lines().filter_map(name).count();
        Ok(text)
    })?;
    Ok(UserChange::Removed { left })
}

/// Replaces the text of a file. Without a `mode`, the file must exist.
fn rewrite(
    path: &Path,
    mode: Option<u32>,
    edit: impl FnOnce(&str) -> Result<String, UserFileError>,
) -> Result<(), UserFileError> {
    let failed = |source| UserFileError::File { path: path.to_owned(), source };
    // A symbolic link stays, and its target is replaced.
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && mode.is_some() => path.to_owned(),
        found => found.map_err(failed)?,
    };
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Held until the end of the function.
    let _locked = lock(folder).map_err(failed)?;
    let old = read(&target).map_err(failed)?;
    let text = edit(old.as_ref().map_or("", |(text, _)| text))?;
    let mut new = tempfile::Builder::new().prefix(".htpasswd-").tempfile_in(folder).map_err(failed)?;
    new.write_all(text.as_bytes()).map_err(failed)?;
    if let Some((_, old)) = &old {
        keep_owner(path, new.as_file(), old)?;
    }
    let mode = old.as_ref().map(|(_, old)| old.mode() & 0o7777).or(mode).unwrap_or(0o600);
    new.as_file().set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
    new.as_file().sync_all().map_err(failed)?;
    let persisted = if old.is_some() { new.persist(&target) } else { new.persist_noclobber(&target) };
    persisted.map(drop).map_err(|error| match error.error.kind() {
        io::ErrorKind::ResourceBusy => UserFileError::Mounted { path: path.to_owned() },
        _ => failed(error.error),
    })
}

/// Locks a folder against other changes until the result is dropped.
fn lock(folder: &Path) -> io::Result<File> {
    let folder = File::open(folder)?;
    let (attempts, pause) = LOCK_ATTEMPTS;
    for _ in 0..attempts {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => std::thread::sleep(pause),
            locked => return Ok(locked.map(|()| folder)?),
        }
    }
    Err(io::Error::other("another program has locked its folder"))
}

/// The text of a file with its metadata; `None` if it is missing.
fn read(path: &Path) -> io::Result<Option<(String, Metadata)>> {
    let data = match fs::metadata(path) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
            return Err(io::Error::other("it is a symbolic link that leads nowhere"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // A pipe would be waited for.
    if !data.is_file() {
        return Err(io::Error::other("it is no file with users"));
    }
    Ok(Some((bounded_file::read_text(path, MAX_FILE)?, data)))
}

fn keep_owner(path: &Path, new: &File, old: &Metadata) -> Result<(), UserFileError> {
    let (uid, gid) = (old.uid(), old.gid());
    let is_kept = new.metadata().is_ok_and(|new| (new.uid(), new.gid()) == (uid, gid));
    if is_kept || fchown(new, Some(uid), Some(gid)).is_ok() {
        return Ok(());
    }
    Err(UserFileError::Owner { path: path.to_owned(), uid, gid })
}

/// The text with this line for the user, or without the user; and whether the user was there. Of several lines for one
/// user the server takes the last, so that no further one stays.
fn with_user(text: &str, user: &str, line: Option<&str>) -> (String, bool) {
    let (mut new, mut found) = (String::with_capacity(text.len() + 128), false);
    for old in text.split_inclusive('\n') {
        if name(old) != Some(user) {
            new.push_str(old);
            continue;
        }
        if let (Some(line), false) = (line, found) {
            let rest = old.trim_start_matches('\u{feff}');
            new.push_str(&old[..old.len() - rest.len()]);
            new.push_str(line);
            new.push_str(&rest[rest.trim_end_matches(['\r', '\n']).len()..]);
        }
        found = true;
    }
    if let (Some(line), false) = (line, found) {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        // A file whose last line has no end keeps that.
        let is_ended = text.is_empty() || text.ends_with('\n');
        new.push_str(if is_ended { "" } else { end });
        new.push_str(line);
        new.push_str(if is_ended { end } else { "" });
    }
    (new, found)
}

/// The user that a line is for.
fn name(line: &str) -> Option<&str> {
    content(line)?.split_once(':').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_changes_and_the_others_stay() {
        let cases = [
            ("", "b:2\n"),
            ("a:1\n", "a:1\nb:2\n"),
            ("a:1", "a:1\nb:2"),
            ("a:1\r\n# x\r\n", "a:1\r\n# x\r\nb:2\r\n"),
            ("a:1\r\nc:3", "a:1\r\nc:3\r\nb:2"),
            ("# b:0\n\n b:1 \r\nc:3\n", "# b:0\n\nb:2\r\nc:3\n"),
            ("\u{feff}b:1\na:1\n", "\u{feff}b:2\na:1\n"),
            ("b:0\na:1\nb:1", "b:2\na:1\n"),
            ("bb:1\nb", "bb:1\nb\nb:2"),
        ];
        for (old, new) in cases {
            assert_eq!(with_user(old, "b", Some("b:2")).0, new, "{old:?}");
            // What was added or changed can be removed again.
            let (without, found) = with_user(new, "b", None);
            assert!(found && without.lines().filter_map(name).all(|it| it != "b"), "{new:?}: {without:?}");
        }
        assert_eq!(with_user("a:1\n# b:1\n", "b", None), ("a:1\n# b:1\n".to_owned(), false));
        assert_eq!(with_user("a:1\r\nb:1\r\nc:1", "b", None).0, "a:1\r\nc:1");
    }
}
