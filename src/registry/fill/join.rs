//! Which fill a request joins, and when fills begin.

use std::sync::Arc;

use tracing::Instrument;

use super::filled_blob::FilledBlob;
use super::job::Job;
use super::prefetch_queue::Prefetch;
use super::running::{Fill, FillProgress, FillRefusal};
use super::upstream_blob::UpstreamBlob;
use super::{Fills, Running};
use crate::oci::{Error, Outcome};
use crate::registry::links::BlobStatus;
use crate::telemetry::{InScope, Span};

/// How many fills run or wait, each for at least one request.
const MOST: usize = 1024;
/// How many refused fills of other repositories a request ignores before it begins its own: their upstream may not have
/// the blob.
const IGNORED_REFUSALS: usize = 3;

/// What became of a blob that was not in the bucket a moment ago.
pub(in crate::registry) enum ColdBlob {
    /// The bucket has it by now, with this size in bytes.
    Stored(u64),
    /// A fill copies it: one that this request began (`Fill`), or another's (`Follow`).
    Filled {
        /// Its bytes, as they come.
        filled: Arc<FilledBlob>,
        /// Its fill.
        fill: Arc<Fill>,
        /// `Fill` or `Follow`.
        outcome: Outcome,
    },
}

/// Why a request joins no fill.
enum NotJoined {
    /// The bucket has the blob, with this size in bytes.
    AlreadyStored(u64),
    /// Too many fills wait.
    Busy,
}

impl Fills {
    /// The blob, as soon as its bytes come.
    ///
    /// # Errors
    /// - `BLOB_UNKNOWN`: the upstream does not have it in this repository.
    /// - `DENIED`, `TOOMANYREQUESTS`, `UNAVAILABLE`: the upstream does not send it.
    /// - `UNAVAILABLE`: too many fills wait.
    pub(in crate::registry) async fn open(
        self: &Arc<Self>,
        blob: &UpstreamBlob,
        status: BlobStatus,
    ) -> Result<ColdBlob, Error> {
        let mut refusals = 0..IGNORED_REFUSALS;
        loop {
            let (fill, outcome) = match self.join(blob, status.announced) {
                Ok(joined) => joined,
                Err(NotJoined::AlreadyStored(size)) => return Ok(ColdBlob::Stored(size)),
                Err(NotJoined::Busy) => return Err(FillRefusal::Busy.describe(blob)),
            };
            if outcome == Outcome::Follow {
                // It may be in another request's trace.
                Span::current().link(&fill.trace);
            }
            if outcome == Outcome::Follow && !fill.links(&blob.name) {
                if !status.member {
                    // Another repository's fill does not make it this repository's blob.
                    self.links.ask_upstream(&blob.name, &blob.digest).await?;
                }
                fill.add(&blob.name);
            }
            match fill.filled().await {
                Ok(filled) => {
                    filled.want();
                    return Ok(ColdBlob::Filled { filled, fill, outcome });
                }
                Err(FillRefusal::Upstream(_) | FillRefusal::NotMember(_))
                    if !fill.is_for(&blob.name) && refusals.next().is_some() => {}
                Err(refusal) => return Err(refusal.describe(blob)),
            }
        }
    }

    /// The fill of a blob: the running one (`Follow`), or a new one (`Fill`), which begins when fewer run than can at
    /// once. `announced` is the size that a manifest gives the blob.
    ///
    /// # Errors
    /// - A fill ended a moment ago: under the lock that is known, because a blob is remembered as stored before its
    ///   fill leaves the list.
    /// - Too many fills wait.
    fn join(self: &Arc<Self>, blob: &UpstreamBlob, announced: Option<u64>) -> Result<(Arc<Fill>, Outcome), NotJoined> {
        let mut running = self.running();
        if let Some(fill) = running.fills.get(&blob.digest) {
            return Ok((Arc::clone(fill), Outcome::Follow));
        }
        if let Some(size) = self.cache.blobs.present(&blob.digest) {
            return Err(NotJoined::AlreadyStored(size));
        }
        if running.fills.len() >= MOST {
            return Err(NotJoined::Busy);
        }
        let (fill, progress) = Fill::new(blob, announced);
        self.start(&mut running, blob.clone(), announced, &fill, progress);
        Ok((fill, Outcome::Fill))
    }

    /// Fills a blob for its repository without a client that waits for it, unless as many fills run as can at once.
    pub(in crate::registry) fn fill_in_background(self: &Arc<Self>, blob: &UpstreamBlob, announced: Option<u64>) {
        let is_free = self.permits.available_permits() > 0 || self.running().fills.contains_key(&blob.digest);
        if is_free && let Ok((fill, outcome)) = self.join(blob, announced) {
            fill.hold();
            if outcome == Outcome::Follow {
                fill.add(&blob.name);
            }
        }
    }

    /// Fills a blob that no client has asked for yet, when fewer than `proxy.fill.concurrency` fills run.
    pub(in crate::registry) fn prefetch(self: &Arc<Self>, blob: UpstreamBlob, announced: u64) {
        let mut running = self.running();
        // Another repository's fill says nothing about this one: its own upstream is asked when a client asks.
        if running.fills.contains_key(&blob.digest) {
            return;
        }
        running.prefetch.push(blob, announced);
        self.start_prefetches(&mut running);
    }

    fn start_prefetches(self: &Arc<Self>, running: &mut Running) {
        while running.fills.len() < self.concurrency && !self.background.is_closing() {
            let Some(Prefetch { blob, announced, scope }) = running.prefetch.pop() else {
                return;
            };
            let _entered = scope.enter();
            let digest = &blob.digest;
            if !running.fills.contains_key(digest) && self.cache.blobs.present(digest).is_none() {
                let (fill, progress) = Fill::new(&blob, Some(announced));
                fill.hold();
                self.start(running, blob, Some(announced), &fill, progress);
            }
        }
    }

    fn start(
        self: &Arc<Self>,
        running: &mut Running,
        blob: UpstreamBlob,
        announced: Option<u64>,
        fill: &Arc<Fill>,
        progress: FillProgress,
    ) {
        running.fills.insert(blob.digest, Arc::clone(fill));
        let job = Job { fills: Arc::clone(self), blob, announced };
        // Its lines in the log belong to the request that began it, and so does its span.
        let run = job.run(Arc::clone(fill), progress).in_span(fill.trace.clone());
        self.background.spawn(run.in_current_span());
    }

    /// Takes a fill off the list that no request needs; `false` if one does.
    pub(super) fn remove_unneeded(
        self: &Arc<Self>,
        blob: &UpstreamBlob,
        fill: &Arc<Fill>,
        filled: Option<&Arc<FilledBlob>>,
    ) -> bool {
        let mut running = self.running();
        let is_unneeded = fill.is_unneeded(filled);
        if is_unneeded {
            self.take_off(&mut running, blob, fill);
        }
        is_unneeded
    }

    /// Takes a fill off the list.
    pub(super) fn remove(self: &Arc<Self>, blob: &UpstreamBlob, fill: &Arc<Fill>) {
        self.take_off(&mut self.running(), blob, fill);
    }

    fn take_off(self: &Arc<Self>, running: &mut Running, blob: &UpstreamBlob, fill: &Arc<Fill>) {
        if running.fills.get(&blob.digest).is_some_and(|listed| Arc::ptr_eq(listed, fill)) {
            running.fills.remove(&blob.digest);
            self.start_prefetches(running);
        }
    }
}
