//! The connections of one fill: each fetches one segment after the other.
//!
//! A fill begins with one. [`Growth`] says how many there should be; a client that waits for bytes that no connection
//! will bring soon gets one at once, within the bounds, and after a second beyond `proxy.fill.connections` for just
//! these bytes. [`fetch`] is how one of them fetches a segment.

mod fetch;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::MissedTickBehavior;
use uuid::Uuid;

use super::Fills;
use super::counted::Counted;
use super::filled_blob::{FilledBlob, Watermark};
use super::growth::{Growth, Progress};
use super::plan::{NewChunk, Plan, SLOW, Segment};
use super::resuming_reader::ResumingReader;
use super::upstream_blob::UpstreamBlob;
use crate::telemetry::{InScope, Span};

/// How often the fill looks whether it should have more connections.
const LOOK: Duration = Duration::from_millis(10);
/// A client that waits for so long gets a connection beyond `proxy.fill.connections`.
const URGENT: Duration = Duration::from_secs(1);

/// What the connections of one fill share.
pub(super) struct Connections<'a> {
    fills: &'a Fills,
    blob: &'a UpstreamBlob,
    filled: &'a FilledBlob,
    generation: Uuid,
    plan: Mutex<Plan>,
    growth: Mutex<Growth>,
    written: Written,
    /// Why the whole fill fails, whatever other connections could still bring.
    failed: OnceLock<String>,
    /// Those of them that only fetch what a client waits for.
    urgent: AtomicUsize,
    /// Those that wait for something to fetch.
    idle: AtomicUsize,
    /// Those that brought bytes.
    delivering: AtomicUsize,
    received: AtomicU64,
    /// Connections that write.
    writing: AtomicUsize,
}

/// How bytes that were written are told.
pub(super) struct Written {
    pub(super) watermark: watch::Sender<Watermark>,
    /// The chunks that are whole.
    pub(super) whole: mpsc::UnboundedSender<u64>,
    /// The most bytes that a blob of unknown size may have.
    pub(super) at_most: u64,
}

/// What a connection is for.
enum Purpose {
    /// The blob, as long as so many connections help.
    Blob,
    /// One segment that a client waits for.
    Client(Segment),
}

impl<'a> Connections<'a> {
    /// For a fill whose upstream takes up to `most` connections.
    pub(super) fn new(
        (fills, blob): (&'a Fills, &'a UpstreamBlob),
        (filled, generation): (&'a FilledBlob, Uuid),
        (plan, most): (Plan, usize),
        written: Written,
    ) -> Self {
        Self {
            fills,
            blob,
            filled,
            generation,
            plan: Mutex::new(plan),
            growth: Mutex::new(Growth::new(most, Instant::now())),
            written,
            failed: OnceLock::new(),
            urgent: AtomicUsize::new(0),
            idle: AtomicUsize::new(0),
            delivering: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            writing: AtomicUsize::new(0),
        }
    }

    /// Fetches the whole blob: continues the first connection, if there is one, and makes others. The blob fails when
    /// the last connection does, or when bytes cannot be written.
    ///
    /// # Errors
    /// Why the last connection ended, or bytes were not written.
    pub(super) async fn run(&self, first: Option<(ResumingReader, Segment)>, parallel: bool) -> Result<(), String> {
        tokio::select! {
            fetched = self.fetch_all(first, parallel) => fetched,
            never = self.filled.supply_memory() => match never {},
        }
    }

    async fn fetch_all(&self, first: Option<(ResumingReader, Segment)>, parallel: bool) -> Result<(), String> {
        let mut connections = FuturesUnordered::new();
        let permit = self.fills.extra_connection();
        self.filled.meter.connects();
        connections.push(self.connection(first, Purpose::Blob, permit));
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = None;
        loop {
            tokio::select! {
                ended = connections.next() => match ended {
                    None => break,
                    Some(Ok(())) => {}
                    Some(Err(cause)) if self.failed.get().is_some() => return Err(cause),
                    Some(Err(cause)) => {
                        failed = Some(cause);
                        // An upstream may not like so many.
                        self.leave();
                        self.growth().refused(self.ordinary(), Instant::now());
                    }
                },
                _ = looks.tick(), if parallel => {
                    // What is left are connections whose segments others took over.
                    if self.plan().is_complete() && self.writing.load(Ordering::Relaxed) == 0 {
                        break;
                    }
                    if let Some((purpose, permit)) = self.grow() {
                        self.filled.meter.connects();
                        connections.push(self.connection(None, purpose, Some(permit)));
                    }
                }
            }
        }
        match failed {
            Some(cause) if !self.plan().is_complete() => Err(cause),
            _ => Ok(()),
        }
    }

    /// Whether there should be another connection now, and what for.
    fn grow(&self) -> Option<(Purpose, OwnedSemaphorePermit)> {
        let now = Instant::now();
        let connections = self.ordinary();
        let is_short = self.filled.is_short();
        let mut growth = self.growth();
        growth.look(Progress {
            now,
            received: self.received.load(Ordering::Relaxed),
            connections,
            all_deliver: self.delivering.load(Ordering::Relaxed) >= self.count().load(Ordering::Relaxed),
            memory_is_full: is_short,
        });
        let mut plan = self.plan();
        if plan.expects_no_ranges() {
            return None;
        }
        let late = plan.any_comes_late(&self.filled.waiting(now), now);
        if late && self.idle.load(Ordering::Relaxed) > 0 {
            self.filled.changed().notify_waiters();
            return None;
        }
        // Another connection would only wait for memory, too; but not for a chunk that has begun.
        let is_wanted = !is_short && connections < growth.wanted() && plan.has_untaken();
        if ((late && !is_short) || is_wanted)
            && let Some(permit) = self.fills.extra_connection()
            && (is_wanted || growth.add(now))
        {
            return Some((Purpose::Blob, permit));
        }
        if !late || !growth.may_exceed(now) {
            return None;
        }
        let urgent = self.filled.waiting(now.checked_sub(URGENT)?);
        let permit = self.fills.urgent_connection()?;
        let segment = plan.take_wanted(&urgent, now, &mut |new| self.may_begin(new))?;
        Some((Purpose::Client(segment), permit))
    }

    /// Fetches one segment after the other until the blob is complete, or there are enough connections without it.
    async fn connection(
        &self,
        begun: Option<(ResumingReader, Segment)>,
        purpose: Purpose,
        _permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), String> {
        let mut delivers = Counted::new(&self.delivering);
        let mut urgent = Counted::new(&self.urgent);
        let range = |segment: Segment| {
            let mut reader = ResumingReader::range(self.blob, segment.slice());
            if self.plan().expects_no_ranges() {
                reader.allow_whole();
            }
            (reader, segment)
        };
        let (mut next, is_urgent) = match purpose {
            Purpose::Blob => (begun, false),
            Purpose::Client(segment) => {
                urgent.count();
                (Some(range(segment)), true)
            }
        };
        loop {
            let (reader, segment) = match next.take() {
                Some(begun) => begun,
                None => match self.segment().await? {
                    Some(segment) => range(segment),
                    None => return Ok(()),
                },
            };
            let span = begin_span(segment);
            let fetched = self.fetch(reader, segment, &mut delivers).in_span(span.clone()).await;
            let is_ok = fetched.is_ok();
            if !is_ok {
                span.fail("upstream");
            }
            span.end();
            if !is_ok {
                self.plan().give_up(segment);
            }
            self.filled.changed().notify_waiters();
            let has_left = fetched?;
            if has_left || (is_ok && (is_urgent || self.are_too_many()) && self.leave()) {
                return Ok(());
            }
        }
    }

    /// The connections that there are.
    fn count(&self) -> &AtomicUsize {
        &self.filled.meter.connections
    }

    fn are_too_many(&self) -> bool {
        self.ordinary() > self.growth().wanted()
    }

    /// The number of connections that fetch the blob, whether clients wait or not.
    fn ordinary(&self) -> usize {
        self.count().load(Ordering::Relaxed).saturating_sub(self.urgent.load(Ordering::Relaxed))
    }

    /// Takes a connection off the count, unless it is the last.
    fn leave(&self) -> bool {
        let less = |count: usize| (count > 1).then(|| count - 1);
        self.count().fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    /// The segment to fetch next, now or when another connection turns out to be slow or breaks, or when there is
    /// memory for another chunk; `None` when the blob is complete. A connection that waits here holds no chunk.
    ///
    /// # Errors
    /// No memory will become free.
    async fn segment(&self) -> Result<Option<Segment>, String> {
        loop {
            let mut changed = std::pin::pin!(self.filled.changed().notified());
            // From now on nothing is missed.
            changed.as_mut().enable();
            let now = Instant::now();
            let wanted = self.filled.waiting(now);
            {
                let mut plan = self.plan();
                if plan.is_complete() {
                    return Ok(None);
                }
                if let Some(segment) = plan.take(&wanted, now, &mut |new| self.may_begin(new)) {
                    return Ok(Some(segment));
                }
                if let Some(cause) = self.filled.broken().filter(|_| plan.is_idle()) {
                    return Err(cause);
                }
            }
            let mut idle = Counted::new(&self.idle);
            idle.count();
            // Only time may have passed.
            let _ = tokio::time::timeout(SLOW, changed).await;
        }
    }

    fn may_begin(&self, new: NewChunk) -> bool {
        self.filled.may_begin(new, self.generation)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The span of fetching a segment.
fn begin_span(segment: Segment) -> Span {
    let span = Span::part("segment");
    if span.is_recording() {
        let position = |position: u64| i64::try_from(position).ok();
        span.set_if_known("pounce.segment.start", position(segment.start));
        // Unknown where the upstream says no size.
        span.set_if_known("pounce.segment.end", position(segment.end));
    }
    span
}

impl Drop for Connections<'_> {
    fn drop(&mut self) {
        self.count().store(0, Ordering::Relaxed);
    }
}
