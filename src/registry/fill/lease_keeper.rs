//! The owner's side of a lease: it creates the lease, writes it again and again, and ends it.
//!
//! Every write is conditional on the last one of this process. If another process has written meanwhile, this one is
//! *robbed*: it writes and deletes nothing any more. A write whose answer was lost looks the same at first, so the lease
//! is read then: one of this process's own generation, in a state that it wrote, is its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lease::{Hashed, Head, Lease, LeaseState};
use super::lease_object::{LeaseObject, LeaseRead, LeaseVersion};
use super::runs::{self, Run};
use crate::config::FillTuning;
use crate::store::{Key, StoreError, Swapped};

/// How often a state that others wait for is written anew where the bucket does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How often a lease is tried to be acquired again where the bucket did not answer.
const ATTEMPTS: u32 = 2;

/// A lease that this process owns, or owned until it was robbed.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    object: LeaseObject,
    generation: Uuid,
    held: Mutex<Held>,
    robbed: CancellationToken,
    tuning: FillTuning,
}

#[derive(Debug)]
struct Held {
    /// As this process last wrote it.
    lease: Lease,
    etag: String,
    written: Instant,
}

/// How far the owner is.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The chunks that are in the bucket, in order, each with its generation.
    pub(super) chunks: Vec<(u64, Uuid)>,
    /// Those of this process.
    pub(super) heads: Vec<Head>,
    pub(super) hashed: Hashed,
}

/// Why a lease was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    /// Another process owns it now.
    #[error("another process fills the blob now")]
    Robbed,
    /// The bucket did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The outcome of an attempt to own a lease.
#[derive(Debug)]
pub(super) enum Acquired {
    /// This process owns it.
    Mine(Arc<LeaseKeeper>),
    /// Another one was faster.
    Lost,
    /// The bucket has no conditional writes.
    Unsupported,
}

impl LeaseKeeper {
    /// Writes the first lease of this process: where there is none, or in the place of one that has this `ETag`.
    ///
    /// # Errors
    /// The bucket did not answer; the lease may be written, and then counts as dead after a while.
    pub(super) async fn acquire(
        object: &LeaseObject,
        lease: Lease,
        etag: Option<&str>,
        tuning: FillTuning,
    ) -> Result<Acquired, StoreError> {
        let generation = lease.owner();
        let mut attempts = 0..ATTEMPTS;
        let etag = loop {
            let failed = match object.swap(&lease, etag).await {
                Ok(Swapped::Written(etag)) => break etag,
                Ok(Swapped::Unsupported) => return Ok(Acquired::Unsupported),
                Ok(Swapped::Unmet) => None,
                Err(error @ StoreError::Denied { .. }) => return Err(error),
                Err(error) => Some(error),
            };
            // The answer may have been lost. The same generation is tried again: what did not land yet may still do so.
            match (object.read(None).await?, failed) {
                (LeaseRead::Changed(version, _), _) if is_mine(&version, generation, lease.state) => {
                    break version.etag;
                }
                (LeaseRead::Absent, Some(error)) if etag.is_none() => attempts.next().map(drop).ok_or(error)?,
                (LeaseRead::Changed(version, _), Some(error)) if etag == Some(&version.etag) => {
                    attempts.next().map(drop).ok_or(error)?;
                }
                _ => return Ok(Acquired::Lost),
            }
        };
        let held = Mutex::new(Held { lease, etag, written: Instant::now() });
        let (object, robbed) = (object.clone(), CancellationToken::new());
        Ok(Acquired::Mine(Arc::new(Self { object, generation, held, robbed, tuning })))
    }

    /// The generation of this process.
    pub(super) const fn generation(&self) -> Uuid {
        self.generation
    }

    /// Resolves when another process owns the lease.
    pub(super) async fn robbed(&self) {
        self.robbed.cancelled().await;
    }

    pub(super) fn is_robbed(&self) -> bool {
        self.robbed.is_cancelled()
    }

    /// Writes the lease as long as this process owns it: soon where it is further, and now and then where it is not, so
    /// that others see that this process lives. It is to run in a task of its own, because nothing may hold it up.
    pub(super) async fn beat(&self, progress: impl Fn() -> Option<Progress>) {
        // By default, a quarter of a second and a second.
        let (least, usual) = (self.tuning.heartbeat / 12, self.tuning.heartbeat / 3);
        while !self.robbed.is_cancelled() {
            tokio::time::sleep(least).await;
            let mut held = self.held.lock().await;
            if matches!(held.lease.state, LeaseState::Released | LeaseState::Done | LeaseState::Failed) {
                return;
            }
            let next = held.next(held.lease.state, progress().as_ref());
            let is_first = held.lease.stored.is_empty() && held.lease.heads.is_empty();
            let pause = match held.is_like(&next) {
                true => self.tuning.heartbeat,
                // Followers wait for the first bytes.
                false if is_first => least,
                false => usual,
            };
            if held.written.elapsed() >= pause
                && let Err(error) = self.write(&mut held, next).await
            {
                tracing::debug!(digest = %self.object.digest(), %error, "the lease of a fill was not written");
            }
        }
    }

    /// Writes a state that others wait for, as soon as the bucket takes it.
    ///
    /// # Errors
    /// Another process owns the lease.
    pub(super) async fn write_state(&self, state: LeaseState, progress: Option<&Progress>) -> Result<(), NotWritten> {
        loop {
            match self.try_state(state, progress).await {
                Err(NotWritten::Store(error)) => {
                    tracing::debug!(digest = %self.object.digest(), %error, ?state, "the lease of a fill was not written");
                }
                written => return written,
            }
            tokio::time::sleep(RETRY.min(self.tuning.heartbeat)).await;
        }
    }

    /// Writes a state once.
    ///
    /// # Errors
    /// Another process owns the lease, or the bucket did not answer.
    pub(super) async fn try_state(&self, state: LeaseState, progress: Option<&Progress>) -> Result<(), NotWritten> {
        let mut held = self.held.lock().await;
        let next = held.next(state, progress);
        self.write(&mut held, next).await
    }

    /// Writes the size that the upstream announces, before the first chunk. If the bucket does not answer, the next beat
    /// does it.
    pub(super) async fn begin(&self, size: u64, chunk: u64) {
        let mut held = self.held.lock().await;
        (held.lease.size, held.lease.chunk) = (size, chunk);
        if held.lease.state == LeaseState::Asking {
            held.lease.state = LeaseState::Filling;
        }
        let next = held.next(held.lease.state, None);
        if let Err(error) = self.write(&mut held, next).await {
            tracing::debug!(digest = %self.object.digest(), %error, "the lease of a fill was not written");
        }
    }

    /// The lease as this process last wrote it, to take it over from itself under another generation.
    pub(super) async fn version(&self) -> LeaseVersion {
        let held = self.held.lock().await;
        LeaseVersion::new(held.lease.clone(), held.etag.clone())
    }

    async fn write(&self, held: &mut Held, next: Lease) -> Result<(), NotWritten> {
        let mut next = next;
        loop {
            if self.robbed.is_cancelled() {
                return Err(NotWritten::Robbed);
            }
            let swapped = self.object.swap(&next, Some(&held.etag)).await;
            let state = next.state;
            match swapped {
                Ok(Swapped::Written(etag)) => {
                    held.put(next, etag);
                    return Ok(());
                }
                Ok(Swapped::Unmet) => {}
                Ok(Swapped::Unsupported) => return Err(self.rob()),
                Err(error) => return Err(error.into()),
            }
            match self.object.read(None).await? {
                LeaseRead::Changed(version, _) if is_mine(&version, self.generation, state) => {
                    let LeaseVersion { lease, etag, .. } = *version;
                    let lease = lease.unwrap_or_else(|| next.clone());
                    let has_landed = lease.write >= next.write && lease.state == state;
                    next.write = lease.write + 1;
                    held.put(lease, etag);
                    if has_landed {
                        return Ok(());
                    }
                }
                _ => return Err(self.rob()),
            }
        }
    }

    fn rob(&self) -> NotWritten {
        tracing::info!(digest = %self.object.digest(), "another process took over the fill of a blob");
        self.robbed.cancel();
        NotWritten::Robbed
    }

    /// Says that this process shuts down, so that another one may take over at once; unless the end is near.
    pub(super) async fn leave(&self) {
        let mut held = self.held.lock().await;
        if matches!(held.lease.state, LeaseState::Asking | LeaseState::Filling) {
            let next = held.next(LeaseState::Leaving, None);
            if let Err(error) = self.write(&mut held, next).await {
                tracing::debug!(digest = %self.object.digest(), %error, "the lease of a fill was not written");
            }
        }
    }

    /// Deletes the lease, of which no chunk was stored: the upstream does not send the blob to this process.
    pub(super) async fn give_up(&self) {
        let held = self.held.lock().await;
        if self.robbed.is_cancelled() {
            return;
        }
        if let Err(error) = self.object.delete(&held.etag).await {
            tracing::debug!(digest = %self.object.digest(), %error, "the lease of a fill was not deleted");
        }
    }

    /// Deletes the chunks of all generations of the lease, and then the lease. Only the process that wrote its last
    /// state may do so; what it does not delete, the sweep does.
    pub(super) async fn delete(&self) {
        let held = self.held.lock().await;
        let (digest, upstream) = (self.object.digest(), self.object.upstream());
        if self.robbed.is_cancelled() || !matches!(held.lease.state, LeaseState::Done | LeaseState::Failed) {
            return;
        }
        let delete = async {
            for generation in &held.lease.generations {
                self.object.store().delete_directory(Key::FillChunks(digest, upstream, generation)).await?;
            }
            self.object.delete(&held.etag).await
        };
        if let Err(error) = delete.await {
            tracing::warn!(%digest, %error, "the chunks of a blob that is stored were not deleted");
        }
    }
}

/// Whether a lease is this process's: of its generation, and not one that the sweep ended. `state` is the last one that
/// this process wrote, or tried to write.
fn is_mine(version: &LeaseVersion, generation: Uuid, state: LeaseState) -> bool {
    let is_ended = |lease: &Lease| lease.state == LeaseState::Failed && state != LeaseState::Failed;
    version.lease.as_ref().is_some_and(|lease| lease.owner() == generation && !is_ended(lease))
}

impl Held {
    /// The next lease.
    fn next(&self, state: LeaseState, progress: Option<&Progress>) -> Lease {
        debug_assert!(state.may_follow(self.lease.state), "{state:?} after {:?}", self.lease.state);
        let mut next = self.lease.clone();
        next.write += 1;
        next.state = state;
        if let Some(Progress { chunks, heads, hashed }) = progress {
            next.stored = runs::runs(chunks.iter().copied(), &next.generations);
            next.heads.clone_from(heads);
            next.hashed = hashed.clone();
        }
        next
    }

    /// Whether another lease says the same.
    fn is_like(&self, other: &Lease) -> bool {
        let of = |lease: &Lease| -> (LeaseState, Vec<Run>, Vec<Head>, u64) {
            (lease.state, lease.stored.clone(), lease.heads.clone(), lease.hashed.chunks)
        };
        of(&self.lease) == of(other)
    }

    fn put(&mut self, lease: Lease, etag: String) {
        *self = Self { lease, etag, written: Instant::now() };
    }
}
