//! Following the process that fills a shared blob, and taking over from it.

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use super::{PAUSE, SharedFill, Step};
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

impl SharedFill<'_> {
    /// Follows the process that fills, until the blob is stored, or this process fills itself.
    pub(super) async fn follow(&mut self, mut watch: LeaseWatch, wants: &mut Wants) -> Step {
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

    /// The lease is gone.
    pub(super) async fn vanished(&mut self) -> Step {
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
