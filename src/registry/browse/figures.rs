//! When things were pulled, and what repositories take: from the notes of pulls, and from the last survey.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::{Browse, LastPull};
use crate::oci::{Digest, RepositoryName};
use crate::registry::gc::Figures;
use crate::registry::pulls::PullHistory;
use crate::store::Key;

/// How far back pulls are looked for.
const PULLS: Duration = Duration::from_hours(7 * 24);
/// How many notes are read, the newest first: all of one process, and half a day of twenty.
const NOTES: usize = 240;

impl Browse {
    /// What each repository takes, by the last survey; `None` before the first one.
    pub async fn figures(&self) -> Option<Arc<Figures>> {
        let read = async { Ok(Figures::read(&self.store).await?.map(Arc::new)) };
        Option::clone(&*self.figures.get(Box::pin(read)).await?)
    }

    /// When anything of the repository was last pulled.
    pub async fn last_pull_of_repository(&self, name: &RepositoryName) -> LastPull {
        let history = self.history().await;
        if self.pulls.has_recorded(name, None) {
            return LastPull::Now;
        }
        told(history.as_deref(), |history| history.last_of_repository(name))
    }

    /// When the manifest was last pulled.
    pub async fn last_pull(&self, name: &RepositoryName, digest: &Digest) -> LastPull {
        let history = self.history().await;
        if self.pulls.has_recorded(name, Some(digest)) {
            return LastPull::Now;
        }
        told(history.as_deref(), |history| history.last(name, digest))
    }

    async fn history(&self) -> Option<Arc<PullHistory>> {
        let read = async {
            // The answer tells the bucket's clock.
            self.store.exists(Key::GcState).await?;
            let now = self.store.bucket_time();
            let oldest = now.checked_sub(PULLS).unwrap_or(SystemTime::UNIX_EPOCH);
            PullHistory::read_some(&self.store, now, oldest, NOTES).await
        };
        self.history.get(Box::pin(read)).await
    }
}

fn told(history: Option<&PullHistory>, last: impl FnOnce(&PullHistory) -> Option<SystemTime>) -> LastPull {
    match history {
        Some(history) => last(history).map_or(LastPull::NotSince(history.recorded_since()), LastPull::At),
        None => LastPull::Unknown,
    }
}
