//! Rounds in the serving processes (`storage.maintenance.gc`): one process at a time, once in the interval for all of
//! them together, because the age of the last round is the bucket's.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use super::collection::GarbageCollection;
use super::lease::{Acquired, Collector};
use super::progress::RoundProgress;
use super::report::Report;
use super::round::{Begun, RoundError, RoundOptions};
use crate::config;
use crate::registry::condemned::GcState;
use crate::registry::runtime::random_share;
use crate::store::{Key, Polled, StoreError};
use crate::telemetry::Span;

/// The most requests a second, so that clients do not notice.
const RATE: u32 = 100;
/// How much later than it is due a round begins at most, as a part of the interval, so that processes differ.
const JITTER: f64 = 0.05;
/// How long a process waits at its start, at most: some start together.
const START: Duration = Duration::from_secs(5);
/// How long a process waits after a failure, or while another one collects, at most.
const PAUSE: Duration = Duration::from_mins(10);

impl GarbageCollection {
    /// Collects now and then, until the registry stops; never if it is read-only.
    pub fn collect_periodically(self: &Arc<Self>, settings: config::GarbageCollection) {
        if !settings.enabled || settings.interval.is_zero() || self.settings.is_read_only {
            return;
        }
        let gc = Arc::clone(self);
        let stop = self.background.closing_token();
        // Not dropped in the middle of a round: it ends by itself soon after `stop`.
        self.background.accompany(async move {
            let interval = settings.interval;
            let mut pause = interval.mul_f64(JITTER).min(START).mul_f64(random_share());
            loop {
                if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                    return;
                }
                let jitter = interval.mul_f64(JITTER).mul_f64(random_share());
                pause = match gc.until_due(interval).await {
                    Some(Duration::ZERO) if gc.collect(&settings, &stop).await => interval + jitter,
                    None | Some(Duration::ZERO) => PAUSE.min(interval),
                    Some(left) => left + jitter,
                };
                if !settings.dryrun && !stop.is_cancelled() {
                    pause = pause.min(gc.retire().await);
                }
            }
        });
    }

    /// Retires the batches whose keys were deleted long enough ago: they would cost writers something until the next
    /// round. Returns when it should be called again.
    async fn retire(&self) -> Duration {
        match self.try_to_retire().await {
            Ok(Some(left)) => left,
            Ok(None) => Duration::MAX,
            Err(error) => {
                tracing::debug!(%error, "old batches of garbage collection were not retired");
                PAUSE
            }
        }
    }

    async fn try_to_retire(&self) -> Result<Option<Duration>, RoundError> {
        let timing = self.settings.timing;
        let Polled::Read(version, bytes) = self.store.poll(Key::GcState, None).await? else {
            return Ok(None);
        };
        let (Ok(state), Some(now)) = (GcState::decode(&bytes), version.date) else {
            return Ok(None);
        };
        let Some(first) = state.batches.iter().filter_map(|batch| batch.retires(timing.retire)).min() else {
            return Ok(None);
        };
        let left = (UNIX_EPOCH + Duration::from_secs(first)).duration_since(now).unwrap_or_default();
        if !left.is_zero() {
            let jitter = timing.retire.mul_f64(JITTER).mul_f64(random_share());
            return Ok(Some(left + jitter));
        }
        match Collector::acquire(&self.store, self.collector_options(RATE, false)).await? {
            Acquired::Held(collector) => {
                let retired = collector.retire().await;
                collector.release().await?;
                retired?;
                Ok(None)
            }
            // The other process does it, or the log said why.
            Acquired::Busy(_) | Acquired::Refused(_) => Ok(Some(PAUSE)),
        }
    }

    /// How long it is until a round is due; `None` if the bucket does not tell.
    async fn until_due(&self, interval: Duration) -> Option<Duration> {
        let last = match self.store.poll(Key::GcRound, None).await {
            Ok(Polled::Absent) => return Some(Duration::ZERO),
            Ok(Polled::Read(version, _) | Polled::TooLarge(version)) => version,
            Ok(Polled::Unchanged { .. }) => return None,
            Err(error) => {
                if matches!(error, StoreError::Denied { .. }) && !self.is_denied.swap(true, Relaxed) {
                    let message = "garbage is not collected, because the credentials do not allow to read when that was last \
                                   done: allow them to read, write, list and delete pounce/gc/* and pounce/pulled/*";
                    tracing::warn!(%error, "{message}");
                } else {
                    tracing::debug!(%error, "the last garbage collection is not known");
                }
                return None;
            }
        };
        let age = last.date.zip(last.modified).and_then(|(date, modified)| date.duration_since(modified).ok());
        Some(interval.saturating_sub(age.unwrap_or_default()))
    }

    /// A round; `false`: another process has it, or it failed.
    async fn collect(&self, settings: &config::GarbageCollection, stop: &CancellationToken) -> bool {
        let options = RoundOptions { dry_run: settings.dryrun, is_exclusive: false, rate: RATE };
        // Without its requests, which are as many as the bucket has repositories and manifests.
        let span = Span::root("garbage collection");
        match self.try_to_collect(options, stop).await {
            Ok(Some(report)) => {
                let result = if report.unfinished().is_none() { "done" } else { "incomplete" };
                span.set("pounce.gc.result", result);
                describe(&span, &report);
                self.metrics.gc().round_ends(result);
                self.count(&report);
                report.log();
                if settings.dryrun {
                    // So that no other process surveys the bucket for the same.
                    self.note_end(&report).await;
                }
                true
            }
            Ok(None) => {
                span.set("pounce.gc.result", "busy");
                self.metrics.gc().round_ends("busy");
                false
            }
            Err(error) => {
                span.fail("gc_failed");
                self.metrics.gc().round_ends("failed");
                tracing::warn!(%error, "garbage collection failed, and is tried again");
                false
            }
        }
    }

    fn count(&self, report: &Report) {
        let deleted = report.deleted_in_all();
        self.metrics.gc().deleted(deleted.count, deleted.bytes);
        self.metrics.gc().condemned(report.condemned, report.kept);
        self.metrics.gc().bucket(report.after.bytes);
    }

    async fn try_to_collect(
        &self,
        options: RoundOptions,
        stop: &CancellationToken,
    ) -> Result<Option<Report>, RoundError> {
        let progress = Arc::new(RoundProgress::default());
        match self.begin(options, &progress, stop).await? {
            Begun::Round(round) => Ok(Some(self.finish(*round, &progress, stop).await?)),
            Begun::Stopped => Ok(None),
            Begun::Busy(age) => {
                tracing::debug!(?age, "another process collects garbage");
                Ok(None)
            }
            Begun::Refused(why) => {
                if self.is_refused.swap(true, Relaxed) {
                    return Ok(None);
                }
                tracing::warn!(%why, "garbage is not collected");
                Ok(None)
            }
        }
    }
}

/// What a trace says of a round.
fn describe(span: &Span, report: &Report) {
    let deleted = report.deleted_in_all();
    let figures = [
        ("pounce.gc.deleted.keys", deleted.count),
        ("pounce.gc.deleted.bytes", deleted.bytes),
        ("pounce.gc.condemned.keys", report.condemned),
        ("pounce.gc.bucket.bytes", report.after.bytes),
    ];
    for (key, figure) in figures {
        span.set_if_known(key, i64::try_from(figure).ok());
    }
}
