//! What pushes share: places for bodies that are read, and memory for their bytes.
//!
//! A user, or clients of one neighbourhood where users are not known, have three quarters of either at most. A body
//! that comes too slowly loses its place, and the memory with it, when others wait: a client that sends nothing would
//! otherwise keep them for as long as it likes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::oci::{Error, ErrorCode};
use crate::shares::{Share, Shares, neighbourhood};

/// How many pushes are read from at once. The next one waits.
const MAX_BODIES: usize = 32;
/// How many of these one pusher has.
const MAX_OF_ONE: usize = 24;
/// How long a push waits for a place: less than the minute after which many proxies give up.
const PATIENCE: Duration = Duration::from_secs(50);
/// The most bytes of all pushes that are in memory: a push reserves a part of it at a time, so that at least three go
/// on with the largest parts, and 19 with those of the default.
const MAX_MEMORY: usize = 192 << 20;
/// How many of these are one pusher's.
const MAX_MEMORY_OF_ONE: usize = 144 << 20;
/// The first bytes of a part, which come with the place: 8 MiB for all places. So a push of a few bytes, and one that
/// never sends more, keep no memory from others.
pub(super) const FREE: u64 = 256 << 10;
/// How long a body may come too slowly while others wait.
const WHILE_WANTED: Duration = Duration::from_secs(10);
/// How often is looked whether others wait.
const LOOK: Duration = Duration::from_millis(500);
/// What a body has to have in that time: as much as in [`super::body`] without others, in a minute.
const LEAST: u64 = (1 << 20) / 6;

/// Whose places and memory a push takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pusher {
    /// A user.
    User(Arc<str>),
    /// Clients that do not log in, of one neighbourhood of addresses.
    Neighbourhood(IpAddr),
    /// Blobs of an upstream that come as a push does.
    Upstream,
}

impl Pusher {
    /// The user, if there is one; otherwise the neighbourhood of the address.
    #[must_use]
    pub fn of(user: Option<&Arc<str>>, address: IpAddr) -> Self {
        user.map_or_else(|| Self::Neighbourhood(neighbourhood(address)), |user| Self::User(Arc::clone(user)))
    }
}

/// The places and the memory of a registry.
#[derive(Clone, Debug)]
pub(super) struct Places {
    bodies: Arc<Shares<Pusher>>,
    memory: Arc<Shares<Pusher>>,
}

/// A place among those whose bodies are read.
#[derive(Debug)]
pub struct Turn {
    place: Share<Pusher>,
    places: Places,
    began: Instant,
}

impl Places {
    pub(super) fn new() -> Self {
        Self { bodies: Shares::new(MAX_BODIES, MAX_OF_ONE), memory: Shares::new(MAX_MEMORY, MAX_MEMORY_OF_ONE) }
    }

    fn turn(&self, place: Share<Pusher>) -> Arc<Turn> {
        Arc::new(Turn { place, places: self.clone(), began: Instant::now() })
    }

    /// A place, if there is one now.
    pub(super) fn now(&self, pusher: &Pusher) -> Option<Arc<Turn>> {
        let place = self.bodies.take_now(pusher, 1)?;
        Some(self.turn(place))
    }

    /// A place, however long that takes.
    pub(super) async fn at_last(&self, pusher: &Pusher) -> Arc<Turn> {
        self.turn(self.bodies.take(pusher, 1).await)
    }

    /// A place.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS`: there was none for a while.
    pub(super) async fn soon(&self, pusher: &Pusher) -> Result<Arc<Turn>, Error> {
        let turn = tokio::time::timeout(PATIENCE, self.at_last(pusher)).await;
        turn.map_err(|_| {
            let message = "too many blobs are being pushed, try again later";
            Error::new(ErrorCode::TooManyRequests, message).retry_after(Some(WHILE_WANTED))
        })
    }
}

impl Turn {
    /// Memory for so many bytes, which there is in the end.
    pub(super) async fn memory(&self, bytes: u64) -> Share<Pusher> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.places.memory.take(self.place.holder(), bytes).await
    }

    fn is_wanted(&self) -> bool {
        let pusher = self.place.holder();
        self.places.bodies.is_wanted_by_others(pusher) || self.places.memory.is_wanted_by_others(pusher)
    }

    /// Whether a body of which `came` bytes are here since then has to make room for others.
    pub(super) fn is_lost(&self, since: Instant, came: u64) -> bool {
        came < LEAST && since.elapsed() >= WHILE_WANTED && self.is_wanted()
    }

    /// Waits until a body that sends nothing more has to make room for others.
    pub(super) async fn lost(&self, mut since: Instant, mut came: u64) {
        loop {
            let left = WHILE_WANTED.saturating_sub(since.elapsed());
            tokio::time::sleep(left.max(LOOK)).await;
            if self.is_lost(since, came) {
                return;
            }
            if came >= LEAST {
                (since, came) = (Instant::now(), 0);
            }
        }
    }

    /// A window of time in which bytes are counted is over.
    pub(super) fn is_over(since: Instant) -> bool {
        since.elapsed() >= WHILE_WANTED
    }

    /// Reads something small to its end, unless it has to make room for others first.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS`: it came too slowly, and others waited.
    pub async fn whole<T>(&self, reading: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            read = reading => Ok(read),
            () = self.lost(self.began, 0) => Err(made_room()),
        }
    }
}

/// What a client is told whose body had to make room.
pub(super) fn made_room() -> Error {
    let message = "the body came too slowly while other pushes waited, push it again";
    Error::new(ErrorCode::TooManyRequests, message).retry_after(Some(WHILE_WANTED))
}
