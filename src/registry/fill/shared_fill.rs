//! One fill that the processes of a bucket share: one of them fills, the others follow.
//!
//! ```text
//!            ┌── the lease is free ──▶ own ──▶ stored
//! new ───────┤                         │ ▲
//!            └── another's ──▶ follow ◀┘ │ robbed; dead, left or released
//!                                └───────┘
//! ```
//!
//! A process has one [`FilledBlob`] through all of this, so its clients read on, whichever process fills.

mod follow;
mod heads;
mod own;
mod stall;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use uuid::Uuid;

use super::Fills;
use super::bucket_chunks::BucketChunks;
use super::chunks::{Layout, chunk_size};
use super::filled_blob::{BlobState, FilledBlob, Place, Watermark};
use super::job::{Job, Leftovers, NotFilled};
use super::lease::Lease;
use super::lease_keeper::{Acquired, LeaseKeeper};
use super::lease_object::{LeaseObject, LeaseRead, LeaseVersion};
use super::lease_watch::LeaseWatch;
use super::running::{Fill, FillRefusal, Phase, Role};
use super::takeover::TakenOver;
use super::wants::Wants;
use super::window::Window;
use crate::store::{Key, StoreError, UpstreamId};
use crate::upstream::BlobResponse;

/// The pause before a process looks again at a lease that was changed while it tried to take it.
const PAUSE: Duration = Duration::from_millis(100);
/// So many times as long as an owner may be silent, the bucket may: a minute by default.
const SILENCE: u32 = 5;
const SHUTTING_DOWN: &str = "this registry is shutting down";

/// One fill that the processes of a bucket share.
pub(super) struct SharedFill<'a> {
    job: &'a Job,
    fill: &'a Arc<Fill>,
    phase: &'a watch::Sender<Phase>,
    object: LeaseObject,
    /// What a manifest or the upstream says, until a lease says it. `None`: this process saw no manifest that names the
    /// blob.
    size: Option<u64>,
    /// The blob, once clients may read it.
    blob: Option<(Arc<FilledBlob>, watch::Sender<Watermark>)>,
    /// The upstream said that the blob is this repository's.
    is_member: bool,
    /// A chunk was lost before: the second time, the fill fails.
    has_lost: bool,
    /// This process let others take over because its upstream was slow. It does so once, so that two replicas with the
    /// same upstream do not do it in turn for ever.
    has_yielded: AtomicBool,
    /// Since when no owner wrote, and something failed.
    failing: Option<Instant>,
}

/// What comes next.
enum Step {
    /// The lease is to be created, or looked at.
    Acquire,
    /// The lease is to be looked at.
    Look,
    /// With the upstream's response, if it was asked before there was a lease.
    Own(Box<TakenOver>, Option<Box<BlobResponse>>),
    Follow(Box<LeaseWatch>),
    /// The blob cannot be shared.
    Alone(Option<Box<BlobResponse>>),
    Ended(Result<u64, NotFilled>),
}

impl<'a> SharedFill<'a> {
    /// `None`: this blob is not shared, because of its size, a setting, or what the bucket denies.
    pub(super) fn new(job: &'a Job, fill: &'a Arc<Fill>, phase: &'a watch::Sender<Phase>) -> Option<Self> {
        let fills = &job.fills;
        let least = fills.shared_size?;
        let is_denied = fills.chunk_queue.denied().is_some();
        let is_private = fills.store.embedded().is_some() || fills.directory.is_used() || is_denied;
        let size = job.announced;
        if is_private || size.is_some_and(|size| size < least.max(1)) {
            return None;
        }
        let upstream = UpstreamId::of_url(job.blob.upstream.label());
        let object = LeaseObject::new(&fills.store, &fills.codec, job.blob.digest, upstream);
        let (blob, is_member, has_lost, failing) = (None, false, false, None);
        let has_yielded = AtomicBool::new(false);
        Some(Self { job, fill, phase, object, size, blob, is_member, has_lost, has_yielded, failing })
    }

    /// Returns the size of the blob when the bucket has it, whichever process filled it.
    pub(super) async fn run(mut self, leftovers: &mut Leftovers) -> Result<u64, NotFilled> {
        let background = Arc::clone(&self.job.fills.background);
        let ended = || Step::Ended(Err(NotFilled::Failed(SHUTTING_DOWN.to_owned())));
        let mut step = Step::Acquire;
        loop {
            step = match step {
                Step::Acquire | Step::Look => {
                    let is_new = matches!(step, Step::Acquire);
                    let looking = async { if is_new { self.acquire().await } else { self.look().await } };
                    tokio::select! {
                        step = looking => step,
                        () = background.stopped() => ended(),
                    }
                }
                Step::Own(taken, begun) => {
                    self.fill.set_role(Role::Owner);
                    Box::pin(self.own(*taken, begun, leftovers)).await
                }
                Step::Follow(watch) => {
                    self.fill.set_role(Role::Follower);
                    let mut wants = Wants::new();
                    let step = tokio::select! {
                        step = self.follow(*watch, &mut wants) => step,
                        () = background.stopped() => ended(),
                    };
                    wants.end(&self.object).await;
                    step
                }
                Step::Alone(begun) => {
                    self.fill.set_role(Role::Alone);
                    let begun = begun.map(|begun| *begun);
                    return self.job.fill_alone(self.fill, self.phase, begun, leftovers).await;
                }
                Step::Ended(result) => {
                    if result.is_err()
                        && let Some((blob, watermark)) = &self.blob
                    {
                        watermark.send_modify(|watermark| watermark.state = BlobState::Failed);
                        blob.close();
                    }
                    return result;
                }
            };
        }
    }

    fn cut(&self, size: u64) -> Option<u64> {
        let fills = &self.job.fills;
        fills.tuning.chunk.or_else(|| chunk_size(size, fills.memory.most()))
    }

    /// Creates the lease, or finds out what may be done with the one that there is.
    async fn acquire(&mut self) -> Step {
        let keeps_conditions = self.job.fills.store.known_conditions_of_writes();
        if keeps_conditions == Some(false) && self.blob.is_none() {
            return Step::Alone(None);
        }
        let (size, begun) = match self.size.filter(|_| keeps_conditions.is_some()) {
            Some(size) => (size, None),
            // A lease says the size, and that the bucket keeps conditions.
            None => match self.object.read(None).await {
                Ok(LeaseRead::Changed(version, date)) => return self.watch(*version, date),
                Ok(_) => match self.open().await {
                    Ok((size, begun)) => (size, Some(begun)),
                    Err(step) => return step,
                },
                Err(error) if self.blob.is_some() => return self.failed(&error).await,
                Err(error) => return self.alone_after(&error, None),
            },
        };
        let Some(chunk) = self.cut(size) else {
            return Step::Ended(Err(NotFilled::Refused(FillRefusal::TooLarge)));
        };
        let algorithm = self.object.digest().algorithm();
        let lease = Lease::asking(Uuid::new_v4(), size, chunk, algorithm);
        let tuning = self.job.fills.tuning;
        match LeaseKeeper::acquire(&self.object, lease, None, tuning).await {
            Ok(Acquired::Mine(keeper)) => {
                self.failing = None;
                Step::Own(Box::new(TakenOver::fresh(keeper, size, chunk, algorithm)), begun)
            }
            // What was opened is dropped: few bytes of it came.
            Ok(Acquired::Lost) => self.look().await,
            Ok(Acquired::Unsupported) => self.alone("the bucket has no conditional writes", begun),
            Err(error) => self.alone_after(&error, begun),
        }
    }

    /// Asks the upstream for the blob, whose headers tell its size, while there is no lease. It takes as long as an
    /// unshared fill does: if it is not known by then whether the bucket keeps conditions, this fill becomes one.
    async fn open(&mut self) -> Result<(u64, Box<BlobResponse>), Step> {
        let Fills { store, background, .. } = &*self.job.fills;
        if store.known_conditions_of_writes().is_none() {
            let store = store.clone();
            // In a task of its own, which other fills wait for as well. Its requests end within seconds.
            background.spawn(async move {
                store.keeps_conditions().await;
            });
        }
        let begun = self.job.begin().await;
        let begun = begun.map_err(|refusal| Step::Ended(Err(NotFilled::Refused(refusal))))?;
        let begun = Box::new(begun);
        self.is_member = true;
        match (self.shared(begun.size), store.known_conditions_of_writes()) {
            (Some((size, _)), Some(true)) => {
                self.size = Some(size);
                Ok((size, begun))
            }
            (Some(_), None) => {
                Err(self.alone("it is not known yet whether the bucket keeps conditions of writes", Some(begun)))
            }
            (Some(_), Some(false)) => Err(self.alone("the bucket does not keep conditions of writes", Some(begun))),
            (None, _) if self.blob.is_none() => Err(Step::Alone(Some(begun))),
            (None, _) => Err(self.alone("the upstream does not say the blob's size", None)),
        }
    }

    /// A size that the upstream says, and how a blob of it is cut; `None` for one that is not shared. An empty one,
    /// which a manifest may give any size, has no chunk.
    fn shared(&self, size: Option<u64>) -> Option<(u64, u64)> {
        let least = self.job.fills.shared_size.unwrap_or_default().max(1);
        let size = size.filter(|size| *size >= least)?;
        Some((size, self.cut(size)?))
    }

    /// [`alone`](Self::alone), because the bucket did not read or write the lease.
    fn alone_after(&self, error: &StoreError, begun: Option<Box<BlobResponse>>) -> Step {
        let cause = error.to_string();
        if matches!(error, StoreError::Denied { .. }) {
            // Logged once.
            self.job.fills.chunk_queue.deny(&cause);
            if self.blob.is_none() {
                return Step::Alone(begun);
            }
        }
        self.alone(&cause, begun)
    }

    /// Fills for this process alone, if no client reads yet.
    fn alone(&self, cause: &str, begun: Option<Box<BlobResponse>>) -> Step {
        let digest = self.object.digest();
        tracing::warn!(%digest, cause, "a fill is not shared with other replicas");
        match self.blob {
            None => Step::Alone(begun),
            Some(_) => Step::Ended(Err(NotFilled::Failed(cause.to_owned()))),
        }
    }

    /// Looks at the lease that there is.
    async fn look(&mut self) -> Step {
        match self.object.read(None).await {
            Ok(LeaseRead::Changed(version, date)) => self.watch(*version, date),
            Ok(_) if self.is_hopeless() => {
                Step::Ended(Err(NotFilled::Failed("the lease is neither there nor absent".to_owned())))
            }
            // It was deleted since.
            Ok(_) => self.vanished().await,
            Err(error) if self.blob.is_some() => self.failed(&error).await,
            Err(error) => self.alone_after(&error, None),
        }
    }

    fn watch(&self, version: LeaseVersion, date: Option<SystemTime>) -> Step {
        Step::Follow(Box::new(LeaseWatch::new(&self.object, (version, date), self.job.fills.tuning)))
    }

    /// The bucket did not answer: goes on in the blob if another process stored it, or looks at the lease again, but
    /// not for ever, because clients wait.
    async fn failed(&mut self, error: &StoreError) -> Step {
        let digest = self.object.digest();
        tracing::debug!(%digest, %error, "the lease of a fill cannot be read or written");
        if let Ok(Some(size)) = self.stored_size().await {
            return self.stored(size).await;
        }
        if self.is_hopeless() {
            return Step::Ended(Err(NotFilled::Failed(error.to_string())));
        }
        tokio::time::sleep(self.job.fills.tuning.heartbeat / 3).await;
        Step::Look
    }

    /// Notes that something failed; whether nothing went well for too long.
    fn is_hopeless(&mut self) -> bool {
        let since = *self.failing.get_or_insert_with(Instant::now);
        since.elapsed() >= self.job.fills.tuning.death * SILENCE
    }

    /// The blob that clients read, with this layout; `None` if they read one with another.
    fn blob(&mut self, layout: Layout) -> Option<(Arc<FilledBlob>, watch::Sender<Watermark>)> {
        if let Some((filled, watermark)) = &self.blob {
            return (filled.layout() == layout).then(|| (Arc::clone(filled), watermark.clone()));
        }
        let fills = &self.job.fills;
        self.size = layout.size;
        let digest = *self.object.digest();
        let place = Place::Memory(Box::new(Window::new(&fills.memory, digest, layout)));
        let chunks = BucketChunks::new(&fills.store, digest, self.object.upstream(), layout);
        let (filled, watermark) = FilledBlob::new((&fills.store, digest), layout.size, layout, place, Some(chunks));
        self.phase.send_replace(Phase::Filling(Arc::clone(&filled)));
        self.blob = Some((Arc::clone(&filled), watermark.clone()));
        Some((filled, watermark))
    }

    /// Makes sure that the blob is this repository's: that another process fills it does not make it so.
    async fn join(&mut self) -> Result<(), Step> {
        if !self.is_member {
            let asked = self.job.fills.links.ask_upstream(&self.job.blob.name, self.object.digest()).await;
            asked.map_err(|error| Step::Ended(Err(NotFilled::Refused(FillRefusal::NotMember(error)))))?;
            self.is_member = true;
        }
        Ok(())
    }

    /// The size of the blob if the bucket has it.
    async fn stored_size(&self) -> Result<Option<u64>, StoreError> {
        let found = self.job.fills.store.leader().head(Key::Blob(self.object.digest())).await?;
        Ok(found.map(|found| found.size))
    }

    /// The bucket has the blob, with which clients go on.
    async fn stored(&mut self, size: u64) -> Step {
        if let Err(refused) = self.join().await {
            return refused;
        }
        let fills = &self.job.fills;
        let chunk = self.cut(size).unwrap_or(size.max(1));
        let layout = self.blob.as_ref().map_or(Layout { size: Some(size), chunk }, |(filled, _)| filled.layout());
        let Some((filled, watermark)) = self.blob(layout).filter(|_| layout.size == Some(size)) else {
            return Step::Ended(Err(NotFilled::Failed("the stored blob has another size".to_owned())));
        };
        watermark.send_modify(|watermark| *watermark = Watermark { written: size, state: BlobState::Stored });
        filled.release();
        let began = fills.links.begin();
        let linked = BTreeSet::new();
        fills.links.blob_filled(&linked, self.fill.names(), (*self.object.digest(), size), began).await;
        Step::Ended(Ok(size))
    }
}
