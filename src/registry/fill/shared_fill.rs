//! One fill that the processes of a bucket share: one of them fills, the others follow.
//!
//! ```text
//!            ┌── the lease is free ──▶ own ──▶ stored
//! begin ─────┤                         │ ▲
//!            └── another's ──▶ follow ◀┘ │ robbed; dead, left or released
//!                                └───────┘
//! ```
//!
//! A process has one [`FilledBlob`] through all of this, so its clients read on, whichever process fills.

mod follow;
mod heads;
mod own;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use uuid::Uuid;

use super::bucket_chunks::BucketChunks;
use super::chunks::{Layout, chunk_size};
use super::filled_blob::{BlobState, FilledBlob, Place, Watermark};
use super::job::{Job, Leftovers, NotFilled};
use super::lease::Lease;
use super::lease_keeper::{Acquired, LeaseKeeper};
use super::lease_object::{LeaseObject, LeaseRead};
use super::lease_watch::LeaseWatch;
use super::running::{Fill, FillRefusal, Phase};
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
    /// What a manifest or the upstream says, until the upstream's headers or a lease say it.
    size: u64,
    /// The blob, once clients may read it.
    blob: Option<(Arc<FilledBlob>, watch::Sender<Watermark>)>,
    /// The upstream said that the blob is this repository's.
    is_member: bool,
    /// A chunk was lost before: the second time, the fill fails.
    has_lost: bool,
    /// Since when no owner wrote, and something failed.
    failing: Option<Instant>,
}

/// What comes next.
enum Step {
    /// The lease is to be created, or looked at.
    Acquire,
    /// The lease is to be looked at.
    Look,
    Own(Box<TakenOver>),
    Follow(Box<LeaseWatch>),
    /// The blob cannot be shared.
    Alone(Option<Box<BlobResponse>>),
    Ended(Result<u64, NotFilled>),
}

impl<'a> SharedFill<'a> {
    /// `None`: this blob is not shared, because of its size, a setting or the bucket.
    ///
    /// # Errors
    /// No manifest says the size, and the upstream does not send the blob.
    pub(super) async fn begin(
        job: &'a Job,
        fill: &'a Arc<Fill>,
        phase: &'a watch::Sender<Phase>,
    ) -> Result<Option<Self>, FillRefusal> {
        let fills = &job.fills;
        let Some(least) = fills.shared_size else {
            return Ok(None);
        };
        let is_private = fills.store.embedded().is_some() || fills.directory.is_used();
        if is_private || !fills.store.keeps_conditions_of_writes().await {
            return Ok(None);
        }
        let digest = job.blob.digest;
        let size = match job.announced {
            Some(size) => size,
            None => match job.blob.upstream.head_blob(&job.blob.name, &digest).await {
                Ok(Some(size)) => size,
                Err(error) if !error.is_outage() => return Err(FillRefusal::Upstream(error)),
                // A GET may tell more.
                Ok(None) | Err(_) => return Ok(None),
            },
        };
        if size < least.max(1) {
            return Ok(None);
        }
        let upstream = UpstreamId::of_url(job.blob.upstream.label());
        let object = LeaseObject::new(&fills.store, &fills.codec, digest, upstream);
        let (blob, is_member, has_lost, failing) = (None, false, false, None);
        Ok(Some(Self { job, fill, phase, object, size, blob, is_member, has_lost, failing }))
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
                Step::Own(taken) => Box::pin(self.own(*taken, leftovers)).await,
                Step::Follow(watch) => {
                    let mut wants = Wants::new();
                    let step = tokio::select! {
                        step = self.follow(*watch, &mut wants) => step,
                        () = background.stopped() => ended(),
                    };
                    wants.end(&self.object).await;
                    step
                }
                Step::Alone(begun) => {
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
        let Some(chunk) = self.cut(self.size) else {
            return Step::Ended(Err(NotFilled::Refused(FillRefusal::TooLarge)));
        };
        let algorithm = self.object.digest().algorithm();
        let lease = Lease::asking(Uuid::new_v4(), self.size, chunk, algorithm);
        let tuning = self.job.fills.tuning;
        match LeaseKeeper::acquire(&self.object, lease, None, tuning).await {
            Ok(Acquired::Mine(keeper)) => {
                self.failing = None;
                Step::Own(Box::new(TakenOver::fresh(keeper, self.size, chunk, algorithm)))
            }
            Ok(Acquired::Lost) => self.look().await,
            Ok(Acquired::Unsupported) => self.alone("the bucket has no conditional writes"),
            Err(error) => self.alone(&error.to_string()),
        }
    }

    /// Fills for this process alone, if no client reads yet.
    fn alone(&self, cause: &str) -> Step {
        let digest = self.object.digest();
        tracing::warn!(%digest, cause, "a fill is not shared with other replicas");
        match self.blob {
            None => Step::Alone(None),
            Some(_) => Step::Ended(Err(NotFilled::Failed(cause.to_owned()))),
        }
    }

    /// Looks at the lease that there is.
    async fn look(&mut self) -> Step {
        match self.object.read(None).await {
            Ok(LeaseRead::Changed(version, date)) => {
                Step::Follow(Box::new(LeaseWatch::new(&self.object, (*version, date), self.job.fills.tuning)))
            }
            Ok(_) if self.is_hopeless() => {
                Step::Ended(Err(NotFilled::Failed("the lease is neither there nor absent".to_owned())))
            }
            // It was deleted since.
            Ok(_) => self.vanished().await,
            Err(error) if self.blob.is_some() => self.failed(&error).await,
            Err(error) => self.alone(&error.to_string()),
        }
    }

    /// The bucket did not answer: goes on in the blob if another process stored it, or looks at the lease again, but not
    /// for ever, because clients wait.
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
        fills.links.blob_filled(self.fill.names(), *self.object.digest(), size).await;
        Step::Ended(Ok(size))
    }
}
