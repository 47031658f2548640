//! What clients pull, noted in the bucket, so that retention knows what is used without a database.
//!
//! Each process has the set of the manifests that were pulled in the current hour, and writes all of it to one object of
//! that hour (`pounce/pulled/<day>/<hour>-<id>`): every 15 minutes in which there was something new, at the end, and once
//! a day in any case, because a day without an object counts as one of which nothing is known. A pull that was noted in
//! the hour already costs a comparison. All times are the bucket's.

mod cleanup;
mod days;
mod history;
mod note;
mod recorded;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, Notify};

use super::runtime::Background;
use crate::oci::{Digest, MediaType, RepositoryName};
use crate::store::{Condition, Key, Metadata, Store, StoreError};

use cleanup::LONGEST;
pub(super) use cleanup::delete_notes_before;
pub(super) use history::PullHistory;
use recorded::{Due, Recorded};

/// How often new pulls are written. A process that is killed loses the pulls of so long.
const INTERVAL: Duration = Duration::from_mins(15);
/// How soon they are written again because there are many.
const PAUSE: Duration = Duration::from_mins(1);
/// How long the last note of a process may take.
const LAST: Duration = Duration::from_secs(5);
/// The process records nothing, because the bucket takes no notes from it.
const NEVER: u32 = 0;

/// The pulls of this process.
#[derive(Debug)]
pub struct Pulls {
    store: Store,
    /// The number of the current note, or [`NEVER`]. What is in it is not recorded again.
    period: AtomicU32,
    recorded: Mutex<Recorded>,
    /// There are so many pulls that they should be written now.
    many: Notify,
    /// Held while a note is written.
    writing: AsyncMutex<()>,
    /// When the process began to serve clients. One that does not says nothing of a day by having no pulls.
    serves_since: OnceLock<Instant>,
    /// The process writes nothing else, so its credentials may not allow it.
    may_be_denied: bool,
    /// The log said that a note does not tell all.
    is_partial: AtomicBool,
}

impl Pulls {
    /// `writes`: this process writes other things to the bucket, too.
    pub(super) fn new(store: &Store, writes: bool) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            may_be_denied: !writes,
            is_partial: AtomicBool::new(false),
            period: AtomicU32::new(Recorded::default().number()),
            recorded: Mutex::default(),
            many: Notify::new(),
            writing: AsyncMutex::new(()),
            serves_since: OnceLock::new(),
        })
    }

    /// Writes notes until the registry stops. The process serves clients from now on.
    pub(super) fn write_periodically(self: &Arc<Self>, background: &Background) {
        if self.period() == NEVER {
            return;
        }
        self.serves_since.get_or_init(Instant::now);
        let pulls = Arc::clone(self);
        background.forever(async move {
            loop {
                tokio::time::sleep(PAUSE).await;
                // The time is over, or there are many.
                let _ = tokio::time::timeout(INTERVAL.saturating_sub(PAUSE), pulls.many.notified()).await;
                if pulls.write().await {
                    pulls.clean_up().await;
                }
            }
        });
    }

    /// Which note is being recorded. What is marked with it needs no [`record`](Self::record).
    pub(super) fn period(&self) -> u32 {
        self.period.load(Ordering::Relaxed)
    }

    /// A client pulled a manifest, or its tag.
    pub(super) fn record(&self, name: &RepositoryName, digest: Digest) {
        if self.period() == NEVER {
            return;
        }
        if self.recorded().insert(name, digest) {
            self.many.notify_one();
        }
    }

    /// Whether a manifest was pulled from this process in the hour that it has not noted to its end.
    pub(super) fn has_recorded(&self, name: &RepositoryName, digest: Option<&Digest>) -> bool {
        self.recorded().contains(name, digest)
    }

    /// Writes what was pulled and is not written yet, and the first note of a day. What the bucket does not take is
    /// written with the next note. Returns whether it was the first note of a day.
    pub(super) async fn write(&self) -> bool {
        if self.period() == NEVER {
            return false;
        }
        let _writing = self.writing.lock().await;
        let (now, serves_since) = (self.store.bucket_time(), self.serves_since.get().map(Instant::elapsed));
        let since = serves_since.map(|age| now.checked_sub(age).unwrap_or(now));
        let due = {
            let mut recorded = self.recorded();
            let due = recorded.due(now, since);
            // A pull that saw the number before waits for the lock, and is recorded for the next note.
            self.period.store(recorded.number(), Ordering::Relaxed);
            due
        };
        let Some(due) = due else {
            return false;
        };
        let Due { place, text, is_whole, .. } = &due;
        if !is_whole && !self.is_partial.swap(true, Ordering::Relaxed) {
            let message = "more manifests were pulled than a note in the bucket (pounce/pulled/) has room for: for garbage \
                           collection, everything counts as pulled until now";
            tracing::warn!("{message}");
        }
        let key = Key::PullNote(&place.day, place.hour, &place.id);
        let written =
            self.store.put(key, text.clone(), &MediaType::OCTET_STREAM, &Metadata::new(), Condition::Always).await;
        let is_first = self.recorded().finish(due, written.is_ok());
        if let Err(error) = written {
            if self.may_be_denied && matches!(error, StoreError::Denied { .. }) {
                self.period.store(NEVER, Ordering::Relaxed);
                let message = "the credentials do not allow to note what clients pull (pounce/pulled/): for garbage \
                               collection, these pulls do not count";
                tracing::warn!(%error, "{message}");
                return false;
            }
            let message = "what clients pulled is not noted in the bucket (pounce/pulled/); it will be tried again";
            tracing::warn!(%error, "{message}");
        }
        is_first
    }

    /// The last note of the process.
    pub(super) async fn close(&self) {
        if tokio::time::timeout(LAST, self.write()).await.is_err() {
            tracing::warn!("what clients pulled last is not noted in the bucket: it does not answer");
        }
    }

    /// Deletes what no rule can ask for, once a day: nothing else does where no garbage is collected.
    async fn clean_up(&self) {
        let Some(oldest) = self.store.bucket_time().checked_sub(LONGEST) else {
            return;
        };
        if let Err(error) = delete_notes_before(&self.store, oldest).await {
            tracing::debug!(%error, "old notes of pulls were not deleted");
        }
    }

    fn recorded(&self) -> MutexGuard<'_, Recorded> {
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
