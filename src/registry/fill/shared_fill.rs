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

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::bucket_chunks::BucketChunks;
use super::chunks::{Layout, Stored, chunk_size};
use super::compose::Uncommitted;
use super::download::{self, Broken};
use super::filled_blob::{BlobState, FilledBlob, Place, Watermark};
use super::job::{Job, Leftovers, NotFilled};
use super::lease::{Lease, LeaseState, Verdict};
use super::lease_keeper::{Acquired, LeaseKeeper};
use super::lease_object::{LeaseObject, LeaseRead};
use super::lease_watch::LeaseWatch;
use super::running::{Fill, FillRefusal, Phase};
use super::takeover::{self, TakenOver};
use super::wants::{self, Wants};
use super::window::Window;
use super::writer::Start;
use crate::store::{Key, UpstreamId};
use crate::upstream::BlobResponse;

/// How many bytes at the beginning of a blob are stored by themselves: what a client gets while the first chunk comes.
const HEAD_BYTES: u64 = 1 << 20;
/// How long the last states of a lease are tried to be written: others learn the same from the blob, or when the lease
/// counts as dead.
const LAST_WORD: Duration = Duration::from_secs(10);
/// The longest random pause before a process takes over, in milliseconds, so that not all followers try at once.
const JITTER: u64 = 500;
/// The pause before a process looks again at a lease that was changed while it tried to take it.
const PAUSE: Duration = Duration::from_millis(100);

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
    pub(super) async fn begin(job: &'a Job, fill: &'a Arc<Fill>, phase: &'a watch::Sender<Phase>) -> Option<Self> {
        let fills = &job.fills;
        let least = fills.shared_size?;
        if fills.store.embedded().is_some() || fills.directory.is_used() {
            return None;
        }
        if !fills.store.keeps_conditions_of_writes().await {
            return None;
        }
        let (name, digest) = (&job.blob.name, job.blob.digest);
        let size = match job.announced {
            Some(size) => size,
            None => fills.links.upstream_size(name, &digest).await.ok()??,
        };
        if size < least.max(1) {
            return None;
        }
        let upstream = UpstreamId::of_url(job.blob.upstream.label());
        let object = LeaseObject::new(&fills.store, &fills.codec, digest, upstream);
        Some(Self { job, fill, phase, object, size, blob: None, is_member: false, has_lost: false })
    }

    /// Returns the size of the blob when the bucket has it, whichever process filled it.
    pub(super) async fn run(mut self, leftovers: &mut Leftovers) -> Result<u64, NotFilled> {
        let mut step = Step::Acquire;
        loop {
            step = match step {
                Step::Acquire => self.acquire().await,
                Step::Look => self.look().await,
                Step::Own(taken) => Box::pin(self.own(*taken, leftovers)).await,
                Step::Follow(watch) => {
                    let mut wants = Wants::new();
                    let step = self.follow(*watch, &mut wants).await;
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
            Ok(Acquired::Mine(keeper)) => Step::Own(Box::new(TakenOver::fresh(keeper, self.size, chunk, algorithm))),
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
                let watch = LeaseWatch::new(&self.object, (*version, date), self.job.fills.tuning);
                match watch.verdict() {
                    Verdict::Foreign if self.blob.is_none() => self.alone("the lease is under another http.secret"),
                    _ => Step::Follow(Box::new(watch)),
                }
            }
            // It was deleted since.
            Ok(_) if self.blob.is_some() => self.vanished().await,
            Ok(_) => {
                tokio::time::sleep(PAUSE).await;
                Step::Acquire
            }
            Err(error) if self.blob.is_some() => {
                let digest = self.object.digest();
                tracing::debug!(%digest, %error, "the lease of a fill cannot be read");
                tokio::time::sleep(PAUSE).await;
                Step::Look
            }
            Err(error) => self.alone(&error.to_string()),
        }
    }

    /// Fills the blob, as long as this process has the lease.
    async fn own(&mut self, taken: TakenOver, leftovers: &mut Leftovers) -> Step {
        let TakenOver { keeper, mut layout, is_adopted, chunks, hashed } = taken;
        let source: Arc<OnceLock<Arc<FilledBlob>>> = Arc::default();
        // Dropped, it ends.
        let mut beats = JoinSet::new();
        let (beating, of) = (Arc::clone(&keeper), Arc::clone(&source));
        beats.spawn(async move { beating.beat(|| of.get().map(|filled| filled.progress())).await });
        let mut begun = None;
        if !is_adopted {
            let (said, response) = match self.ask(&keeper, &mut beats).await {
                Ok(begun) => begun,
                Err(step) => return step,
            };
            (layout, begun) = (said, Some(response));
        }
        let Some((filled, watermark)) = self.blob(layout) else {
            return Step::Ended(Err(NotFilled::Failed("the blob has another size than was said".to_owned())));
        };
        // What this process wrote under another generation is not part of this one.
        drop(filled.writing.lock().await);
        filled.replace_chunks((chunks, Vec::new()), &watermark);
        filled.wish(Vec::new());
        filled.hashed(hashed.chunks, &hashed.hasher);
        let start = Start { generation: keeper.generation(), hashed: hashed.chunks, hasher: hashed.hasher };
        // Only this task sets it.
        let _ = source.set(Arc::clone(&filled));
        let filling = self.fill_blob(&keeper, (begun, start), &filled, &watermark);
        let result = tokio::select! {
            result = filling => result,
            () = self.accompany(&keeper, &filled) => Err(Broken::Other(String::new())),
            () = keeper.robbed() => Err(Broken::Other(String::new())),
        };
        beats.shutdown().await;
        match result {
            Err(_) if keeper.is_robbed() => self.robbed(&filled, &watermark).await,
            Err(broken) => self.broken(&keeper, &filled, broken, is_adopted).await,
            Ok(size) => {
                self.end(&keeper, LeaseState::Done, None).await;
                watermark.send_modify(|watermark| watermark.state = BlobState::Stored);
                filled.release();
                *leftovers = Leftovers::Lease(keeper);
                Step::Ended(Ok(size))
            }
        }
    }

    /// Asks the upstream for the first bytes, which also tells the size, and says it in the lease.
    async fn ask(&self, keeper: &LeaseKeeper, beats: &mut JoinSet<()>) -> Result<(Layout, BlobResponse), Step> {
        let response = tokio::select! {
            response = self.job.begin() => response,
            () = keeper.robbed() => return Err(Step::Look),
        };
        let step = match response {
            Ok(response) => match response.size.and_then(|size| Some((size, self.cut(size)?))) {
                Some((size, chunk)) => {
                    keeper.begin(size, chunk).await;
                    return Ok((Layout { size: Some(size), chunk }, response));
                }
                None => Step::Alone(Some(Box::new(response))),
            },
            Err(refusal) => Step::Ended(Err(NotFilled::Refused(refusal))),
        };
        // A follower asks its own upstream, with its own credentials.
        beats.shutdown().await;
        keeper.give_up().await;
        Err(step)
    }

    /// What the owner does beside filling, for ever: it stores the first bytes by themselves, listens to what followers
    /// wait for, and says when it shuts down.
    async fn accompany(&self, keeper: &LeaseKeeper, filled: &Arc<FilledBlob>) {
        let wishes = async {
            loop {
                tokio::time::sleep(self.job.fills.tuning.heartbeat).await;
                match wants::read(&self.object, filled).await {
                    Ok(positions) => filled.wish(positions),
                    Err(error) => tracing::debug!(digest = %self.object.digest(), %error, "wishes cannot be read"),
                }
            }
        };
        let leaving = async {
            self.job.fills.background.closing().await;
            keeper.leave().await;
        };
        let head = self.put_head(filled, keeper.generation());
        let ((), (), ()) = tokio::join!(wishes, leaving, head);
    }

    /// The fill broke off while this process had the lease.
    async fn broken(&mut self, keeper: &LeaseKeeper, filled: &FilledBlob, broken: Broken, is_adopted: bool) -> Step {
        let digest = *self.object.digest();
        match broken {
            Broken::Lost(chunk) if !self.has_lost => {
                self.has_lost = true;
                tracing::warn!(%digest, chunk, "a chunk is gone or exchanged: it is fetched again");
                return self.take_over_from_itself(keeper, chunk).await;
            }
            Broken::Mismatch(_) => {
                if is_adopted {
                    tracing::warn!(%digest, "chunks of several processes were not the blob: the upstream may be innocent");
                }
                self.end(keeper, LeaseState::Failed, None).await;
                keeper.delete().await;
            }
            // Another process, or the next request, goes on with the chunks.
            _ => self.end(keeper, LeaseState::Released, Some(filled)).await,
        }
        Step::Ended(Err(NotFilled::Failed(broken.to_string())))
    }

    /// Stores the beginning of the first chunk, as soon as it is there, so that followers' clients need not wait for the
    /// whole chunk.
    async fn put_head(&self, filled: &Arc<FilledBlob>, generation: Uuid) {
        let Some(chunks) = filled.chunks().filter(|_| filled.layout().chunk > HEAD_BYTES) else {
            return;
        };
        let is_there = matches!(filled.available(0, HEAD_BYTES).await, Ok((HEAD_BYTES, false)));
        if is_there
            && !chunks.is_stored(0)
            && let Err(error) = chunks.put_head(generation, HEAD_BYTES, filled.part(0, HEAD_BYTES)).await
        {
            tracing::debug!(digest = %self.object.digest(), %error, "the first bytes of a blob were not stored");
        }
    }

    /// Writes the last state of the lease.
    async fn end(&self, keeper: &LeaseKeeper, state: LeaseState, filled: Option<&FilledBlob>) {
        let progress = filled.map(FilledBlob::progress);
        let written = tokio::time::timeout(LAST_WORD, keeper.write_state(state, progress.as_ref())).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!(digest = %self.object.digest(), ?state, "the last state of a lease was not written");
        }
    }

    /// Downloads the blob, and stores it.
    async fn fill_blob(
        &self,
        keeper: &LeaseKeeper,
        (begun, start): (Option<BlobResponse>, Start),
        filled: &Arc<FilledBlob>,
        watermark: &watch::Sender<Watermark>,
    ) -> Result<u64, Broken> {
        let blob = (&*self.job.fills, &self.job.blob);
        let size = download::run(blob, begun, filled, watermark, start).await?;
        let progress = filled.progress();
        let verified = keeper.write_state(LeaseState::Verified, Some(&progress)).await;
        verified.map_err(|error| Broken::Other(error.to_string()))?;
        match self.job.store(self.fill, filled, Some(size)).await {
            Ok(()) => Ok(size),
            Err(Uncommitted::SourceChanged(number)) => Err(Broken::Lost(number)),
            Err(Uncommitted::Other(cause)) => Err(Broken::Other(cause)),
        }
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

    /// Another process took over.
    async fn robbed(&mut self, filled: &Arc<FilledBlob>, watermark: &watch::Sender<Watermark>) -> Step {
        drop(filled.writing.lock().await);
        // Its own chunks stay readable, but memory does not: no byte of it must be taken for another generation's.
        let stored = filled.chunks().map(BucketChunks::all).unwrap_or_default();
        filled.replace_chunks((stored.into_iter().collect(), Vec::new()), watermark);
        // What the digest was right of is not what others get from now on.
        watermark.send_modify(|watermark| watermark.state = BlobState::Coming);
        self.look().await
    }

    /// Begins a new generation without a chunk: one name has one content for ever.
    async fn take_over_from_itself(&mut self, keeper: &LeaseKeeper, lost: u64) -> Step {
        let version = keeper.version().await;
        let Some(chunk) = self.cut(self.size) else {
            return Step::Ended(Err(NotFilled::Refused(FillRefusal::TooLarge)));
        };
        let fresh = (self.size, chunk);
        match takeover::take_over(&self.object, &version, Some(lost), fresh, self.job.fills.tuning).await {
            Ok(Some(taken)) => Step::Own(Box::new(taken)),
            Ok(None) => self.look().await,
            Err(error) => Step::Ended(Err(NotFilled::Failed(error.to_string()))),
        }
    }

    /// Follows the process that fills, until the blob is stored, or this process fills itself.
    async fn follow(&mut self, mut watch: LeaseWatch, wants: &mut Wants) -> Step {
        let background = &self.job.fills.background;
        if !self.is_member {
            // A fill of another process does not make it this repository's blob.
            if let Err(error) = self.job.fills.links.ask_upstream(&self.job.blob.name, self.object.digest()).await {
                return Step::Ended(Err(NotFilled::Refused(FillRefusal::NotMember(error))));
            }
            self.is_member = true;
        }
        loop {
            let is_served = |state| !matches!(state, LeaseState::Asking | LeaseState::Failed);
            if let Some(lease) = watch.lease().filter(|lease| is_served(lease.state)).cloned() {
                if self.blob.is_none() && !self.has_size(lease.size).await {
                    return self.alone("the lease has another size than the blob");
                }
                if !self.feed(&lease) {
                    let cause = "another process found another size".to_owned();
                    return Step::Ended(Err(NotFilled::Failed(cause)));
                }
            }
            match watch.verdict() {
                Verdict::Done => match self.stored().await {
                    Some(size) => return Step::Ended(Ok(size)),
                    // It was deleted since.
                    None => return self.take_over(&watch).await,
                },
                Verdict::Free | Verdict::Dead if !background.is_closing() => {
                    let has_failed = watch.lease().is_some_and(|lease| lease.state == LeaseState::Failed);
                    if has_failed && self.blob.is_some() {
                        let cause = "the upstream sent other bytes than were asked for".to_owned();
                        return Step::Ended(Err(NotFilled::Failed(cause)));
                    }
                    // A process that lost the lease may have stored the right bytes.
                    if has_failed && let Some(size) = self.stored().await {
                        return Step::Ended(Ok(size));
                    }
                    return self.take_over(&watch).await;
                }
                _ => {}
            }
            if let Some((filled, _)) = &self.blob {
                wants.write(&self.object, filled).await;
            }
            let is_there = tokio::select! {
                is_there = watch.look() => is_there,
                () = background.stopped() => {
                    return Step::Ended(Err(NotFilled::Failed("this registry is shutting down".to_owned())));
                }
            };
            if !is_there {
                return self.vanished().await;
            }
        }
    }

    /// Whether this is the size of the blob: as a manifest says, or as the upstream does where that says another one.
    async fn has_size(&mut self, size: u64) -> bool {
        let (name, digest) = (&self.job.blob.name, self.object.digest());
        if size != self.size
            && let Ok(Some(said)) = self.job.fills.links.upstream_size(name, digest).await
        {
            self.size = said;
        }
        size == self.size
    }

    /// Tells the clients how far the process is that fills; `false` if it fills a blob of another size.
    fn feed(&mut self, lease: &Lease) -> bool {
        let Some((filled, watermark)) = self.blob(lease.layout()) else {
            return false;
        };
        let Some(table) = filled.chunks() else {
            return false;
        };
        let before: BTreeMap<u64, Stored> = table.all().into_iter().collect();
        // This process's own chunks stay, as long as no other one has the right to the number.
        let mut stored = before.clone();
        stored.retain(|_, stored| lease.generations.contains(&stored.generation));
        for (number, generation) in lease.chunks() {
            if stored.get(&number).is_none_or(|stored| stored.generation != generation) {
                stored.insert(number, Stored { generation, etag: None });
            }
        }
        let heads: Vec<_> = lease.heads.iter().map(|head| (head.clone(), lease.owner())).collect();
        if stored != before || heads != table.heads() {
            filled.replace_chunks((stored, heads), &watermark);
        }
        if matches!(lease.state, LeaseState::Verified | LeaseState::Done) && !filled.watermark().state.is_verified() {
            watermark.send_modify(|watermark| watermark.state = BlobState::Verified);
        }
        true
    }

    /// The size of the blob if the bucket has it, with which clients go on then.
    async fn stored(&mut self) -> Option<u64> {
        let fills = &self.job.fills;
        let found = fills.store.leader().head(Key::Blob(self.object.digest())).await;
        let size = found.ok()??.size;
        let chunk = self.cut(size).unwrap_or(size.max(1));
        let layout = self.blob.as_ref().map_or(Layout { size: Some(size), chunk }, |(filled, _)| filled.layout());
        let (filled, watermark) = self.blob(layout)?;
        watermark.send_modify(|watermark| *watermark = Watermark { written: size, state: BlobState::Stored });
        filled.release();
        fills.links.blob_filled(self.fill.names(), *self.object.digest(), size).await;
        Some(size)
    }

    /// The lease is gone.
    async fn vanished(&mut self) -> Step {
        if let Some((filled, watermark)) = &self.blob
            && !filled.watermark().state.is_verified()
        {
            // Which chunks had the right bytes is not known any more: clients that read some do not get the rest.
            filled.replace_chunks((BTreeMap::new(), Vec::new()), watermark);
        }
        match self.stored().await {
            Some(size) => Step::Ended(Ok(size)),
            None => Step::Acquire,
        }
    }

    /// Takes over from a process that is gone.
    async fn take_over(&mut self, watch: &LeaseWatch) -> Step {
        let jitter = u64::from_be_bytes(*Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[0; 8])) % JITTER;
        let tuning = self.job.fills.tuning;
        tokio::time::sleep(Duration::from_millis(jitter).min(tuning.death / 24)).await;
        let layout = self.blob.as_ref().map(|(filled, _)| filled.layout());
        let size = layout.and_then(|layout| layout.size).unwrap_or(self.size);
        let Some(chunk) = layout.map(|layout| layout.chunk).or_else(|| self.cut(size)) else {
            return Step::Ended(Err(NotFilled::Refused(FillRefusal::TooLarge)));
        };
        match takeover::take_over(&self.object, watch.version(), None, (size, chunk), tuning).await {
            Ok(Some(taken)) => Step::Own(Box::new(taken)),
            Ok(None) => self.look().await,
            Err(error) => {
                let digest = self.object.digest();
                tracing::debug!(%digest, %error, "a lease could not be taken over");
                tokio::time::sleep(PAUSE).await;
                self.look().await
            }
        }
    }
}
