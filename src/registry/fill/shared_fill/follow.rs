//! Following the process that fills a shared blob, and taking over from it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::{PAUSE, SharedFill, Step};
use crate::registry::cache::Membership;
use crate::registry::fill::chunks::Stored;
use crate::registry::fill::filled_blob::BlobState;
use crate::registry::fill::job::NotFilled;
use crate::registry::fill::lease::{Lease, LeaseState, Verdict};
use crate::registry::fill::lease_watch::LeaseWatch;
use crate::registry::fill::running::FillRefusal;
use crate::registry::fill::takeover;
use crate::registry::fill::wants::Wants;

/// The longest random pause before a process takes over, in milliseconds, so that not all followers try at once.
const JITTER: u64 = 500;
/// After so many heartbeats without a client, half a minute by default, a process does not follow any more. A client of
/// ranges comes back sooner.
const UNNEEDED: u32 = 10;

impl SharedFill<'_> {
    /// Follows the process that fills, until the blob is stored, or this process fills itself.
    pub(super) async fn follow(&mut self, mut watch: LeaseWatch, wants: &mut Wants) -> Step {
        let background = &self.job.fills.background;
        if let Err(refused) = self.join().await {
            return refused;
        }
        if self.blob.is_none() {
            tracing::info!(digest = %self.object.digest(), "follows the process that fills a blob");
        }
        let tuning = self.job.fills.tuning;
        let (mut unneeded, mut leaving) = (None, None);
        // How far the owner is, and since when.
        let mut progress = (0, Instant::now());
        loop {
            let is_served = |state| !matches!(state, LeaseState::Asking | LeaseState::Failed);
            if let Some(lease) = watch.lease().filter(|lease| is_served(lease.state)).cloned() {
                if self.blob.is_none() && !self.has_size(lease.size).await {
                    return self.alone("the lease has another size than the blob", None);
                }
                if lease.state == LeaseState::Done {
                    match self.stored_size().await {
                        Ok(Some(_)) => {}
                        // It was deleted since, and so may its chunks be.
                        Ok(None) => return self.take_over(&watch).await,
                        Err(error) => return self.failed(&error).await,
                    }
                }
                if !self.feed(&lease) {
                    let cause = "another process found another size".to_owned();
                    return Step::Ended(Err(NotFilled::Failed(cause)));
                }
            }
            let is_leaving = watch.lease().is_some_and(|lease| lease.state == LeaseState::Leaving);
            leaving = is_leaving.then(|| leaving.unwrap_or_else(Instant::now));
            // Others may have a better way to the upstream than a process that let them take over.
            let yields =
                |since: Instant| self.has_yielded.load(Ordering::Relaxed) && since.elapsed() < tuning.heartbeat;
            match watch.verdict() {
                Verdict::Free if leaving.is_some_and(yields) => {}
                Verdict::Done => {
                    let size = watch.lease().map(|lease| lease.size).or(self.size);
                    return self.stored(size.unwrap_or_default()).await;
                }
                Verdict::Free | Verdict::Dead if !background.is_closing() => {
                    if watch.lease().is_some_and(|lease| lease.state == LeaseState::Failed) {
                        match self.stored_size().await {
                            // A process that lost the lease may have stored the right bytes.
                            Ok(Some(size)) => return self.stored(size).await,
                            Ok(None) if self.blob.is_some() => {
                                let cause = "another process found that the bytes are not the blob's".to_owned();
                                return Step::Ended(Err(NotFilled::Failed(cause)));
                            }
                            Ok(None) => {}
                            Err(error) => return self.failed(&error).await,
                        }
                    }
                    return self.take_over(&watch).await;
                }
                Verdict::Foreign if self.blob.is_none() && !watch.is_old() => {
                    return self.alone("its lease is none of a replica with this http.secret", None);
                }
                _ => {}
            }
            let filled = self.blob.as_ref().map(|(filled, _)| filled);
            if let Some(filled) = filled {
                let there = filled.there().len();
                if there != progress.0 {
                    progress = (there, Instant::now());
                }
                wants.write(&self.object, filled, progress.1.elapsed() >= tuning.stall / 2).await;
            }
            // The owner goes on without. If it dies, and no other process follows, the fill ends.
            let is_unneeded = self.fill.is_unneeded(filled);
            unneeded = is_unneeded.then(|| unneeded.unwrap_or_else(Instant::now));
            if unneeded.is_some_and(|since| since.elapsed() >= tuning.heartbeat * UNNEEDED)
                && self.job.fills.remove_unneeded(&self.job.blob, self.fill, filled)
            {
                return Step::Ended(Err(NotFilled::Unneeded));
            }
            let before = watch.version().etag.clone();
            match watch.look().await {
                // An owner that writes is one to wait for.
                Ok(true) if watch.version().etag != before => self.failing = None,
                Ok(true) => {}
                Ok(false) => return self.vanished().await,
                Err(error) => {
                    if let ended @ Step::Ended(_) = self.failed(&error).await {
                        return ended;
                    }
                }
            }
        }
    }

    /// Whether this is the size of the blob: as a manifest says, or as the upstream does where that says another one,
    /// or there is no manifest. If neither says one, the lease is believed: the digest decides.
    async fn has_size(&mut self, size: u64) -> bool {
        let (name, digest) = (&self.job.blob.name, self.object.digest());
        // The upstream said it when it was asked whether the blob is this repository's. One that answers every such
        // question with yes does not know the size of another repository's blob.
        let membership = self.job.fills.cache.blobs.membership(name, digest);
        if let Some(membership) = membership.filter(Membership::is_owned) {
            return size == membership.size;
        }
        if self.size.is_some_and(|known| known != size)
            && let Ok(Some(said)) = self.job.fills.links.upstream_size(name, digest).await
        {
            self.size = Some(said);
        }
        self.size.is_none_or(|known| known == size)
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
        // Of the chunks that this process stored or hashed itself, it knows more than the lease says.
        let known = |(number, generation)| {
            let known = before.get(&number).filter(|known| known.generation == generation).cloned();
            (number, known.unwrap_or(Stored { generation, etag: None }))
        };
        let stored: BTreeMap<u64, Stored> = lease.chunks().map(known).collect();
        let heads: Vec<_> = lease.heads.iter().map(|head| (head.clone(), lease.owner())).collect();
        if stored != before || heads != table.heads() {
            filled.replace_chunks((stored, heads), &watermark);
        }
        if matches!(lease.state, LeaseState::Verified | LeaseState::Done) && !filled.watermark().state.is_verified() {
            watermark.send_modify(|watermark| watermark.state = BlobState::Verified);
        }
        true
    }

    /// The lease is gone.
    pub(super) async fn vanished(&mut self) -> Step {
        if let Some((filled, watermark)) = &self.blob
            && !filled.watermark().state.is_verified()
        {
            // Which chunks had the right bytes is not known any more: clients that read some do not get the rest.
            filled.replace_chunks((BTreeMap::new(), Vec::new()), watermark);
        }
        match self.stored_size().await {
            Ok(Some(size)) => self.stored(size).await,
            Ok(None) => {
                tokio::time::sleep(PAUSE).await;
                Step::Acquire
            }
            Err(error) => self.failed(&error).await,
        }
    }

    /// Takes over from a process that is gone.
    async fn take_over(&mut self, watch: &LeaseWatch) -> Step {
        let jitter = u64::from_be_bytes(*Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[0; 8])) % JITTER;
        let tuning = self.job.fills.tuning;
        tokio::time::sleep(Duration::from_millis(jitter).min(tuning.death / 24)).await;
        let layout = self.blob.as_ref().map(|(filled, _)| filled.layout());
        let (size, begun) = match self.size.or(watch.lease().map(|lease| lease.size)) {
            Some(size) => (size, None),
            // What is there is no lease.
            None => match self.open().await {
                Ok((size, begun)) => (size, Some(begun)),
                Err(step) => return step,
            },
        };
        let size = layout.and_then(|layout| layout.size).unwrap_or(size);
        let most = self.job.fills.memory.most();
        let chunk = layout.map(|layout| layout.chunk).or_else(|| self.cut(size));
        let Some(chunk) = chunk.filter(|chunk| *chunk <= most) else {
            return Step::Ended(Err(NotFilled::Refused(FillRefusal::TooLarge)));
        };
        match takeover::take_over(&self.object, watch.version(), (size, chunk, most), tuning).await {
            Ok(Some(taken)) => {
                self.failing = None;
                self.job.fills.metrics.fill_taken_over();
                Step::Own(Box::new(taken), begun)
            }
            Ok(None) => self.look().await,
            Err(error) => self.failed(&error).await,
        }
    }
}
