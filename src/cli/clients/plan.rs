//! The files that a node gets, and what to say about them.

use super::tree::Tree;

/// The first line of files that pounce made.
pub(super) const HEADER: &str = "# Written by `pounce clients`; `pounce clients --undo` takes it back.\n";
/// The second one, of those that are pounce's own.
const OWN: &str = "# The next `pounce clients` overwrites this file, unless these two lines are removed.\n";

/// The files for some clients.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) files: Vec<File>,
    /// What is only printed: a title, and a text.
    pub(super) printed: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
    /// A client gets less than a mirror of everything that was asked for.
    pub(super) left_out: bool,
}

/// A file of the node.
#[derive(Debug)]
pub(super) struct File {
    pub(super) path: String,
    /// What is there.
    pub(super) before: Option<String>,
    pub(super) text: String,
}

/// A plan that is being made. With a tree, the files there are read, and what is foreign in them stays.
pub(super) struct Draft<'a> {
    pub(super) plan: Plan,
    tree: Option<&'a Tree>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(notes: Vec<String>, tree: Option<&'a Tree>) -> Self {
        Self { plan: Plan { notes, ..Plan::default() }, tree }
    }

    /// The content of a file of the node; `None` also if files are only printed.
    pub(super) fn read(&self, path: &str) -> Result<Option<String>, String> {
        self.tree.map_or(Ok(None), |tree| tree.read(path))
    }

    /// Whether files are written.
    pub(super) const fn writes(&self) -> bool {
        self.tree.is_some()
    }

    /// Adds a file whose content depends on what is there. Two clients may share a file.
    pub(super) fn merge(
        &mut self,
        path: String,
        render: impl FnOnce(Option<&str>) -> Result<String, String>,
    ) -> Result<(), String> {
        if self.plan.files.iter().any(|file| file.path == path) {
            return Ok(());
        }
        let before = self.read(&path)?;
        let text = render(before.as_deref()).map_err(|error| format!("{path}: {error}"))?;
        self.plan.files.push(File { path, before, text });
        Ok(())
    }

    /// Adds a file that is pounce's own. One that has content of others is refused, because a merge would lose its
    /// comments and the order of its parts.
    pub(super) fn own(&mut self, path: &str, body: &str) -> Result<(), String> {
        self.merge(path.to_owned(), |before| match before {
            Some(before) if !before.starts_with(HEADER) && !before.trim().is_empty() => Err(
                "it has settings that pounce did not write, and stays as it is: add by hand what the command prints \
                     without --write"
                    .to_owned(),
            ),
            _ => Ok(format!("{HEADER}{OWN}{body}")),
        })
    }

    /// Adds a file that is replaced, such as a certificate.
    pub(super) fn replace(&mut self, path: String, text: &str) -> Result<(), String> {
        self.merge(path, |_| Ok(text.to_owned()))
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.plan.notes.push(note.into());
    }
}
