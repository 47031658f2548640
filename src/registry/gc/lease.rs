//! The state of garbage collection in the bucket, as the process that collects writes it: it is that process's lease,
//! too.
//!
//! What a collector may delete does not depend on the lease alone, because a process can be paused between two
//! instructions. Every DELETE is signed for a minute from the `Date` of a renewal on ([`sweep`](super::sweep)); and a
//! batch binds writers for two hours after that ([`batches`](super::batches)), whichever process retires it. So a
//! collector that lost its lease in between deletes nothing that a write relies on. The wait before a takeover only
//! keeps two processes from doing the same work.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use uuid::Uuid;

use super::guards;
use super::requests::{Pace, RequestKind, Requests};
use crate::config::GcTiming;
use crate::registry::condemned::GcState;
use crate::store::{Condition, Key, Polled, Store, StoreError, Swapped};

/// How often a write of the state is tried whose answer was lost.
const ATTEMPTS: usize = 3;

/// How far apart the bucket's `Date` and `Last-Modified` of the same second may be: the first comes perhaps from a proxy
/// before it.
const APART: Duration = Duration::from_secs(15);

/// How a collector works.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct CollectorOptions {
    pub(in crate::registry) timing: GcTiming,
    /// From the publication of a batch to the survey that decides about it: `storage.maintenance.gc.delay`.
    pub(in crate::registry) delay: Duration,
    /// The most requests a second.
    pub(in crate::registry) rate: u32,
    /// The operator says that nothing else writes to the bucket: then it need not keep conditions.
    pub(in crate::registry) is_exclusive: bool,
}

/// The outcome of [`Collector::acquire`].
#[derive(Debug)]
pub(in crate::registry) enum Acquired {
    Held(Collector),
    /// Another process collects. It renewed its lease so long ago.
    Busy(Duration),
    /// The bucket cannot be collected from; why, as a sentence.
    Refused(String),
}

/// Why a collector cannot go on.
#[derive(Debug, thiserror::Error)]
pub(in crate::registry) enum CollectorError {
    /// Another process took the lease.
    #[error("another process collects garbage now")]
    Lost,
    /// The bucket failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The survey's result cannot be read.
    #[error("the candidates cannot be read: {0}")]
    Candidates(#[from] std::io::Error),
    /// The state is none, or the bucket lacks what it takes.
    #[error("{0}")]
    State(String),
}

/// The process that collects. Its lease is renewed as long as this lives.
#[derive(Debug)]
pub(in crate::registry) struct Collector {
    pub(super) lease: Arc<Lease>,
    beat: AbortHandle,
}

/// The lease, which the collector and its heartbeat share.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) store: Store,
    pub(super) options: CollectorOptions,
    pub(super) pace: Pace,
    /// Only this one writes states with it.
    holder: Uuid,
    /// The bucket keeps conditions.
    is_strict: bool,
    held: Mutex<Held>,
}

/// The state as this process wrote it last.
#[derive(Clone, Debug)]
struct Held {
    state: GcState,
    etag: String,
    /// The bucket's clock after that.
    date: SystemTime,
    is_lost: bool,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.beat.abort();
    }
}

impl Collector {
    /// Takes the lease, if no other process has it.
    ///
    /// # Errors
    /// The bucket does not answer, or what is there is no state.
    pub(in crate::registry) async fn acquire(
        store: &Store,
        options: CollectorOptions,
    ) -> Result<Acquired, CollectorError> {
        let pace = Pace::new(options.rate);
        pace.count(RequestKind::Get);
        let (mut state, etag) = match store.poll(Key::GcState, None).await? {
            Polled::Absent | Polled::Unchanged { .. } => (GcState::new(), None),
            Polled::TooLarge(_) => {
                return Err(CollectorError::State("docker/registry/v2/_gc/state is too large".to_owned()));
            }
            Polled::Read(version, bytes) => {
                let state = GcState::decode(&bytes).map_err(|cause| {
                    CollectorError::State(format!("docker/registry/v2/_gc/state cannot be read: {cause}"))
                })?;
                let age = version.date.zip(version.modified);
                let age = age.and_then(|(date, modified)| date.duration_since(modified).ok()).unwrap_or_default();
                if state.holder.is_some() && age < options.timing.takeover {
                    return Ok(Acquired::Busy(age));
                }
                (state, Some(version.etag))
            }
        };
        let lack = guards::lack_of_conditions(store, &pace).await?;
        let is_strict = lack.is_none();
        if !options.is_exclusive {
            let lack = match lack {
                Some(lack) => Some(lack),
                None => guards::lack_of_expiry(store, &pace).await?,
            };
            if let Some(lack) = lack {
                return Ok(Acquired::Refused(format!(
                    "{lack}, so a push at the same time could lose content: collect garbage only while nothing else \
                     writes to the bucket, with --exclusive"
                )));
            }
        }
        let holder = Uuid::new_v4();
        state.holder = Some(holder);
        state.write += 1;
        let condition = match &etag {
            _ if !is_strict => Condition::Always,
            None => Condition::IfAbsent,
            Some(etag) => Condition::IfUnchanged(etag),
        };
        pace.count(RequestKind::Put);
        let (etag, date) = match store.swap_dated(Key::GcState, state.encode(), condition).await? {
            (Swapped::Written(etag), Some(date)) => (etag, date),
            (Swapped::Written(_), None) => return Err(tells_no_time()),
            (Swapped::Unmet | Swapped::Unsupported, _) => return Ok(Acquired::Busy(Duration::ZERO)),
        };
        let held = Mutex::new(Held { state, etag, date, is_lost: false });
        let lease = Arc::new(Lease { store: store.clone(), options, pace, holder, is_strict, held });
        // Writers tell by the two how old a decision is.
        lease.pace.count(RequestKind::Get);
        let apart = match store.poll(Key::GcState, None).await? {
            Polled::Read(version, _) => version
                .date
                .zip(version.modified)
                .map(|(date, modified)| date.duration_since(modified).unwrap_or_else(|error| error.duration())),
            _ => None,
        };
        if apart.is_none_or(|apart| apart > APART) {
            lease.write(|state| state.holder = None).await?;
            return Ok(Acquired::Refused(
                "the Date of the bucket's responses is not the time by which it dates objects: is there a proxy before it \
                 with another clock?"
                    .to_owned(),
            ));
        }
        let beats = Arc::clone(&lease);
        let beat = tokio::spawn(async move {
            loop {
                tokio::time::sleep(beats.options.timing.heartbeat).await;
                match beats.renew().await {
                    Ok(_) => {}
                    Err(CollectorError::Lost) => return,
                    Err(error) => tracing::debug!(%error, "the lease of garbage collection was not renewed"),
                }
            }
        });
        Ok(Acquired::Held(Self { lease, beat: beat.abort_handle() }))
    }

    /// The bucket's clock at the last renewal.
    pub(in crate::registry) async fn now(&self) -> SystemTime {
        self.lease.held.lock().await.date
    }

    /// The requests until now.
    pub(in crate::registry) fn requests(&self) -> Requests {
        self.lease.pace.requests()
    }

    /// Lets another process collect at once.
    ///
    /// # Errors
    /// The lease was lost already, or the bucket does not answer: then another process may take it after a while.
    pub(in crate::registry) async fn release(self) -> Result<(), CollectorError> {
        self.beat.abort();
        self.lease.write(|state| state.holder = None).await.map(drop)
    }
}

impl Lease {
    /// The state as this process wrote it last.
    pub(super) async fn state(&self) -> GcState {
        self.held.lock().await.state.clone()
    }

    /// Says that this process still collects; returns the bucket's clock.
    pub(super) async fn renew(&self) -> Result<SystemTime, CollectorError> {
        self.write(|_| {}).await
    }

    /// [`IfAbsent`](Condition::IfAbsent), if the bucket keeps that.
    pub(super) const fn if_absent(&self) -> Condition<'static> {
        if self.is_strict { Condition::IfAbsent } else { Condition::Always }
    }

    /// Changes the state, if this process still has the lease; returns the bucket's clock.
    pub(super) async fn write(&self, change: impl Fn(&mut GcState)) -> Result<SystemTime, CollectorError> {
        let mut held = self.held.lock().await;
        for _ in 0..ATTEMPTS {
            if held.is_lost {
                return Err(CollectorError::Lost);
            }
            let mut state = held.state.clone();
            // They are in the bucket since then at the latest.
            for batch in &mut state.batches {
                batch.published.get_or_insert(seconds(held.date));
            }
            change(&mut state);
            state.write += 1;
            let condition = if self.is_strict { Condition::IfUnchanged(&held.etag) } else { Condition::Always };
            self.pace.count(RequestKind::Put);
            match self.store.swap_dated(Key::GcState, state.encode(), condition).await? {
                (Swapped::Written(etag), Some(date)) => {
                    *held = Held { state, etag, date, is_lost: false };
                    return Ok(date);
                }
                (Swapped::Written(_), None) => return Err(tells_no_time()),
                (Swapped::Unsupported, _) => {
                    let cause = "the bucket refused a condition that it kept before";
                    return Err(CollectorError::State(cause.to_owned()));
                }
                (Swapped::Unmet, _) => {}
            }
            // Another process has the lease, or this one wrote it by an attempt whose answer was lost.
            self.pace.count(RequestKind::Get);
            let found = match self.store.poll(Key::GcState, None).await? {
                Polled::Read(version, bytes) => GcState::decode(&bytes).ok().map(|found| (version, found)),
                _ => None,
            };
            let Some((version, found)) = found.filter(|(_, found)| found.holder == Some(self.holder)) else {
                let is_released = held.state.holder.is_some() && state.holder.is_none();
                held.is_lost = true;
                return if is_released { Ok(held.date) } else { Err(CollectorError::Lost) };
            };
            let date = version.date.ok_or_else(tells_no_time)?;
            let is_written = found == state;
            *held = Held { state: found, etag: version.etag, date, is_lost: false };
            if is_written {
                return Ok(date);
            }
        }
        Err(StoreError::Unavailable { operation: "PutObject", cause: "the state changes all the time".into() }.into())
    }
}

/// In seconds since 1970, not earlier: what the bucket tells is cut to seconds.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() + 1
}

fn tells_no_time() -> CollectorError {
    CollectorError::State("the bucket's responses have no Date, by which garbage collection goes".to_owned())
}
