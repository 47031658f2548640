//! What `--undo` brings back.

use super::target::Target;
use super::tree::{BACKUP, NEW, Tree};

/// A file that becomes as it was.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) path: String,
    pub(super) now: Option<String>,
    pub(super) before: Option<String>,
    /// The number of directories that were made for it.
    directories: usize,
}

/// The files of some clients that `--write` changed.
///
/// # Errors
/// A sentence about a file that cannot be read.
pub(super) fn changes(tree: &Tree, targets: &[Target]) -> Result<Vec<Change>, String> {
    let mut changes: Vec<Change> = Vec::new();
    let mut add = |directory: &str| -> Result<(), String> {
        for name in tree.names(directory)? {
            let (own, is_new) = match (name.strip_suffix(BACKUP), name.strip_suffix(NEW)) {
                (Some(own), _) => (own, false),
                (None, Some(own)) => (own, true),
                (None, None) => continue,
            };
            let path = format!("{directory}/{own}");
            if own.is_empty() || changes.iter().any(|change| change.path == path) {
                continue;
            }
            let kept = tree.read(&format!("{directory}/{name}"))?;
            let directories = kept.as_ref().filter(|_| is_new).and_then(|count| count.trim().parse().ok());
            changes.push(Change {
                now: tree.read(&path)?,
                before: kept.filter(|_| !is_new),
                path,
                directories: directories.unwrap_or(0),
            });
        }
        Ok(())
    };
    for (directory, is_deep) in targets.iter().flat_map(|target| target.written()) {
        if *is_deep {
            for name in tree.names(directory)? {
                add(&format!("{directory}/{name}"))?;
            }
        } else {
            add(directory)?;
        }
    }
    Ok(changes)
}

/// Makes the files as they were, and removes what was kept for that.
///
/// # Errors
/// A sentence that names a file. Those before it are as they were.
pub(super) fn apply(tree: &Tree, changes: &[Change]) -> Result<(), String> {
    for change in changes {
        let (backup, new) = (format!("{}{BACKUP}", change.path), format!("{}{NEW}", change.path));
        match &change.before {
            Some(before) => {
                let like = tree.metadata(&backup)?;
                tree.write_like(&change.path, before, Some(&like))?;
            }
            None => tree.remove(&change.path)?,
        }
        tree.remove(&backup)?;
        tree.remove(&new)?;
    }
    tree.remove_directories(changes.iter().map(|change| (change.path.as_str(), change.directories)))
}
