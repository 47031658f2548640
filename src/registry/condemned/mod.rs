//! Keys that garbage collection condemned, and how a write keeps them.
//!
//! A collector publishes the keys that nothing needs, waits, surveys the bucket anew, and deletes those that still
//! nothing needs. Between its survey and its DELETE, a push may have found such a key present, and rely on it. No
//! condition of a DELETE helps, because what is written again has the same `ETag`. So every write that is acknowledged
//! ends here, in this order:
//!
//! 1. It has written its references, so that a survey that begins later sees them.
//! 2. It knows the condemned keys as they were at most five minutes ago ([`knowledge`]). A batch that it does not know
//!    was published later, and the survey that decides about that comes long after.
//! 3. Where a key that it wrote or relies on is condemned, it writes the decision to keep it ([`decision`]). The first
//!    decision counts. If it comes too late, it does not acknowledge before the DELETE is over for certain, and then
//!    looks whether the key is there.
//!
//! Without condemned keys this costs one GET in five minutes in which there are writes. Pulls do none of it.
//! (`tests/models/gc` tries all orders.)

mod decision;
mod hashes;
mod knowledge;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use uuid::Uuid;

use super::runtime::{Background, Moment, buffered};
use crate::config::GcTiming;
use crate::oci::{Error, ErrorCode};
use crate::store::{GcGroup, Key, Store, StoreError};

use knowledge::Knowledge;

pub(super) use decision::{Decision, delete};
pub(super) use hashes::{BatchKeys, KeyHash, MAX_BATCH_KEYS, is_content};
pub(super) use knowledge::read;
pub(super) use state::{Batch, GcState, MAX_BATCHES};

/// How many decisions, or looks, one write makes at once.
const PARALLEL: usize = 16;
/// How long a write waits before it asks the bucket again for the condemned keys.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];
/// How long it asks at most.
const PATIENCE: Duration = Duration::from_secs(20);

/// Knows the condemned keys, and keeps them.
#[derive(Debug)]
pub(super) struct Condemned {
    store: Store,
    background: Arc<Background>,
    timing: GcTiming,
    known: Mutex<Option<Arc<Knowledge>>>,
    /// Held while the bucket is asked, so that one request asks for all.
    asking: tokio::sync::Mutex<()>,
}

/// Why a write cannot rely on its keys.
#[derive(Debug)]
pub(super) enum NotKept {
    /// A key is being deleted. The client may try again after so long.
    Deleting(Duration),
    /// These keys are gone, by their positions.
    Gone(Vec<usize>),
    /// It cannot be found out.
    Store(StoreError),
}

impl From<StoreError> for NotKept {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl NotKept {
    /// For what is written in the background, and tried again by a later request.
    pub(super) fn in_background(self) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Deleting(_) | Self::Gone(_) => StoreError::Unavailable {
                operation: "PutObject",
                cause: "garbage collection deletes the same content just now".to_owned(),
            },
        }
    }
}

impl From<NotKept> for Error {
    fn from(error: NotKept) -> Self {
        let after = match error {
            NotKept::Store(error) => return error.into(),
            NotKept::Deleting(after) => after,
            NotKept::Gone(_) => Duration::from_secs(1),
        };
        let message = "garbage collection deletes content that is being pushed, push it again a little later";
        Self::new(ErrorCode::Unavailable, message).with_retry_after(Some(after))
    }
}

impl Condemned {
    pub(super) fn new(store: &Store, background: &Arc<Background>, timing: GcTiming) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            background: Arc::clone(background),
            timing,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Knowledge>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write begins: [`keep`](Self::keep) is told when. What this process knows is renewed beside the write's own
    /// requests, if it would be too old at their end.
    pub(super) fn begin(self: &Arc<Self>) -> Moment {
        let soon = self.timing.knowledge / 5 * 4;
        // Of requests that begin at once, one asks.
        if self.known(soon).is_none() && self.asking.try_lock().is_ok() {
            let condemned = Arc::clone(self);
            self.background.try_run(async move {
                if let Err(error) = condemned.learn(soon).await {
                    tracing::debug!(%error, "the condemned keys cannot be read");
                }
            });
        }
        Moment::now()
    }

    /// The knowledge, if it is not older.
    fn known(&self, age: Duration) -> Option<Arc<Knowledge>> {
        self.lock().as_ref().filter(|known| known.asked.elapsed() <= age).map(Arc::clone)
    }

    async fn learn(&self, age: Duration) -> Result<Arc<Knowledge>, StoreError> {
        let _one = self.asking.lock().await;
        if let Some(known) = self.known(age) {
            return Ok(known);
        }
        let before = self.lock().clone();
        let known = Arc::new(Box::pin(Knowledge::ask(&self.store, before.as_deref())).await?);
        *self.lock() = Some(Arc::clone(&known));
        Ok(known)
    }

    /// What a write may go by. A bucket that is throttled for a while has some time, as for all else that a push does.
    async fn current(&self) -> Result<Arc<Knowledge>, StoreError> {
        if let Some(known) = self.known(self.timing.knowledge) {
            return Ok(known);
        }
        let attempts = async {
            for pause in PAUSES {
                match self.learn(self.timing.knowledge).await {
                    Err(StoreError::Unavailable { .. }) => tokio::time::sleep(pause).await,
                    other => return other,
                }
            }
            self.learn(self.timing.knowledge).await
        };
        // Boxed: it is large, and would be part of the future of every push.
        let learned = tokio::time::timeout(PATIENCE, Box::pin(attempts)).await;
        learned.unwrap_or_else(|_| {
            let cause = "the condemned keys cannot be read in time".to_owned();
            Err(StoreError::Unavailable { operation: "GetObject", cause })
        })
    }

    /// Whether any keys are condemned. If not, those that are condemned from now on are deleted only after a survey that
    /// sees all that was written before this call.
    ///
    /// # Errors
    /// [`NotKept`]: nothing may be acknowledged.
    pub(super) async fn has_keys(&self) -> Result<bool, NotKept> {
        Ok(!self.current().await?.batches.is_empty())
    }

    /// Keeps keys that a write wrote, or found present since it `began`, from being deleted as garbage. Everything that
    /// needs the keys is written; what is acknowledged afterwards is not lost.
    ///
    /// # Errors
    /// [`NotKept`]: nothing may be acknowledged.
    pub(super) async fn keep(&self, began: Moment, keys: &[Key<'_>]) -> Result<(), NotKept> {
        self.keep_first(began, keys, keys.len()).await.map(drop)
    }

    /// [`keep`](Self::keep), where only so many of the keys have to be there; of the others, those that are there are
    /// kept. Returns the positions of those that were condemned, and are kept or gone.
    ///
    /// # Errors
    /// [`NotKept`]: nothing may be acknowledged.
    pub(super) async fn keep_first(
        &self,
        began: Moment,
        keys: &[Key<'_>],
        required: usize,
    ) -> Result<Vec<usize>, NotKept> {
        let known = self.current().await?;
        let mut groups = BTreeMap::<_, Vec<usize>>::new();
        let positions = if known.batches.is_empty() { 0 } else { keys.len() };
        for (position, key) in keys.iter().enumerate().take(positions) {
            let hash = KeyHash::of(&key.to_string());
            for (batch, filter) in &known.batches {
                if filter.may_contain(hash) {
                    groups.entry((*batch, hash.group(is_content(key)))).or_default().push(position);
                }
            }
        }
        let mut condemned: Vec<usize> = groups.values().flatten().copied().collect();
        condemned.sort_unstable();
        condemned.dedup();
        let mut doubtful = Vec::new();
        if !groups.is_empty() {
            doubtful = Box::pin(self.decide(groups)).await?;
        }
        // What was seen so long ago may have been deleted under a batch that is retired by now, its decisions too.
        if began.elapsed() > self.timing.belief {
            doubtful = (0..required).collect();
        }
        doubtful.retain(|position| *position < required);
        if doubtful.is_empty() {
            return Ok(condemned);
        }
        doubtful.sort_unstable();
        doubtful.dedup();
        let gone = Box::pin(self.gone(keys, doubtful)).await?;
        if gone.is_empty() { Ok(condemned) } else { Err(NotKept::Gone(gone)) }
    }

    /// Decides to keep groups of keys; returns the positions of those that were deleted instead.
    async fn decide(&self, groups: BTreeMap<(Uuid, GcGroup), Vec<usize>>) -> Result<Vec<usize>, NotKept> {
        if !self.store.keeps_conditions_of_writes().await {
            let cause = "the bucket keeps no conditions, and garbage is collected from it exclusively".to_owned();
            return Err(StoreError::Unavailable { operation: "PutObject", cause }.into());
        }
        let store = &self.store;
        let decide = |((batch, group), positions)| async move {
            Ok::<_, StoreError>((decision::keep(store, &batch, group).await?, positions))
        };
        let decided: Vec<(Decision, Vec<usize>)> = buffered(PARALLEL, groups, decide).try_collect().await?;
        let mut deleted = Vec::new();
        for (decision, positions) in decided {
            match decision {
                Decision::Keep => {}
                Decision::Delete(age) if age < self.timing.settle => {
                    return Err(NotKept::Deleting(self.timing.settle.saturating_sub(age) + Duration::from_secs(1)));
                }
                Decision::Delete(_) => deleted.extend(positions),
            }
        }
        Ok(deleted)
    }

    /// Those of the keys that are not there.
    async fn gone(&self, keys: &[Key<'_>], positions: Vec<usize>) -> Result<Vec<usize>, StoreError> {
        let leader = self.store.leader();
        let look = |position: usize| async move {
            let is_there = leader.exists(keys[position]).await?;
            Ok::<_, StoreError>((!is_there).then_some(position))
        };
        let looks: Vec<Option<usize>> = buffered(PARALLEL, positions, look).try_collect().await?;
        Ok(looks.into_iter().flatten().collect())
    }
}
