//! One connection: what it does just now, and how long it may do nothing.
//!
//! hyper has one time for a header and for the pause before it. Proxies keep connections open for a minute and more
//! without using them, while nobody needs that long for a header; so both are kept here.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::http::Version;
use tokio::sync::Notify;

use super::header_bytes::HeaderBytes;
use super::observed::{Observer, Polled};
use crate::config::Limits;

/// Since when a piece of an answer waits for the client to take it, in milliseconds since the connection was opened; 0:
/// the client waits for the next one.
type Offered = Arc<AtomicU64>;

/// So many bytes a second, a client takes at least, or its connection may have to make room for another one: less than
/// the slowest network, and more than a client that only keeps its place.
const LEAST: u64 = 1 << 10;
/// For how long that is measured, at least.
const MEASURED: Duration = Duration::from_secs(15);

/// What a connection does just now.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests whose answer has not left whole.
    busy: AtomicUsize,
    /// Since when it is idle, in milliseconds since it was opened.
    idle_since: AtomicU64,
    /// When the header that is being read began, likewise; 0: there is none.
    header_since: AtomicU64,
    /// Its requests overlap, and not all that comes is one (HTTP/2).
    multiplexed: AtomicBool,
    /// The process ends: the next answer is the last one.
    ending: AtomicBool,
    /// Since when the system takes no more bytes, likewise; 0: it takes them.
    writing_since: AtomicU64,
    /// Bytes that the system took.
    written: AtomicU64,
    /// Its client takes answers more slowly than [`LEAST`].
    slow: AtomicBool,
    /// Bytes of the header that is being read.
    header: HeaderBytes,
    /// Answers on their way.
    offers: Mutex<Vec<Offered>>,
    /// It has to make room.
    pub(super) evict: Notify,
}

impl Activity {
    pub(super) fn new(header: HeaderBytes) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            writing_since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            header,
            offers: Mutex::default(),
            evict: Notify::new(),
        })
    }

    fn now(&self) -> u64 {
        // A thousandth more, so that it is never 0.
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A request begins; it ends when the result is dropped.
    pub(super) fn request(self: &Arc<Self>, version: Version) -> Busy {
        self.multiplexed.store(version == Version::HTTP_2, Ordering::Release);
        self.busy.fetch_add(1, Ordering::AcqRel);
        self.header_since.store(0, Ordering::Release);
        self.header.end();
        Busy(Arc::clone(self))
    }

    /// Bytes came.
    pub(super) fn came(&self, bytes: usize) {
        if self.busy.load(Ordering::Acquire) > 0 {
            return;
        }
        self.header.add(bytes);
        if self.header_since.load(Ordering::Acquire) == 0 && !self.is_multiplexed() {
            self.header_since.store(self.now(), Ordering::Release);
        }
    }

    /// The system took bytes of answers, or (`None`) takes no more.
    pub(super) fn went(&self, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => {
                self.written.fetch_add(bytes as u64, Ordering::Relaxed);
                if self.writing_since.load(Ordering::Relaxed) > 0 {
                    self.writing_since.store(0, Ordering::Release);
                }
            }
            None if self.writing_since.load(Ordering::Relaxed) == 0 => {
                self.writing_since.store(self.now(), Ordering::Release);
            }
            None => {}
        }
    }

    /// Since when a header is being read that takes memory, if one is.
    pub(super) fn header_since(&self) -> Option<Instant> {
        let since = match self.header_since.load(Ordering::Acquire) {
            // With HTTP/2, it may be any frame's.
            0 => self.idle_since.load(Ordering::Acquire),
            began => began,
        };
        let takes_memory = self.header.takes_memory();
        takes_memory.then(|| self.opened + Duration::from_millis(since))
    }

    /// The header does not count any more: its connection is about to be closed.
    pub(super) fn forget_header(&self) {
        self.header.end();
    }

    /// Whether its client took nothing of an answer for so long, or takes too little.
    pub(super) fn is_stuck(&self, length: Duration) -> bool {
        let stalled = self.stalled_since();
        self.is_slow() || stalled.is_some_and(|since| since.elapsed() >= length)
    }

    /// Whether its client takes answers more slowly than [`LEAST`].
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Acquire)
    }

    /// From now on, an answer is the last one; and however long it was idle, it begins to rest now.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.idle_since.store(self.now(), Ordering::Release);
    }

    /// What its handshake settled on. What came so far was no header.
    pub(super) fn speaks(&self, protocol: Option<&[u8]>) {
        let is_http2 = protocol == Some(b"h2");
        self.multiplexed.store(is_http2, Ordering::Release);
        self.idle_since.store(self.now(), Ordering::Release);
        self.header_since.store(0, Ordering::Release);
        self.header.end();
    }

    /// When it became idle, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.busy.load(Ordering::Acquire) == 0 && self.writing_since.load(Ordering::Acquire) == 0;
        let since = Duration::from_millis(self.idle_since.load(Ordering::Acquire));
        idle.then(|| self.opened + since)
    }

    /// Whether requests overlap on it.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Acquire)
    }

    fn lock_offers(&self) -> MutexGuard<'_, Vec<Offered>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the client takes nothing of its answers. With HTTP/2, where each has a window of its own, all that
    /// goes on must be answers that wait: as long as one request makes progress, none is cut off for what others do.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let writing = self.writing_since.load(Ordering::Acquire);
        if !self.is_multiplexed() || writing > 0 {
            return (writing > 0).then(|| self.opened + Duration::from_millis(writing));
        }
        let offers = self.lock_offers();
        if offers.len() < self.busy.load(Ordering::Acquire) {
            return None;
        }
        let offers = offers.iter().map(|offered| offered.load(Ordering::Acquire));
        let offered: Option<Vec<_>> = offers.map(|since| (since > 0).then_some(since)).collect();
        let last = offered?.into_iter().max()?;
        Some(self.opened + Duration::from_millis(last))
    }

    /// When it will have been idle, at reading a header, or at not taking an answer, for too long; `None` while it is
    /// neither.
    fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let Some(idle) = self.idle_since() else {
            return Some(self.stalled_since()? + limits.writetimeout);
        };
        Some(match self.header_since.load(Ordering::Acquire) {
            // Also before the first request: clients open connections in advance, and send on them later.
            0 => idle + limits.idletimeout,
            began => self.opened + Duration::from_millis(began) + limits.headertimeout,
        })
    }

    /// Returns once it was idle, or at reading a header, for too long.
    pub(super) async fn overdue(&self, limits: &Limits) {
        let mut measured = (Instant::now(), self.written.load(Ordering::Relaxed));
        loop {
            let now = Instant::now();
            measured = self.measure(measured);
            // What begins meanwhile has at least so long.
            let least = limits.headertimeout.min(limits.writetimeout);
            let look = now + least.min(limits.idletimeout);
            let deadline = self.deadline(limits).unwrap_or(look);
            if deadline <= now {
                return;
            }
            tokio::time::sleep_until(deadline.min(look).into()).await;
        }
    }

    /// Looks how much the client took since the last time, if that is long enough ago.
    fn measure(&self, before: (Instant, u64)) -> (Instant, u64) {
        let (length, written) = (before.0.elapsed(), self.written.load(Ordering::Relaxed));
        if length < MEASURED {
            return before;
        }
        let least = LEAST.saturating_mul(length.as_secs());
        let slow = self.stalled_since().is_some() && written - before.1 < least;
        self.slow.store(slow, Ordering::Release);
        (Instant::now(), written)
    }

    /// How much longer it has to rest until it did for so long; what has begun to come is a request.
    pub(super) fn rests(&self, length: Duration) -> Duration {
        let idle = self.idle_since();
        let idle = idle.filter(|_| self.header_since.load(Ordering::Acquire) == 0);
        idle.map_or(length, |since| length.saturating_sub(since.elapsed()))
    }

    /// Returns once it is idle, or takes nothing for so long, which is how often it is looked at.
    pub(super) async fn idle(&self, often: Duration) {
        loop {
            tokio::time::sleep(often).await;
            let stalled = self.stalled_since().map(|since| since.elapsed());
            if self.idle_since().is_some() || stalled.is_some_and(|length| length >= often) {
                return;
            }
        }
    }
}

/// A request that is under way.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    /// Whether requests overlap on its connection.
    pub(super) fn is_multiplexed(&self) -> bool {
        self.0.is_multiplexed()
    }

    /// Whether its answer has to say that the connection ends. (HTTP/2 says it otherwise.)
    pub(super) fn is_last(&self) -> bool {
        self.0.ending.load(Ordering::Acquire) && !self.is_multiplexed()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.now(), Ordering::Release);
        self.0.busy.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The body of an answer: its request ends with it.
pub(super) struct Answering {
    offered: Offered,
    busy: Busy,
}

impl Answering {
    pub(super) fn new(busy: Busy) -> Self {
        let offered = Offered::default();
        busy.0.lock_offers().push(Arc::clone(&offered));
        Self { offered, busy }
    }
}

impl Observer for Answering {
    fn polled(&mut self, polled: &Polled) {
        let waits = matches!(polled, Poll::Ready(Some(Ok(_))));
        let since = if waits { self.busy.0.now() } else { 0 };
        self.offered.store(since, Ordering::Release);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut offers = self.busy.0.lock_offers();
        offers.retain(|offered| !Arc::ptr_eq(offered, &self.offered));
    }
}
