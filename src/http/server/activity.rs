//! The activity of one connection: requests in flight, the header that is being read, writes that block.
//!
//! Times are milliseconds since the connection was opened, in atomics, so that the connection table can read them while
//! the connection works. 0 stands for "not now".

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Version;
use tokio::sync::Notify;

use super::HeaderBytes;

/// Since when a frame of a response body waits for the client to take it; 0: the client waits for the next frame.
pub(super) type PendingFrame = Arc<AtomicU64>;

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    opened: Instant,
    /// Requests whose response has not left whole.
    in_flight: AtomicUsize,
    /// Since when it is idle, if nothing is in flight.
    idle_since: AtomicU64,
    /// Since when a header is being read.
    header_since: AtomicU64,
    /// Its requests overlap, and bytes that come need not be a request's (HTTP/2).
    multiplexed: AtomicBool,
    /// The process shuts down: the next response is the last one.
    closing: AtomicBool,
    /// Since when the system takes no more bytes.
    blocked_since: AtomicU64,
    /// Bytes that the system took.
    written: AtomicU64,
    /// Its client takes responses too slowly.
    slow: AtomicBool,
    /// Bytes of the header that is being read.
    header: HeaderBytes,
    /// One for each response body on its way.
    pending: Mutex<Vec<PendingFrame>>,
    /// The client's first byte is one of TLS.
    began_tls: AtomicBool,
    /// Notified when the connection has to close for another one.
    pub(super) evict: Notify,
}

impl Activity {
    pub(super) fn new(header: HeaderBytes) -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            in_flight: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            blocked_since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            slow: AtomicBool::new(false),
            header,
            pending: Mutex::default(),
            began_tls: AtomicBool::new(false),
            evict: Notify::new(),
        })
    }

    /// The time now. One more than the milliseconds that passed, so that it is never 0.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    fn instant(&self, time: u64) -> Instant {
        self.opened + Duration::from_millis(time)
    }

    /// The header of a request has come whole.
    pub(super) fn request_begins(&self, version: Version) {
        self.multiplexed.store(version == Version::HTTP_2, Ordering::Release);
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.header_since.store(0, Ordering::Release);
        self.header.end();
    }

    /// The response has left whole, or never will.
    pub(super) fn request_ends(&self) {
        self.idle_since.store(self.now(), Ordering::Release);
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many requests are in flight.
    pub(super) fn requests_in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed) as u64
    }

    /// Bytes came from the client.
    pub(super) fn received(&self, bytes: usize) {
        if self.in_flight.load(Ordering::Acquire) == 0 {
            self.header.add(bytes);
        }
    }

    /// No more bytes are here. A header that began to come is incomplete, and its time runs: most headers come whole,
    /// and the clock is not read for them.
    pub(super) fn waits_for_bytes(&self) {
        let in_header = self.header.has_begun() && self.in_flight.load(Ordering::Acquire) == 0;
        if in_header && self.header_since.load(Ordering::Acquire) == 0 && !self.is_multiplexed() {
            self.header_since.store(self.now(), Ordering::Release);
        }
    }

    /// The client's first bytes came, and they begin TLS.
    pub(super) fn begins_tls(&self) {
        self.began_tls.store(true, Ordering::Relaxed);
    }

    /// Whether the client began with TLS.
    pub(super) fn began_tls(&self) -> bool {
        self.began_tls.load(Ordering::Relaxed)
    }

    /// The system took bytes for the client.
    pub(super) fn sent(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.blocked_since.load(Ordering::Relaxed) > 0 {
            self.blocked_since.store(0, Ordering::Release);
        }
    }

    /// The system takes no more bytes for now.
    pub(super) fn blocked(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now(), Ordering::Release);
        }
    }

    /// The TLS handshake ended, with this protocol (ALPN). Bytes that came so far were no header.
    pub(super) fn handshake_ends(&self, protocol: Option<&[u8]>) {
        let is_http2 = protocol == Some(b"h2");
        self.multiplexed.store(is_http2, Ordering::Release);
        self.idle_since.store(self.now(), Ordering::Release);
        self.header_since.store(0, Ordering::Release);
        self.header.end();
    }

    /// The process shuts down. From now on, a response is the last one; and the connection's idle time begins anew.
    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
        self.idle_since.store(self.now(), Ordering::Release);
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Whether requests overlap on it (HTTP/2).
    pub(super) fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Acquire)
    }

    /// Since when it is idle, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.in_flight.load(Ordering::Acquire) == 0 && self.blocked_since.load(Ordering::Acquire) == 0;
        let since = self.instant(self.idle_since.load(Ordering::Acquire));
        idle.then_some(since)
    }

    /// Since when a header is being read over HTTP/1.1, if one is.
    pub(super) fn header_since(&self) -> Option<Instant> {
        match self.header_since.load(Ordering::Acquire) {
            0 => None,
            since => Some(self.instant(since)),
        }
    }

    /// Since when an incomplete header takes memory, if one does.
    pub(super) fn large_header_since(&self) -> Option<Instant> {
        // With HTTP/2, the bytes may belong to any frame.
        let since = self.header_since();
        let since = since.unwrap_or_else(|| self.instant(self.idle_since.load(Ordering::Acquire)));
        self.header.takes_memory().then_some(since)
    }

    /// Stops counting the header's bytes, because the connection is about to be closed.
    pub(super) fn forget_header(&self) {
        self.header.end();
    }

    /// Bytes that the system has taken since the connection was opened.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn set_slow(&self, slow: bool) {
        self.slow.store(slow, Ordering::Release);
    }

    /// Whether its client takes responses too slowly, as `timeouts` measured.
    pub(super) fn is_slow(&self) -> bool {
        self.slow.load(Ordering::Acquire)
    }

    /// Whether its client has taken nothing of a response for `length`, or takes it too slowly.
    pub(super) fn is_stuck(&self, length: Duration) -> bool {
        self.is_slow() || self.stalled_since().is_some_and(|since| since.elapsed() >= length)
    }

    /// Since when the client takes nothing of its responses. With HTTP/2, each response has a flow-control window of
    /// its own, so the connection stalls only if all its requests have responses that wait: a request that makes
    /// progress is not cut off for others.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let blocked = self.blocked_since.load(Ordering::Acquire);
        if !self.is_multiplexed() || blocked > 0 {
            return (blocked > 0).then(|| self.instant(blocked));
        }
        let pending = self.lock_pending();
        if pending.len() < self.in_flight.load(Ordering::Acquire) {
            return None;
        }
        let pending = pending.iter().map(|frame| frame.load(Ordering::Acquire));
        let pending: Option<Vec<_>> = pending.map(|since| (since > 0).then_some(since)).collect();
        let last = pending?.into_iter().max()?;
        Some(self.instant(last))
    }

    /// A response body begins.
    pub(super) fn body_begins(&self) -> PendingFrame {
        let frame = PendingFrame::default();
        self.lock_pending().push(Arc::clone(&frame));
        frame
    }

    /// A response body ends.
    pub(super) fn body_ends(&self, frame: &PendingFrame) {
        self.lock_pending().retain(|other| !Arc::ptr_eq(other, frame));
    }

    fn lock_pending(&self) -> MutexGuard<'_, Vec<PendingFrame>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
