//! Deleting the condemned keys that nothing needs after all.
//!
//! A key goes if a batch condemned it, the batch was published long before a survey began, and that survey found that
//! nothing needs it. A writer that does not know the batch wrote its references before the survey. Any other writer
//! finds the decision, which is written before the DELETE and on condition, so that the first one counts
//! ([`condemned`](crate::registry::condemned)).
//!
//! A few hundred keys of one kind at a time: the lease is renewed, which says what time it is in the bucket; the decisions are
//! written; the DELETEs are signed for a minute from that time on, and sent once. So no DELETE comes later than a minute
//! after its decision, however long this process is paused, and no writer acknowledges before two minutes have gone by.
//! A decision that is there already is left alone, whatever it says; its keys are condemned anew after the batch.

use std::collections::BTreeMap;
use std::io;
use std::time::{Instant, SystemTime};

use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batches::DueBatch;
use super::facts::{Candidate, CandidateKind};
use super::lease::{Collector, CollectorError, seconds};
use super::requests::RequestKind;
use crate::registry::condemned::{BatchKeys, GcState, KeyHash, delete};
use crate::registry::runtime::buffered;
use crate::store::{GcGroup, Key, StoreError};

/// How many keys are deleted for each renewal of the lease, or a few more: at 200 requests a second a few seconds.
const CHUNK: usize = 500;
/// For how many seconds of requests there are keys in a chunk, where fewer requests a second are allowed.
const SECONDS: usize = 10;
/// How many requests are under way at once.
const PARALLEL: usize = 32;
/// After so many DELETEs of one chunk that failed, the sweep stops. A denial does not count: the bucket answers, and what
/// it denies is decided about. The batch ends, so that it does not bind writers for ever.
const MAX_FAILURES: u64 = 16;

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct Swept {
    /// Batches of which nothing is left to do.
    pub(in crate::registry) batches: usize,
    /// Deleted keys and their bytes.
    pub(in crate::registry) deleted: BTreeMap<CandidateKind, (u64, u64)>,
    /// Keys that a write kept, or that share a decision with such a key.
    pub(in crate::registry) rescued: u64,
    /// Keys whose DELETE failed. They are condemned anew.
    pub(in crate::registry) failed: u64,
    /// The first of them whose DELETE the bucket denied, and why.
    pub(in crate::registry) denied: Option<String>,
    /// Why the sweep ended before all batches were done. The next round goes on.
    pub(in crate::registry) stopped: Option<String>,
}

/// Keys that are decided about together.
struct Group {
    group: GcGroup,
    keys: Vec<Candidate>,
}

impl Group {
    /// A chunk has keys of one kind, because its DELETEs are sent at once. The last kinds are decided about together.
    fn rank(&self) -> Option<CandidateKind> {
        self.keys.first().map(|key| key.kind.min(CandidateKind::Layer))
    }
}

impl Collector {
    /// Deletes the keys of a batch that are candidates of a survey that began after [`due`](Self::due), as long as
    /// nothing [`stopped`](Swept::stopped) it. `candidates` come in the order of their kinds. `went` hears of each key
    /// that was deleted. Ends after the requests under way when `stop` is cancelled.
    ///
    /// # Errors
    /// The lease is lost, or the candidates cannot be read. Where the bucket fails, it stops, and says so.
    pub(in crate::registry) async fn sweep(
        &self,
        batch: DueBatch,
        candidates: impl Iterator<Item = io::Result<Candidate>>,
        stop: &CancellationToken,
        swept: &mut Swept,
        mut went: impl FnMut(&Candidate),
    ) -> Result<(), CollectorError> {
        if swept.stopped.is_some() {
            return Ok(());
        }
        let DueBatch(id) = batch;
        let keys = match self.keys_of(&id).await {
            Ok(keys) => keys,
            Err(error) => {
                swept.stopped = Some(error.to_string());
                return Ok(());
            }
        };
        let mut groups = groups(&keys, candidates)?.into_iter().peekable();
        let mut last = self.lease.renew().await?;
        let mut chunk: Vec<Group> = Vec::new();
        // So that decisions and DELETEs are sent while the signatures live.
        let most = CHUNK.min(self.lease.options.rate as usize * SECONDS);
        while let Some(group) = groups.next() {
            chunk.push(group);
            let keys: usize = chunk.iter().map(|group| group.keys.len()).sum();
            let goes_on = groups.peek().is_some_and(|next| next.rank() == chunk[0].rank());
            if keys < most && goes_on {
                continue;
            }
            if stop.is_cancelled() {
                swept.stopped = Some("it was stopped".to_owned());
                return Ok(());
            }
            last = self.lease.renew().await?;
            self.sweep_chunk(&id, last, std::mem::take(&mut chunk), swept, &mut went).await;
            if swept.stopped.is_some() {
                return Ok(());
            }
        }
        let spent = seconds(last + self.lease.options.timing.expiry);
        let mark = |state: &mut GcState| {
            let batch = state.batches.iter_mut().find(|batch| batch.id == id);
            if let Some(batch) = batch {
                batch.spent = Some(spent);
            }
        };
        self.lease.write(mark).await?;
        swept.batches += 1;
        Ok(())
    }

    /// Decides about some groups, and deletes their keys. `date` is the bucket's clock at the renewal before.
    async fn sweep_chunk(
        &self,
        batch: &Uuid,
        date: SystemTime,
        groups: Vec<Group>,
        swept: &mut Swept,
        went: &mut impl FnMut(&Candidate),
    ) {
        let (lease, renewed) = (&self.lease, Instant::now());
        let (store, expiry) = (&lease.store, lease.options.timing.expiry);
        let decide = |group: Group| async move {
            lease.pace.wait(RequestKind::Put).await;
            let decided = delete(store, batch, group.group, lease.if_absent()).await;
            (decided, group)
        };
        let mut condemned = Vec::new();
        let mut decisions = buffered(PARALLEL, groups, decide);
        while let Some((decided, group)) = decisions.next().await {
            match decided {
                Ok(true) => condemned.extend(group.keys),
                Ok(false) => swept.rescued += group.keys.len() as u64,
                // It may be written. Its keys stay, and what was decided is carried out.
                Err(error) => {
                    swept.failed += group.keys.len() as u64;
                    swept.stopped = Some(error.to_string());
                }
            }
        }
        drop(decisions);
        let send = |candidate: Candidate| async move {
            lease.pace.wait(RequestKind::Delete).await;
            if renewed.elapsed() >= expiry {
                let cause = "the signature is too old".to_owned();
                return (Err(StoreError::Unavailable { operation: "DeleteObject", cause }), candidate);
            }
            let sent = async {
                let signed = store.sign_delete(Key::Path(&candidate.path), date, expiry).await?;
                store.send_signed_delete(signed).await
            };
            (sent.await, candidate)
        };
        let (mut deletes, mut failures) = (buffered(PARALLEL, condemned, send), 0);
        while let Some((sent, candidate)) = deletes.next().await {
            match sent {
                Ok(()) => {
                    let (keys, bytes) = swept.deleted.entry(candidate.kind).or_default();
                    *keys += 1;
                    *bytes += candidate.size;
                    went(&candidate);
                }
                Err(error) => {
                    tracing::debug!(key = candidate.path, %error, "garbage was not deleted");
                    swept.failed += 1;
                    if matches!(error, StoreError::Denied { .. }) {
                        swept.denied.get_or_insert_with(|| format!("{}: {error}", candidate.path));
                        continue;
                    }
                    failures += 1;
                    if failures >= MAX_FAILURES {
                        swept.stopped = Some(error.to_string());
                    }
                }
            }
        }
    }
}

/// The candidates that a batch condemned, by what is decided together, in the order in which they go: bytes last.
fn groups(
    keys: &BatchKeys,
    candidates: impl Iterator<Item = io::Result<Candidate>>,
) -> Result<Vec<Group>, CollectorError> {
    let mut groups = Vec::new();
    let mut content = BTreeMap::<GcGroup, Vec<Candidate>>::new();
    for candidate in candidates {
        let candidate = candidate?;
        let hash = KeyHash::of(&candidate.path);
        if !keys.contains(hash) {
            continue;
        }
        let is_content = matches!(candidate.kind, CandidateKind::Layer | CandidateKind::Blob);
        match hash.group(is_content) {
            group @ GcGroup::One(_) => groups.push(Group { group, keys: vec![candidate] }),
            group @ GcGroup::Content(_) => content.entry(group).or_default().push(candidate),
        }
    }
    groups.extend(content.into_iter().map(|(group, keys)| Group { group, keys }));
    Ok(groups)
}
