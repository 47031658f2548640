//! Watching the lease of another process, and how that process is.

use std::time::{Duration, Instant, SystemTime};

use super::lease::{Lease, Look, Verdict, judge};
use super::lease_object::{LeaseObject, LeaseRead, LeaseVersion};
use crate::config::FillTuning;
use crate::store::StoreError;

/// A lease that this process does not own, and what it last saw of it.
#[derive(Debug)]
pub(super) struct LeaseWatch {
    object: LeaseObject,
    version: LeaseVersion,
    /// When this process first saw the present `ETag`, by its own clock, which nothing sets.
    since: Instant,
    /// The bucket's clock at the last look.
    date: Option<SystemTime>,
    tuning: FillTuning,
}

impl LeaseWatch {
    /// Of a lease that was read a moment ago.
    pub(super) fn new(
        object: &LeaseObject,
        (version, date): (LeaseVersion, Option<SystemTime>),
        tuning: FillTuning,
    ) -> Self {
        Self { object: object.clone(), version, since: Instant::now(), date, tuning }
    }

    pub(super) const fn version(&self) -> &LeaseVersion {
        &self.version
    }

    /// `None`: the object is no lease of this process's replicas.
    pub(super) const fn lease(&self) -> Option<&Lease> {
        self.version.lease.as_ref()
    }

    /// What this process may do.
    pub(super) fn verdict(&self) -> Verdict {
        let look = Look { since: self.since, age: self.version.age(self.date) };
        judge(self.lease(), look, Instant::now(), self.tuning.death)
    }

    /// Whether nothing was written for so long, by the bucket's clock, that a second look may find the owner dead.
    pub(super) fn is_old(&self) -> bool {
        Look { since: self.since, age: self.version.age(self.date) }.is_old(self.tuning.death)
    }

    /// Waits for a while, and looks again; `false` if the lease is gone.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(super) async fn look(&mut self) -> Result<bool, StoreError> {
        tokio::time::sleep(self.pause()).await;
        match self.object.read(Some(&self.version.etag)).await {
            Ok(LeaseRead::Absent) => return Ok(false),
            Ok(LeaseRead::Unchanged(date)) => self.date = date,
            Ok(LeaseRead::Changed(version, date)) => {
                *self = Self::new(&self.object, (*version, date), self.tuning);
            }
            // Nothing was seen, so nothing is judged anew.
            Err(error) => {
                // An owner may have written while the bucket did not answer.
                self.since = self.since.max(Instant::now().checked_sub(self.tuning.death / 2).unwrap_or(self.since));
                return Err(error);
            }
        }
        Ok(true)
    }

    /// By default a quarter of a second until there are bytes, and then half a second, or a second where nothing
    /// changes.
    fn pause(&self) -> Duration {
        let heartbeat = self.tuning.heartbeat;
        let has_bytes = self.lease().is_some_and(|lease| !lease.stored.is_empty() || !lease.heads.is_empty());
        match has_bytes {
            false => heartbeat / 12,
            true if self.since.elapsed() < heartbeat / 3 => heartbeat / 6,
            true => heartbeat / 3,
        }
    }
}
