//! Values that are made of files, and made anew when these change.
//!
//! The files are looked at once a second by their times, sizes and inodes, through symbolic links, so that what
//! Kubernetes and `certbot` do to them is seen like an editor's change. What cannot be read any more leaves the last
//! value in force.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The current value, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Live<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync + 'static> Live<T> {
    /// A value made of `files` by `make`, which is called again when they change, for as long as anybody holds the
    /// result. `what` is what the log calls it.
    ///
    /// # Errors
    /// As the first call of `make`.
    pub(crate) fn of<E: Display + Send>(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let mut seen = state(&files);
        let (sender, receiver) = watch::channel(Arc::new(make()?));
        if files.is_empty() {
            return Ok(Self(receiver));
        }
        let (files, make) = (Arc::new(files), Arc::new(make));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = sender.closed() => return,
                    () = tokio::time::sleep(INTERVAL) => {}
                }
                let (files, make, before) = (Arc::clone(&files), Arc::clone(&make), seen.clone());
                // A network's file system may take its time.
                let looked = tokio::task::spawn_blocking(move || {
                    let now = state(&files);
                    let anew = (now != before).then(|| make().map_err(|error| error.to_string()));
                    (now, anew)
                });
                let (now, anew) = match looked.await {
                    Ok(looked) => looked,
                    Err(error) => {
                        tracing::error!(%error, "{what} is not looked at any more");
                        return;
                    }
                };
                seen = now;
                match anew {
                    None => {}
                    Some(Ok(value)) => {
                        tracing::info!("{what} changed and was read again");
                        sender.send_replace(Arc::new(value));
                    }
                    Some(Err(error)) => {
                        tracing::error!(error, "{what} changed and cannot be used: what it was stays in force");
                    }
                }
            }
        });
        Ok(Self(receiver))
    }

    /// The value as it is now.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

/// What tells one state of a file from another; `None` where there is no file.
type State = Option<(u64, u64, i64, i64, i64, i64)>;

fn state(files: &[PathBuf]) -> Vec<State> {
    let state = |file: &PathBuf| {
        let data = std::fs::metadata(file).ok()?;
        let (modified, changed) = (data.mtime_nsec(), data.ctime_nsec());
        Some((data.ino(), data.len(), data.mtime(), modified, data.ctime(), changed))
    };
    files.iter().map(state).collect()
}
