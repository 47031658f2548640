//! Taking over a fill whose owner is gone: the lease, and the chunks that are in the bucket.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::chunks::{Layout, Stored};
use super::lease::{Hashed, Lease};
use super::lease_keeper::{Acquired, LeaseKeeper};
use super::lease_object::{LeaseObject, LeaseVersion};
use super::runs;
use crate::config::FillTuning;
use crate::oci::Algorithm;
use crate::store::{FillObject, Key, Listed, StoreError};

/// How many objects one request lists.
const PAGE: i32 = 1000;
/// The most pages of one generation: its chunks and heads, twice over. More is no fill's.
const MAX_PAGES: usize = 10;

/// A fill that this process owns now, and that another one, or this one before, began.
#[derive(Debug)]
pub(super) struct TakenOver {
    pub(super) keeper: Arc<LeaseKeeper>,
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
        let (chunks, hashed) = (BTreeMap::new(), Hashed::nothing(algorithm));
        Self { keeper, layout, is_adopted: false, chunks, hashed }
    }
}

/// Takes the lease, of this version, from its owner; `None` if another process was faster. Of the chunks, `lost` is not
/// adopted. `size` and `chunk` are for a lease that nothing can be adopted of.
///
/// # Errors
/// The bucket did not answer.
pub(super) async fn take_over(
    object: &LeaseObject,
    version: &LeaseVersion,
    lost: Option<u64>,
    (size, chunk): (u64, u64),
    tuning: FillTuning,
) -> Result<Option<TakenOver>, StoreError> {
    let (generation, algorithm) = (Uuid::new_v4(), object.digest().algorithm());
    let mut next = match &version.lease {
        Some(lease) => lease.taken_over(generation),
        None => Lease::asking(generation, size, chunk, algorithm),
    };
    let is_adopted = next.generations.len() > 1;
    if !is_adopted {
        (next.size, next.chunk) = (size, chunk);
    }
    if let Some(lost) = lost {
        forget(&mut next, lost, algorithm);
    }
    let Acquired::Mine(keeper) = LeaseKeeper::acquire(object, next.clone(), Some(&version.etag), tuning).await? else {
        return Ok(None);
    };
    let layout = next.layout();
    let mut chunks = if is_adopted { list(object, &next).await? } else { BTreeMap::new() };
    lost.map(|lost| chunks.remove(&lost));
    let hashed = adopt_hashed(next.hashed, &chunks, layout, algorithm);
    let digest = object.digest();
    tracing::info!(%digest, chunks = chunks.len(), hashed = hashed.chunks, "took over the fill of a blob");
    Ok(Some(TakenOver { keeper, layout, is_adopted, chunks, hashed }))
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
/// two, the one that the lease names counts, or else the newest.
async fn list(object: &LeaseObject, lease: &Lease) -> Result<BTreeMap<u64, Stored>, StoreError> {
    let layout = lease.layout();
    let named: BTreeMap<u64, Uuid> = lease.chunks().collect();
    let mut chunks = BTreeMap::new();
    // The newest is this process's own, which has no chunk yet.
    for generation in lease.generations.iter().rev().skip(1) {
        for listed in list_generation(object, generation).await? {
            if let Some((number, stored)) = chunk(listed, *generation, layout) {
                let is_named = named.get(&number) == Some(generation);
                if is_named || !chunks.contains_key(&number) {
                    chunks.insert(number, stored);
                }
            }
        }
    }
    Ok(chunks)
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
