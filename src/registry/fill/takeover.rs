//! Taking over a fill whose owner is gone: the lease, and the chunks that are in the bucket.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::chunks::{Layout, Stored};
use super::filled_blob::FilledBlob;
use super::lease::{Hashed, Lease};
use super::lease_keeper::{Acquired, LeaseKeeper, NotWritten};
use super::lease_object::{LeaseObject, LeaseVersion};
use super::runs;
use crate::config::FillTuning;
use crate::oci::Algorithm;
use crate::store::{FillObject, Key, Listed, StoreError};

/// How many objects one request lists.
const PAGE: i32 = 1000;
/// The most pages of one generation: its chunks and heads, twice over. More is no fill's.
const MAX_PAGES: usize = 10;

/// The pauses after which the chunks are listed again where the bucket did not answer.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

/// The task that writes a lease again and again. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Beats {
    tasks: JoinSet<()>,
    /// What it tells the progress of, once that is known.
    filled: Arc<OnceLock<Arc<FilledBlob>>>,
}

impl Beats {
    fn of(keeper: &Arc<LeaseKeeper>) -> Self {
        let (keeper, filled, mut tasks) =
            (Arc::clone(keeper), Arc::<OnceLock<Arc<FilledBlob>>>::default(), JoinSet::new());
        let of = Arc::clone(&filled);
        tasks.spawn(async move { keeper.beat(|| of.get().map(|filled| filled.progress())).await });
        Self { tasks, filled }
    }

    /// From now on, the lease says how far this blob is.
    pub(super) fn tell(&self, filled: &Arc<FilledBlob>) {
        // There is one blob.
        let _ = self.filled.set(Arc::clone(filled));
    }

    /// Ends it between two writes of its keeper.
    pub(super) async fn end(mut self, keeper: &LeaseKeeper) {
        keeper.silence().await;
        self.tasks.shutdown().await;
    }
}

/// A fill that this process owns now, and that another one, or this one before, began.
#[derive(Debug)]
pub(super) struct TakenOver {
    pub(super) keeper: Arc<LeaseKeeper>,
    /// Since the lease was taken, so that it does not look dead while chunks are listed.
    pub(super) beats: Beats,
    pub(super) layout: Layout,
    /// Whether the size is more than a manifest's: an upstream or an owner before said it.
    pub(super) is_adopted: bool,
    /// The chunks that are in the bucket, with their `ETag`s.
    pub(super) chunks: BTreeMap<u64, Stored>,
    /// How far they are hashed.
    pub(super) hashed: Hashed,
}

impl TakenOver {
    /// A lease that this process created.
    pub(super) fn fresh(keeper: Arc<LeaseKeeper>, size: u64, chunk: u64, algorithm: Algorithm) -> Self {
        let layout = Layout { size: Some(size), chunk };
        let (beats, hashed) = (Beats::of(&keeper), Hashed::nothing(algorithm));
        Self { keeper, beats, layout, is_adopted: false, chunks: BTreeMap::new(), hashed }
    }
}

/// Takes the lease, of this version, from its owner; `None` if another process was faster. `size` and `chunk` are for a
/// lease that nothing can be adopted of, also because a chunk of it is larger than `most`, which memory may have.
///
/// # Errors
/// The bucket did not answer, or refuses conditions.
pub(super) async fn take_over(
    object: &LeaseObject,
    version: &LeaseVersion,
    (size, chunk, most): (u64, u64, u64),
    tuning: FillTuning,
) -> Result<Option<TakenOver>, StoreError> {
    let lease = version.lease.as_ref().filter(|lease| lease.chunk <= most);
    let next = next(lease, (size, chunk), object.digest().algorithm());
    match LeaseKeeper::acquire(object, next, Some(&version.etag), tuning).await? {
        Acquired::Mine(keeper) => Ok(Some(adopt(object, keeper, None).await)),
        Acquired::Lost => Ok(None),
        Acquired::Unsupported => {
            let cause = "it refuses a condition that it kept before".to_owned();
            Err(StoreError::Unavailable { operation: "PutObject", cause })
        }
    }
}

/// Begins a new generation of a lease that this process has, without the chunk that is `lost`.
///
/// # Errors
/// Another process took it over, or the bucket did not answer.
pub(super) async fn take_over_from_itself(
    object: &LeaseObject,
    keeper: &LeaseKeeper,
    lost: u64,
    fresh: (u64, u64),
) -> Result<TakenOver, NotWritten> {
    let algorithm = object.digest().algorithm();
    let without = |lease: &Lease| {
        let mut next = next(Some(lease), fresh, algorithm);
        forget(&mut next, lost, algorithm);
        next
    };
    Ok(adopt(object, keeper.succeed(without).await?, Some(lost)).await)
}

/// The lease of the next owner.
fn next(lease: Option<&Lease>, (size, chunk): (u64, u64), algorithm: Algorithm) -> Lease {
    let generation = Uuid::new_v4();
    match lease.map(|lease| lease.taken_over(generation)) {
        Some(next) if next.generations.len() > 1 => next,
        Some(next) => Lease { size, chunk, ..next },
        None => Lease::asking(generation, size, chunk, algorithm),
    }
}

/// Finds the chunks of a lease that this process owns now.
async fn adopt(object: &LeaseObject, keeper: Arc<LeaseKeeper>, lost: Option<u64>) -> TakenOver {
    let (beats, lease, digest) = (Beats::of(&keeper), keeper.lease().await, object.digest());
    let (is_adopted, layout) = (lease.generations.len() > 1, lease.layout());
    let mut chunks = if is_adopted { list(object, &lease, &keeper).await } else { BTreeMap::new() };
    lost.map(|lost| chunks.remove(&lost));
    let hashed = adopt_hashed(lease.hashed, &chunks, layout, digest.algorithm());
    tracing::info!(%digest, chunks = chunks.len(), hashed = hashed.chunks, "took over the fill of a blob");
    TakenOver { keeper, beats, layout, is_adopted, chunks, hashed }
}

/// Takes a chunk out of a lease, and with it what was hashed from there on.
fn forget(lease: &mut Lease, lost: u64, algorithm: Algorithm) {
    let kept: Vec<_> = lease.chunks().filter(|(number, _)| *number != lost).collect();
    lease.stored = runs::runs(kept.into_iter(), &lease.generations);
    if lease.hashed.chunks > lost {
        lease.hashed = Hashed::nothing(algorithm);
    }
}

/// The chunks that the bucket has of all generations of a lease, also those that were stored after it was written. Of
/// two, the one that the lease names counts, or else the newest. If they cannot be listed, there are none: their `ETag`s,
/// by which they would be verified, are not known.
async fn list(object: &LeaseObject, lease: &Lease, keeper: &LeaseKeeper) -> BTreeMap<u64, Stored> {
    let layout = lease.layout();
    let named: BTreeMap<u64, Uuid> = lease.chunks().collect();
    let mut pauses = PAUSES.iter();
    let all = loop {
        // The newest is this process's own, which has no chunk yet.
        let generations = lease.generations.iter().rev().skip(1);
        match try_join_all(generations.map(|generation| list_generation(object, generation))).await {
            Ok(all) => break all,
            Err(error) => {
                let digest = object.digest();
                tracing::debug!(%digest, %error, "the chunks of a fill that is taken over cannot be listed");
                match pauses.next().filter(|_| !keeper.is_robbed() && !matches!(error, StoreError::Denied { .. })) {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return BTreeMap::new(),
                }
            }
        }
    };
    let mut chunks = BTreeMap::new();
    for (listed, generation) in all.into_iter().zip(lease.generations.iter().rev().skip(1)) {
        for listed in listed {
            if let Some((number, stored)) = chunk(listed, *generation, layout) {
                let is_named = named.get(&number) == Some(generation);
                if is_named || !chunks.contains_key(&number) {
                    chunks.insert(number, stored);
                }
            }
        }
    }
    chunks
}

async fn list_generation(object: &LeaseObject, generation: &Uuid) -> Result<Vec<Listed>, StoreError> {
    let directory = Key::FillChunks(object.digest(), object.upstream(), generation);
    let mut all: Vec<Listed> = Vec::new();
    for _ in 0..MAX_PAGES {
        let after = all.last().map(|listed| listed.path.clone());
        let (page, more) = object.store().objects(directory, after.as_deref(), PAGE).await?;
        all.extend(page);
        if !more {
            break;
        }
    }
    Ok(all)
}

/// A listed object, if it is a whole chunk of the blob.
fn chunk(listed: Listed, generation: Uuid, layout: Layout) -> Option<(u64, Stored)> {
    let FillObject::Chunk(_, offset) = FillObject::parse(&format!("{generation}/{}", listed.path))? else {
        return None;
    };
    let number = layout.number(offset);
    let slice = layout.slice(number);
    let is_whole = slice.start == offset && slice.start < slice.end && listed.size == slice.end - slice.start;
    let etag = listed.etag.filter(|_| is_whole)?;
    Some((number, Stored { generation, etag: Some(etag) }))
}

/// How far the adopted chunks are hashed: as far as the lease says if its chunks are the very ones that were hashed, and
/// otherwise not at all.
fn adopt_hashed(hashed: Hashed, chunks: &BTreeMap<u64, Stored>, layout: Layout, algorithm: Algorithm) -> Hashed {
    let etags = (0..hashed.chunks).map_while(|number| chunks.get(&number)).map_while(|stored| stored.etag.as_deref());
    let are_hashed = etags.clone().count() as u64 == hashed.chunks && runs::chain(etags, layout) == hashed.chain;
    if are_hashed { hashed } else { Hashed::nothing(algorithm) }
}
