//! Values that are read from files, and read again when the files change.
//!
//! A task compares the files' times, sizes and inodes once a second. It follows symbolic links, so that it notices the
//! changes of Kubernetes and `certbot` as well as an editor's. If the new files cannot be used, the last value stays in
//! force.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::watch;

use crate::bounded_file::FileVersion;

/// How often the files are compared.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often all files were to be read anew, whether they changed or not.
static DEMANDS: LazyLock<watch::Sender<u64>> = LazyLock::new(watch::Sender::default);

/// Has all values read again now, as programs do at SIGHUP.
pub(crate) fn read_all_again() {
    DEMANDS.send_modify(|demands| *demands += 1);
}

/// The current value, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Reloaded<T>(watch::Receiver<Arc<T>>);

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// The value that `read` makes of `files`. `read` is called again when they change, until the result and its clones
    /// are dropped. `name` is the value's name in the log.
    ///
    /// # Errors
    /// Those of the first call of `read`.
    pub(crate) fn of<E: Display + Send>(
        name: &'static str,
        files: Vec<PathBuf>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let before = versions(&files);
        let first = Arc::new(read()?);
        Ok(Self::since(name, files, before, first, read))
    }

    /// As [`of`](Self::of), with a first value that was read already, from these versions of the files.
    pub(crate) fn since<E: Display + Send>(
        name: &'static str,
        files: Vec<PathBuf>,
        mut before: Vec<Option<FileVersion>>,
        first: Arc<T>,
        read: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Self {
        let (sender, receiver) = watch::channel(first);
        if files.is_empty() {
            return Self(receiver);
        }
        let (files, read) = (Arc::new(files), Arc::new(read));
        let mut demands = DEMANDS.subscribe();
        tokio::spawn(async move {
            loop {
                let is_demanded = tokio::select! {
                    () = sender.closed() => return,
                    // The sender is never dropped.
                    _ = demands.changed() => true,
                    () = tokio::time::sleep(INTERVAL) => false,
                };
                let (files, read, last) = (Arc::clone(&files), Arc::clone(&read), before.clone());
                // A network file system may block.
                let compared = tokio::task::spawn_blocking(move || {
                    let now = versions(&files);
                    let value = (is_demanded || now != last).then(|| read().map_err(|error| error.to_string()));
                    (now, value)
                });
                let (now, value) = match compared.await {
                    Ok(compared) => compared,
                    Err(error) => {
                        tracing::error!(%error, "reload: {name} is not watched for changes any more");
                        return;
                    }
                };
                before = now;
                match value {
                    None => {}
                    Some(Ok(value)) => {
                        tracing::info!("reload: {name} is read again");
                        sender.send_replace(Arc::new(value));
                    }
                    Some(Err(error)) => {
                        tracing::error!(
                            error,
                            "reload: {name} cannot be used as it is now; the last value stays in force"
                        );
                    }
                }
            }
        });
        Self(receiver)
    }

    /// The next value; `None` where there will be none.
    pub(crate) async fn changed(&mut self) -> Option<Arc<T>> {
        self.0.changed().await.ok()?;
        Some(Arc::clone(&self.0.borrow_and_update()))
    }

    /// The value as it is now.
    pub(crate) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }
}

fn versions(files: &[PathBuf]) -> Vec<Option<FileVersion>> {
    files.iter().map(|file| FileVersion::of(file)).collect()
}
