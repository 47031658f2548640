//! Sweeping what fills left in the bucket: leases whose processes are gone, with their chunks, and chunks without a
//! lease.
//!
//! Every replica sweeps, and nothing that a fill still uses is touched:
//!
//! - An owner writes its lease every few seconds, so one that was written an hour ago has no owner. The sweep claims it
//!   first: it writes `failed`, if the lease is unchanged since. Of several replicas one succeeds, and an owner that
//!   wakes up, or a process that takes over meanwhile, is not disturbed.
//! - A generation that no lease names is one of a process that fills without a lease, or of one that was replaced. A
//!   day after its last object, neither goes on.
//! - A lease of other replicas, with another secret, names generations that cannot be read here. It gets a day, too.
//!
//! Ages are by the bucket's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::Fills;
use super::lease::{Lease, LeaseState};
use super::lease_object::{LeaseObject, LeaseRead};
use crate::oci::Digest;
use crate::store::{FillObject, Key, Listed, StoreError, Swapped, UpstreamId};

/// How long ago a lease was written that no process owns: a thousand heartbeats, and longer than any grace.
const LEASE_AGE: Duration = Duration::from_hours(1);
/// How long ago the last object was written of what no lease accounts for.
const STRAY_AGE: Duration = Duration::from_hours(24);
/// How many objects one list names: S3's limit.
const PAGE: i32 = 1000;
/// How many objects of one directory are remembered, of less than 100 bytes each: 16 generations of 4,096 chunks, the
/// most that a lease names, some heads and some wishes. Those beyond are for the next sweep.
const MAX_OBJECTS: usize = 70_000;
/// How many keys are spelled out at once: as many as one request deletes.
const BATCH: usize = 1000;

/// How many directories may fail before the sweep ends: the bucket is away, or denies all of it.
const MAX_FAILURES: usize = 16;

/// What a sweep deleted, or would have.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::registry) struct SweptFills {
    /// Leases, with the chunks that they name.
    pub(in crate::registry) leases: usize,
    /// Generations that no lease names.
    pub(in crate::registry) strays: usize,
}

/// What the list says of the fills of one blob from one upstream.
#[derive(Debug)]
struct Found {
    digest: Digest,
    upstream: UpstreamId,
    /// When the lease was written, if there is one.
    lease: Option<SystemTime>,
    /// All others.
    objects: Vec<FillObject>,
    /// When the youngest object of each generation, and each process's wishes, were written.
    youngest: BTreeMap<Uuid, Option<SystemTime>>,
}

impl Found {
    const fn new(digest: Digest, upstream: UpstreamId) -> Self {
        Self { digest, upstream, lease: None, objects: Vec::new(), youngest: BTreeMap::new() }
    }

    fn add(&mut self, object: FillObject, modified: Option<SystemTime>) {
        let Some(of) = of(object) else {
            self.lease = modified;
            return;
        };
        if self.objects.len() < MAX_OBJECTS {
            self.objects.push(object);
            self.youngest.entry(of).or_default();
        }
        if let Some(youngest) = self.youngest.get_mut(&of) {
            *youngest = modified.max(*youngest);
        }
    }

    fn key<'a>(&'a self, object: &'a FillObject) -> Key<'a> {
        let (digest, upstream) = (&self.digest, self.upstream);
        match object {
            FillObject::Lease => Key::FillLease(digest, upstream),
            FillObject::Want(process) => Key::FillWant(digest, upstream, process),
            FillObject::Chunk(generation, offset) => Key::FillChunk(digest, upstream, generation, *offset),
            FillObject::Head(generation, end) => Key::FillHead(digest, upstream, generation, *end),
        }
    }
}

/// The generation, or the process, that an object is of; a lease is of none.
const fn of(object: FillObject) -> Option<Uuid> {
    match object {
        FillObject::Lease => None,
        FillObject::Want(id) | FillObject::Chunk(id, _) | FillObject::Head(id, _) => Some(id),
    }
}

impl Fills {
    /// Deletes what fills left in the bucket, one directory after the other; in a dry run, nothing.
    ///
    /// # Errors
    /// The bucket did not do it, for several directories.
    pub(in crate::registry) async fn sweep(&self, dry_run: bool) -> Result<SweptFills, StoreError> {
        let mut swept = SweptFills::default();
        let (mut found, mut after): (Option<Found>, Option<String>) = (None, None);
        let mut failures = 0;
        // One directory that cannot be deleted, because of a retention, does not keep the others.
        let mut sweep = async |last: Found, swept: &mut SweptFills| {
            let digest = last.digest;
            let Err(error) = self.sweep_directory(last, dry_run, swept).await else {
                return Ok(());
            };
            failures += 1;
            if failures >= MAX_FAILURES {
                return Err(error);
            }
            tracing::warn!(%digest, %error, "what a fill left in the bucket was not swept");
            Ok(())
        };
        loop {
            let (page, more) = self.store.objects(Key::FillLeases, after.as_deref(), PAGE).await?;
            after = page.last().map(|listed| listed.path.clone());
            for Listed { path, modified, .. } in page {
                let Some((digest, upstream, object)) = FillObject::parse_below_all(&path) else {
                    continue;
                };
                // The list is in order: what follows is of this directory or a later one.
                if let Some(last) = found.take_if(|last| (last.digest, last.upstream) != (digest, upstream)) {
                    sweep(last, &mut swept).await?;
                }
                found.get_or_insert_with(|| Found::new(digest, upstream)).add(object, modified);
            }
            if !more || after.is_none() {
                break;
            }
        }
        if let Some(last) = found {
            sweep(last, &mut swept).await?;
        }
        Ok(swept)
    }

    async fn sweep_directory(&self, mut found: Found, dry_run: bool, swept: &mut SweptFills) -> Result<(), StoreError> {
        if !self.may_be_left(&found) {
            return Ok(());
        }
        let object = LeaseObject::new(&self.store, &self.codec, found.digest, found.upstream);
        match object.read(None).await? {
            LeaseRead::Absent => self.sweep_strays(found, &[], dry_run, swept).await,
            LeaseRead::Unchanged(_) => Ok(()),
            LeaseRead::Changed(version, date) => {
                // Without a date, it counts as new.
                let age = version.age(date).unwrap_or_default();
                match version.lease {
                    Some(lease) if age < LEASE_AGE => {
                        // The owner may read the wishes.
                        found.objects.retain(|object| !matches!(object, FillObject::Want(_)));
                        self.sweep_strays(found, &lease.generations, dry_run, swept).await
                    }
                    Some(lease) => self.sweep_lease(&object, found, (lease, &version.etag), dry_run, swept).await,
                    None if age < STRAY_AGE => Ok(()),
                    None => {
                        // Its generations are strays from now on.
                        let key = Key::FillLease(&found.digest, found.upstream);
                        if !dry_run && !self.store.delete_unchanged(key, Some(&version.etag)).await? {
                            return Ok(());
                        }
                        swept.leases += 1;
                        self.sweep_strays(found, &[], dry_run, swept).await
                    }
                }
            }
        }
    }

    /// Whether the lease or anything else may be old enough, by the list, which may be older than the lease.
    fn may_be_left(&self, found: &Found) -> bool {
        let is_stray = |youngest: &Option<SystemTime>| self.is_older(*youngest, STRAY_AGE);
        self.is_older(found.lease, LEASE_AGE) || found.youngest.values().any(is_stray)
    }

    fn is_older(&self, modified: Option<SystemTime>, age: Duration) -> bool {
        modified.is_some() && self.store.age(modified) >= age
    }

    /// Deletes a lease that has no owner, and the chunks that it names, unless another process is faster.
    async fn sweep_lease(
        &self,
        object: &LeaseObject,
        mut found: Found,
        (lease, etag): (Lease, &str),
        dry_run: bool,
        swept: &mut SweptFills,
    ) -> Result<(), StoreError> {
        if !dry_run {
            let failed = Lease { write: lease.write + 1, state: LeaseState::Failed, ..lease };
            let Swapped::Written(etag) = object.swap(&failed, Some(etag)).await? else {
                return Ok(());
            };
            let is_its = |object: &FillObject| match object {
                FillObject::Want(_) => true,
                object => of(*object).is_some_and(|generation| failed.generations.contains(&generation)),
            };
            found.objects.retain(is_its);
            self.delete_found(&found).await?;
            object.delete(&etag).await?;
        }
        swept.leases += 1;
        Ok(())
    }

    /// Deletes generations that are not `named`, and wishes, a day after their last object.
    async fn sweep_strays(
        &self,
        mut found: Found,
        named: &[Uuid],
        dry_run: bool,
        swept: &mut SweptFills,
    ) -> Result<(), StoreError> {
        let is_stray =
            |id: &Uuid, youngest: Option<SystemTime>| self.is_older(youngest, STRAY_AGE) && !named.contains(id);
        found.youngest.retain(|id, youngest| is_stray(id, *youngest));
        found.objects.retain(|object| of(*object).is_some_and(|id| found.youngest.contains_key(&id)));
        if !dry_run {
            self.delete_found(&found).await?;
        }
        let generations = found.objects.iter().filter(|object| !matches!(object, FillObject::Want(_)));
        swept.strays += generations.filter_map(|object| of(*object)).collect::<BTreeSet<_>>().len();
        Ok(())
    }

    /// Deletes these objects: not by the directory's name, because a new fill may begin beside them at any time.
    async fn delete_found(&self, found: &Found) -> Result<(), StoreError> {
        for objects in found.objects.chunks(BATCH) {
            let keys: Vec<_> = objects.iter().map(|object| found.key(object)).collect();
            self.store.delete_all(&keys).await?;
        }
        Ok(())
    }
}
