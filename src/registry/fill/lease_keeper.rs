//! The owner's side of a lease: it creates the lease, writes it again and again, and ends it.
//!
//! Every write is conditional on the last one of this process. If another process has written meanwhile, this one is
//! *robbed*: it writes and deletes nothing any more. A write whose answer was lost looks the same at first, so the
//! lease is read then: one of this process's own generation, in a state that it wrote, is its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::held_lease::{Held, Progress};
use super::lease::{Lease, LeaseState};
use super::lease_object::{LeaseObject, LeaseRead, LeaseVersion};
use super::wants;
use crate::config::FillTuning;
use crate::store::{Key, StoreError, Swapped};

/// How often a state that others wait for is written anew where the bucket does not answer.
const RETRY: Duration = Duration::from_secs(1);

/// For how many times the silence of a dead owner that goes on, by default a minute. After it the owner goes on
/// without: others see in the bucket what it did, or that it is silent.
const PATIENCE: u32 = 5;

/// How often a lease is tried to be acquired again where the bucket did not answer.
const ATTEMPTS: u32 = 2;

/// How often a write is tried whose condition the bucket says does not hold, although the lease is this process's: two
/// lost answers, and one more. Some buckets say so each time, of an `ETag` that a proxy made weak, for example.
const ROUNDS: u32 = 3;

/// A lease that this process owns, or owned until it was robbed.
#[derive(Debug)]
pub(super) struct LeaseKeeper {
    object: LeaseObject,
    generation: Uuid,
    held: Mutex<Held>,
    robbed: CancellationToken,
    /// No beat begins any more.
    silenced: CancellationToken,
    tuning: FillTuning,
}

/// Why a lease was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    /// Another process owns it now, or it is gone.
    #[error("another process fills the blob now, or the lease was deleted")]
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
                (LeaseRead::Changed(version, _), _)
                    if version.lease.as_ref().is_some_and(|found| is_mine(found, generation, lease.state)) =>
                {
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
        let (object, [robbed, silenced]) = (object.clone(), [(); 2].map(|()| CancellationToken::new()));
        Ok(Acquired::Mine(Arc::new(Self { object, generation, held, robbed, silenced, tuning })))
    }

    /// Ends the [beat](Self::beat) between two writes, so that it is known what the last one wrote.
    pub(super) async fn silence(&self) {
        self.silenced.cancel();
        drop(self.held.lock().await);
    }

    /// Takes the lease over from this process itself: `next` is to be written, with another generation as its last one.
    /// This keeper writes no more then.
    ///
    /// # Errors
    /// Another process owns the lease, or the bucket did not answer.
    pub(super) async fn succeed(&self, next: impl FnOnce(&Lease) -> Lease) -> Result<Arc<Self>, NotWritten> {
        let mut held = self.held.lock().await;
        let next = next(&held.lease);
        let generation = next.owner();
        self.write(&mut held, next).await?;
        let (object, [robbed, silenced]) = (self.object.clone(), [(); 2].map(|()| CancellationToken::new()));
        let held = Mutex::new(held.clone());
        Ok(Arc::new(Self { object, generation, held, robbed, silenced, tuning: self.tuning }))
    }

    /// The generation of this process.
    pub(super) const fn generation(&self) -> Uuid {
        self.generation
    }

    /// The lease as this process last wrote it.
    pub(super) async fn lease(&self) -> Lease {
        self.held.lock().await.lease.clone()
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
        loop {
            tokio::time::sleep(least).await;
            let mut held = self.held.lock().await;
            let has_ended = matches!(held.lease.state, LeaseState::Released | LeaseState::Done | LeaseState::Failed);
            if has_ended || self.robbed.is_cancelled() || self.silenced.is_cancelled() {
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
            if held.written.elapsed() >= pause {
                // The next beat does it otherwise.
                let _ = self.write(&mut held, next).await;
            }
        }
    }

    /// Writes a state that others wait for, as soon as the bucket takes it.
    ///
    /// # Errors
    /// Another process owns the lease, the bucket does not allow it, or took it in no attempt.
    pub(super) async fn write_state(&self, state: LeaseState, progress: Option<&Progress>) -> Result<(), NotWritten> {
        self.write_after(|_| true, state, progress).await
    }

    /// Says that another process may take over at once, unless the end is near.
    pub(super) async fn leave(&self) {
        let is_far = |state| matches!(state, LeaseState::Asking | LeaseState::Filling);
        // It is logged; others take over when the lease is released, or counts as dead.
        let _ = self.write_after(is_far, LeaseState::Leaving, None).await;
    }

    /// Takes [`leave`](Self::leave) back.
    pub(super) async fn stay(&self) {
        let has_left = |state| state == LeaseState::Leaving;
        let _ = self.write_after(has_left, LeaseState::Filling, None).await;
    }

    /// Writes a state as long as it may be written after the present one.
    async fn write_after(
        &self,
        may_follow: impl Fn(LeaseState) -> bool,
        state: LeaseState,
        progress: Option<&Progress>,
    ) -> Result<(), NotWritten> {
        let began = Instant::now();
        loop {
            let mut held = self.held.lock().await;
            if !may_follow(held.lease.state) {
                return Ok(());
            }
            let next = held.next(state, progress);
            let error = match self.write(&mut held, next).await {
                Err(NotWritten::Store(error)) => error,
                written => return written,
            };
            drop(held);
            if began.elapsed() >= PATIENCE * self.tuning.death || matches!(error, StoreError::Denied { .. }) {
                return Err(error.into());
            }
            tokio::time::sleep(RETRY.min(self.tuning.heartbeat)).await;
        }
    }

    /// Writes the size that the upstream announces, before the first chunk. If the bucket does not answer, the next
    /// beat does it.
    pub(super) async fn begin(&self, size: u64, chunk: u64) {
        let mut held = self.held.lock().await;
        (held.lease.size, held.lease.chunk) = (size, chunk);
        if held.lease.state == LeaseState::Asking {
            held.lease.state = LeaseState::Filling;
        }
        let next = held.next(held.lease.state, None);
        let _ = self.write(&mut held, next).await;
    }

    /// Writes the lease, and logs why it was not written.
    async fn write(&self, held: &mut Held, next: Lease) -> Result<(), NotWritten> {
        if self.robbed.is_cancelled() {
            return Err(NotWritten::Robbed);
        }
        let (written, digest) = (self.try_write(held, next).await, self.object.digest());
        match &written {
            Ok(()) => {}
            Err(NotWritten::Store(error)) => tracing::debug!(%digest, %error, "the lease of a fill was not written"),
            Err(error @ NotWritten::Robbed) => {
                tracing::info!(%digest, %error, "this process does not own the lease of a fill any more");
                self.robbed.cancel();
            }
        }
        written
    }

    async fn try_write(&self, held: &mut Held, mut next: Lease) -> Result<(), NotWritten> {
        let mut is_own = false;
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(self.tuning.heartbeat / 12).await;
            }
            match self.object.swap(&next, Some(&held.etag)).await? {
                Swapped::Written(etag) => {
                    held.put(next, etag);
                    return Ok(());
                }
                Swapped::Unmet => {}
                // It took such writes before, so this may be the answer of something in between.
                Swapped::Unsupported => return Err(unavailable("it refuses a condition that it kept before").into()),
            }
            let found = match self.object.read(None).await? {
                LeaseRead::Changed(version, _) => Some(*version),
                LeaseRead::Absent | LeaseRead::Unchanged(_) => None,
            };
            // One odd answer is no robbery: a lease that is not there, or cannot be read, is looked at again.
            let Some(LeaseVersion { lease: Some(lease), etag, .. }) = found else {
                is_own = false;
                continue;
            };
            let is_next = is_mine(&lease, next.owner(), next.state);
            is_own = is_next || is_mine(&lease, self.generation, next.state);
            if !is_own {
                break;
            }
            if is_next && lease.state == next.state && lease.write >= next.write {
                held.put(lease, etag);
                return Ok(());
            }
            // An earlier write, whose answer was lost. What this process has decided since holds.
            (held.lease.write, held.etag) = (lease.write, etag);
            next.write = lease.write + 1;
        }
        Err(if is_own {
            unavailable("it says that the ETag of the lease is another one").into()
        } else {
            NotWritten::Robbed
        })
    }

    /// Deletes the lease, of which no chunk was stored: the upstream does not send the blob to this process.
    pub(super) async fn give_up(&self) {
        let mut held = self.held.lock().await;
        if self.robbed.is_cancelled() {
            return;
        }
        if let Err(error) = self.delete_lease(&mut held).await {
            tracing::debug!(digest = %self.object.digest(), %error, "the lease of a fill was not deleted");
        }
    }

    /// Deletes the chunks of all generations of the lease, wishes, and then the lease. Only the process that wrote its
    /// last state may do so; what it does not delete, the sweep does.
    pub(super) async fn delete(&self) {
        let mut held = self.held.lock().await;
        let (digest, upstream) = (self.object.digest(), self.object.upstream());
        if self.robbed.is_cancelled() || !matches!(held.lease.state, LeaseState::Done | LeaseState::Failed) {
            return;
        }
        let delete = async {
            for generation in &held.lease.generations {
                self.object.store().delete_directory(Key::FillChunks(digest, upstream, generation)).await?;
            }
            wants::delete_all(&self.object).await?;
            self.delete_lease(&mut held).await
        };
        if let Err(error) = delete.await {
            tracing::warn!(%digest, %error, "the chunks of a fill that has ended were not deleted");
        }
    }

    /// Deletes the lease if it is still this process's.
    async fn delete_lease(&self, held: &mut Held) -> Result<(), StoreError> {
        if let LeaseRead::Changed(version, _) = self.object.delete(&held.etag).await?
            && version.lease.as_ref().is_some_and(|lease| is_mine(lease, self.generation, held.lease.state))
        {
            // The answer of the last write was lost.
            held.etag = version.etag;
            self.object.delete(&held.etag).await?;
        }
        Ok(())
    }
}

/// Whether a lease is this process's: of its generation, and not one that the sweep ended. `state` is the last one that
/// this process wrote, or tried to write.
fn is_mine(lease: &Lease, generation: Uuid, state: LeaseState) -> bool {
    lease.owner() == generation && (lease.state != LeaseState::Failed || state == LeaseState::Failed)
}

fn unavailable(cause: &str) -> StoreError {
    StoreError::Unavailable { operation: "PutObject", cause: cause.to_owned() }
}
