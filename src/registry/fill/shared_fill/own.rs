//! Filling a shared blob, as long as this process has the lease.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;

use super::stall::Stall;
use super::{SHUTTING_DOWN, SharedFill, Step};
use crate::registry::fill::bucket_chunks::BucketChunks;
use crate::registry::fill::chunks::Layout;
use crate::registry::fill::compose::Uncommitted;
use crate::registry::fill::download::{self, Broken};
use crate::registry::fill::filled_blob::{BlobState, FilledBlob, Watermark};
use crate::registry::fill::hashing::Start;
use crate::registry::fill::job::{Leftovers, NotFilled};
use crate::registry::fill::lease::LeaseState;
use crate::registry::fill::lease_keeper::{LeaseKeeper, NotWritten};
use crate::registry::fill::running::FillRefusal;
use crate::registry::fill::takeover::{self, Beats, TakenOver};
use crate::registry::fill::wants::Wishes;
use crate::upstream::BlobResponse;

/// So many heartbeats may chunks that have been begun take before another process may take over from one that shuts
/// down: nine seconds by default.
const SETTLE: u32 = 3;
/// How many owners there may have been before one lets others take over because its upstream is slow: a lease forgets
/// its chunks after twice as many.
const MAX_OWNERS: usize = 8;
/// How long the last states of a lease are tried to be written: others learn the same from the blob, or when the lease
/// counts as dead.
const LAST_WORD: Duration = Duration::from_secs(10);

impl SharedFill<'_> {
    /// Fills the blob, as long as this process has the lease.
    pub(super) async fn own(
        &mut self,
        taken: TakenOver,
        begun: Option<Box<BlobResponse>>,
        leftovers: &mut Leftovers,
    ) -> Step {
        let TakenOver { keeper, mut beats, mut layout, is_adopted, chunks, hashed } = taken;
        // Of an adopted blob, other bytes are missing.
        let mut begun = begun.filter(|_| !is_adopted).map(|begun| *begun);
        if !is_adopted {
            let (said, response, beating) = match self.ask(&keeper, beats, begun.take()).await {
                Ok(begun) => begun,
                Err(step) => return step,
            };
            (layout, begun, beats) = (said, Some(response), beating);
        }
        let Some((filled, watermark)) = self.blob(layout) else {
            beats.end(&keeper).await;
            keeper.give_up().await;
            return Step::Ended(Err(NotFilled::Failed("the blob has another size than was said".to_owned())));
        };
        // What this process wrote under another generation is not part of this one.
        drop(filled.writing.lock().await);
        filled.replace_chunks((chunks, Vec::new()), &watermark);
        filled.wish(Vec::new());
        filled.hashed(hashed.chunks, &hashed.hasher);
        let (generation, at_most) = (keeper.generation(), u64::MAX);
        let start = Start { generation, hashed: hashed.chunks, hasher: hashed.hasher, at_most };
        beats.tell(&filled);
        let filling = self.fill_blob(&keeper, (begun, start), &filled, &watermark);
        let result = tokio::select! {
            result = filling => result,
            () = self.accompany(&keeper, &filled) => Err(Broken::Other(String::new())),
            () = keeper.robbed() => Err(Broken::Other(String::new())),
        };
        beats.end(&keeper).await;
        match result {
            Err(_) if keeper.is_robbed() => self.robbed(&filled, &watermark).await,
            Err(broken) => self.broken(&keeper, (&filled, &watermark), (broken, is_adopted), leftovers).await,
            Ok(size) => {
                self.end(&keeper, LeaseState::Done, Some(&filled)).await;
                watermark.send_modify(|watermark| watermark.state = BlobState::Stored);
                filled.release();
                *leftovers = Leftovers::Lease(keeper, self.job.fills.tuning.grace);
                Step::Ended(Ok(size))
            }
        }
    }

    /// Asks the upstream for the first bytes, which also tells the size, and says it in the lease.
    async fn ask(
        &mut self,
        keeper: &LeaseKeeper,
        beats: Beats,
        begun: Option<BlobResponse>,
    ) -> Result<(Layout, BlobResponse, Beats), Step> {
        let response = if let Some(begun) = begun {
            Ok(begun)
        } else {
            tokio::select! {
                response = self.job.begin() => response,
                () = keeper.robbed() => return Err(Step::Look),
            }
        };
        let step = match response {
            Ok(response) => match self.shared(response.size) {
                Some((size, chunk)) => {
                    self.is_member = true;
                    keeper.begin(size, chunk).await;
                    return Ok((Layout { size: Some(size), chunk }, response, beats));
                }
                None if self.blob.is_none() => Step::Alone(Some(Box::new(response))),
                None => Step::Ended(Err(NotFilled::Failed("the upstream does not say the blob's size".to_owned()))),
            },
            Err(refusal) => Step::Ended(Err(NotFilled::Refused(refusal))),
        };
        // A follower asks its own upstream, with its own credentials.
        beats.end(keeper).await;
        keeper.give_up().await;
        Err(step)
    }

    /// What the owner does beside filling, for ever: it stores beginnings of chunks, listens to what followers wait
    /// for, and lets them take over when it shuts down, or its upstream sends next to nothing.
    async fn accompany(&self, keeper: &LeaseKeeper, filled: &Arc<FilledBlob>) {
        let heartbeat = self.job.fills.tuning.heartbeat;
        let wishes = async {
            let (mut wishes, mut stall) = (Wishes::default(), Stall::new(filled.received()));
            loop {
                tokio::time::sleep(heartbeat).await;
                match wishes.read(&self.object, filled).await {
                    Ok(positions) => filled.wish(positions),
                    Err(error) => tracing::debug!(digest = %self.object.digest(), %error, "wishes cannot be read"),
                }
                // It is not the upstream that is slow where there is no memory for more, or nothing is missing.
                let is_excused = filled.is_short() || filled.size().is_some_and(|size| filled.written() >= size);
                let is_stalled = stall.look(filled.received(), is_excused, self.job.fills.tuning.stall);
                if is_stalled && wishes.any() && self.may_yield(keeper).await {
                    tracing::warn!(
                        digest = %self.object.digest(),
                        "the upstream sends next to nothing: another replica may go on with a blob"
                    );
                    self.hand_over(keeper, filled, 1).await;
                    if !self.job.fills.background.is_closing() {
                        keeper.stay().await;
                    }
                }
            }
        };
        let leaving = async {
            self.job.fills.background.closing().await;
            // If no other process takes over, it goes on until the time to drain ends.
            self.hand_over(keeper, filled, SETTLE).await;
        };
        let heads = self.put_heads(filled, keeper.generation());
        let ((), (), ()) = tokio::join!(wishes, leaving, heads);
    }

    /// Whether this process, whose upstream is slow, lets another one take over: once.
    async fn may_yield(&self, keeper: &LeaseKeeper) -> bool {
        let is_possible = keeper.lease().await.generations.len() < MAX_OWNERS;
        is_possible && !self.job.fills.background.is_closing() && !self.has_yielded.swap(true, Ordering::Relaxed)
    }

    /// Lets another process take over, for two heartbeats: so long it takes this one to learn of it. Before that,
    /// chunks that have been begun have `settle` heartbeats, because a client that has a part of a chunk gets no other
    /// process's rest of it.
    async fn hand_over(&self, keeper: &LeaseKeeper, filled: &FilledBlob, settle: u32) {
        let heartbeat = self.job.fills.tuning.heartbeat;
        // A stall and the end of the process may hand over at once: chunks begin again after both. They also begin
        // again where this is dropped because another process has taken over, which may leave the blob to this one.
        let _paused = filled.pause();
        let settled = async {
            while !filled.is_settled() {
                tokio::time::sleep(heartbeat / 12).await;
            }
        };
        let _ = tokio::time::timeout(heartbeat * settle, settled).await;
        keeper.leave().await;
        tokio::time::sleep(heartbeat * 2).await;
    }

    /// The fill broke off while this process had the lease.
    async fn broken(
        &mut self,
        keeper: &Arc<LeaseKeeper>,
        (filled, watermark): (&FilledBlob, &watch::Sender<Watermark>),
        (broken, is_adopted): (Broken, bool),
        leftovers: &mut Leftovers,
    ) -> Step {
        let digest = *self.object.digest();
        if let Broken::Lost(chunk) = broken
            && !self.has_lost
        {
            self.has_lost = true;
            tracing::warn!(%digest, chunk, "a chunk is gone or exchanged: it is fetched again");
            return self.take_over_from_itself(keeper, chunk).await;
        }
        // Neither clients nor the next request wait for the bucket.
        watermark.send_modify(|watermark| watermark.state = BlobState::Failed);
        filled.close();
        self.job.remove(self.fill);
        match broken {
            Broken::Mismatch(_) => {
                if is_adopted {
                    tracing::warn!(%digest, "chunks of several processes were not the blob: the upstream may be innocent");
                }
                self.end(keeper, LeaseState::Failed, None).await;
                *leftovers = Leftovers::Lease(Arc::clone(keeper), Duration::ZERO);
            }
            Broken::Other(_) if is_adopted && self.has_other_size(filled).await => {
                self.end(keeper, LeaseState::Failed, None).await;
                *leftovers = Leftovers::Lease(Arc::clone(keeper), Duration::ZERO);
            }
            // Another process, or the next request, goes on with the chunks.
            _ => self.end(keeper, LeaseState::Released, Some(filled)).await,
        }
        Step::Ended(Err(NotFilled::Failed(broken.to_string())))
    }

    /// Whether the upstream says another size than the lease that was adopted: the rest cannot be filled then.
    async fn has_other_size(&self, filled: &FilledBlob) -> bool {
        let fills = &self.job.fills;
        let said = tokio::select! {
            said = fills.links.upstream_size(&self.job.blob.name, self.object.digest()) => said.ok().flatten(),
            () = fills.background.stopped() => None,
        };
        let is_other = said.is_some() && said != filled.layout().size;
        if is_other {
            let (digest, adopted) = (self.object.digest(), filled.layout().size);
            tracing::warn!(%digest, said, adopted, "chunks of another process are of a blob of another size");
        }
        is_other
    }

    /// Writes the last state of the lease.
    async fn end(&self, keeper: &LeaseKeeper, state: LeaseState, filled: Option<&FilledBlob>) {
        let progress = filled.map(FilledBlob::progress);
        let written = tokio::time::timeout(LAST_WORD, keeper.write_state(state, progress.as_ref())).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::debug!(digest = %self.object.digest(), "the last state of a lease was not written");
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
        let size = Box::pin(download::run(blob, begun, filled, watermark, start)).await?;
        let progress = filled.progress();
        let verified = tokio::select! {
            verified = keeper.write_state(LeaseState::Verified, Some(&progress)) => verified,
            () = self.job.fills.background.stopped() => return Err(Broken::Other(SHUTTING_DOWN.to_owned())),
        };
        match verified {
            // Without it the blob is right all the same, and followers learn that when it is stored.
            Ok(()) | Err(NotWritten::Store(_)) => {}
            Err(error @ NotWritten::Robbed) => return Err(Broken::Other(error.to_string())),
        }
        match self.job.store(self.fill, filled, Some(size)).await {
            Ok(()) => Ok(size),
            Err(Uncommitted::SourceChanged(number)) => Err(Broken::Lost(number)),
            Err(uncommitted) => Err(Broken::Other(uncommitted.to_string())),
        }
    }

    /// Another process took over.
    async fn robbed(&mut self, filled: &Arc<FilledBlob>, watermark: &watch::Sender<Watermark>) -> Step {
        self.job.fills.metrics.fill_robbed();
        drop(filled.writing.lock().await);
        // Its own chunks stay readable, but memory does not: no byte of it must be taken for another generation's.
        let stored = filled.chunks().map(BucketChunks::all).unwrap_or_default();
        filled.replace_chunks((stored.into_iter().collect(), Vec::new()), watermark);
        self.look().await
    }

    /// Begins a new generation without a chunk: one name has one content for ever.
    async fn take_over_from_itself(&mut self, keeper: &LeaseKeeper, lost: u64) -> Step {
        let size = self.size.unwrap_or_default();
        let Some(chunk) = self.cut(size) else {
            return Step::Ended(Err(NotFilled::Refused(FillRefusal::TooLarge)));
        };
        match takeover::take_over_from_itself(&self.object, keeper, lost, (size, chunk)).await {
            Ok(taken) => Step::Own(Box::new(taken), None),
            Err(NotWritten::Robbed) => self.look().await,
            Err(NotWritten::Store(error)) => Step::Ended(Err(NotFilled::Failed(error.to_string()))),
        }
    }
}
