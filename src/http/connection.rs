//! One connection: what it does just now, and how long it may do nothing.
//!
//! hyper has one time for a header and for the pause before it. Proxies keep connections open for a minute
//! and more without using them, while nobody needs that long for a header; so both are kept here.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;

use super::observed::{Observer, Polled};
use crate::config::Limits;

/// Since when a piece of an answer waits for the client to take it, in milliseconds since the connection was
/// opened; 0: the client waits for the next one.
type Offered = Arc<AtomicU64>;

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
    /// The system takes no more bytes just now.
    writing: AtomicBool,
    /// Answers on their way.
    offers: Mutex<Vec<Offered>>,
    /// It has to make room.
    pub(super) evict: Notify,
    pub(super) evicted: AtomicBool,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            busy: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            writing: AtomicBool::new(false),
            offers: Mutex::default(),
            evict: Notify::new(),
            evicted: AtomicBool::new(false),
        })
    }

    fn now(&self) -> u64 {
        // A thousandth more, so that it is never 0.
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// A request begins; it ends when the result is dropped.
    pub(super) fn request(self: &Arc<Self>, version: Version) -> Busy {
        self.multiplexed
            .store(version == Version::HTTP_2, Ordering::Release);
        self.busy.fetch_add(1, Ordering::AcqRel);
        self.header_since.store(0, Ordering::Release);
        Busy(Arc::clone(self))
    }

    /// Bytes came.
    fn came(&self) {
        let between_requests = self.busy.load(Ordering::Acquire) == 0
            && self.header_since.load(Ordering::Acquire) == 0
            && !self.is_multiplexed();
        if between_requests {
            self.header_since.store(self.now(), Ordering::Release);
        }
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
    }

    /// When it became idle, if it is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let idle = self.busy.load(Ordering::Acquire) == 0 && !self.writing.load(Ordering::Acquire);
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

    /// Since when all that goes on is answers that wait for the client to take them, where each has a window of its
    /// own: as long as one request makes progress, it is not cut off for what others do. What does not overlap is
    /// watched by its bytes.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        let offers = self.lock_offers();
        if !self.is_multiplexed() || offers.len() < self.busy.load(Ordering::Acquire) {
            return None;
        }
        let offers = offers.iter().map(|offered| offered.load(Ordering::Acquire));
        let waiting: Option<Vec<_>> = offers.map(|since| (since > 0).then_some(since)).collect();
        let last = waiting?.into_iter().max()?;
        Some(self.opened + Duration::from_millis(last))
    }

    /// When it will have been idle, at reading a header, or at not taking an answer, for too long; `None`
    /// while it is neither.
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
        loop {
            let now = Instant::now();
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

/// The bytes of a connection. A client that does not take what it asked for loses it.
#[derive(Debug)]
pub(super) struct Socket<T> {
    io: T,
    activity: Arc<Activity>,
    /// How long a client may take for the next bytes of an answer.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Socket<T> {
    pub(super) const fn new(io: T, activity: Arc<Activity>, patience: Duration) -> Self {
        Self {
            io,
            activity,
            patience,
            stalled: None,
        }
    }

    fn written<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        let writing = polled.is_pending();
        self.activity.writing.store(writing, Ordering::Release);
        if !writing {
            self.stalled = None;
            return polled;
        }
        let patience = self.patience;
        let sleep = || Box::pin(tokio::time::sleep(patience));
        let stalled = self.stalled.get_or_insert_with(sleep);
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes no more",
        )))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.came();
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        let polled = match pieces {
            // The way through the system is shorter for one piece.
            [piece] => io.poll_write(cx, piece),
            pieces => io.poll_write_vectored(cx, pieces),
        };
        self.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.written(cx, polled)
    }
}
