//! Permits for bodies that are read, and memory for their bytes, which all pushes share.
//!
//! A user, or the clients of one neighbourhood where users are not known, gets three quarters of either at most. A body
//! that comes too slowly loses its permit, and the memory with it, when others wait, because a client that sends
//! nothing would otherwise keep them for as long as it likes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client_network::neighbourhood;
use crate::fair_semaphore::{FairPermit, FairSemaphore};
use crate::oci::{Error, ErrorCode};

/// How many bodies are read at once. The next one waits.
const MAX_BODIES: usize = 32;
/// How many of these one pusher has.
const MAX_BODIES_OF_ONE: usize = 24;
/// How long a push waits for a permit: less than the minute after which many proxies give up.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(50);
/// How many bytes of all pushes are in memory at most. A push reserves those of a part at a time, so that at least
/// three pushes go on with the largest parts, and 19 with those of the default.
const MAX_MEMORY: usize = 192 << 20;
/// How many of these are one pusher's.
const MAX_MEMORY_OF_ONE: usize = 144 << 20;
/// The first bytes of a part come with the permit: 8 MiB for all permits. So a push of a few bytes, and one that never
/// sends more, keep no memory from others.
pub(super) const FREE: u64 = 256 << 10;
/// How long a body may come too slowly while others wait.
const SLOW_WINDOW: Duration = Duration::from_secs(10);
/// How often a slow body checks whether others wait.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// How many bytes have to come in a [`SLOW_WINDOW`]: the rate of [`super::hashing_body`] without others, in a minute.
const LEAST: u64 = (1 << 20) / 6;

/// Whose permits and memory a push takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pusher {
    /// A user.
    User(Arc<str>),
    /// Clients that do not log in, of one neighbourhood of addresses.
    Neighbourhood(IpAddr),
}

impl Pusher {
    /// The user, if there is one; otherwise the neighbourhood of the address.
    #[must_use]
    pub fn of(user: Option<&Arc<str>>, address: IpAddr) -> Self {
        user.map_or_else(|| Self::Neighbourhood(neighbourhood(address)), |user| Self::User(Arc::clone(user)))
    }
}

/// The permits and the memory of a registry.
#[derive(Clone, Debug)]
pub(in crate::registry) struct BodyPermits {
    bodies: Arc<FairSemaphore<Pusher>>,
    memory: Arc<FairSemaphore<Pusher>>,
}

/// The permit to read a body.
#[derive(Debug)]
pub struct BodyPermit {
    share: FairPermit<Pusher>,
    permits: BodyPermits,
    began: Instant,
}

impl Default for BodyPermits {
    fn default() -> Self {
        Self {
            bodies: FairSemaphore::new(MAX_BODIES, MAX_BODIES_OF_ONE),
            memory: FairSemaphore::new(MAX_MEMORY, MAX_MEMORY_OF_ONE),
        }
    }
}

impl BodyPermits {
    fn permit(&self, share: FairPermit<Pusher>) -> Arc<BodyPermit> {
        Arc::new(BodyPermit { share, permits: self.clone(), began: Instant::now() })
    }

    /// A permit.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS`: there was none for a while.
    pub(in crate::registry) async fn acquire(&self, pusher: &Pusher) -> Result<Arc<BodyPermit>, Error> {
        let share = tokio::time::timeout(PERMIT_TIMEOUT, self.bodies.take(pusher, 1)).await;
        let share = share.map_err(|_| {
            let message = "too many blobs are being pushed, try again later";
            Error::new(ErrorCode::TooManyRequests, message).with_retry_after(Some(SLOW_WINDOW))
        })?;
        Ok(self.permit(share))
    }
}

impl BodyPermit {
    /// Waits for memory for so many bytes.
    pub(super) async fn reserve(&self, bytes: u64) -> FairPermit<Pusher> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.permits.memory.take(self.share.holder(), bytes).await
    }

    fn is_wanted(&self) -> bool {
        let pusher = self.share.holder();
        self.permits.bodies.is_wanted_by_others(pusher) || self.permits.memory.is_wanted_by_others(pusher)
    }

    /// Whether a body of which `came` bytes came since then has to give its permit to others.
    pub(super) fn is_revoked(&self, since: Instant, came: u64) -> bool {
        came < LEAST && since.elapsed() >= SLOW_WINDOW && self.is_wanted()
    }

    /// Waits until a body that sends nothing more has to give its permit to others.
    pub(super) async fn revoked(&self, mut since: Instant, mut came: u64) {
        loop {
            let left = SLOW_WINDOW.saturating_sub(since.elapsed());
            tokio::time::sleep(left.max(CHECK_INTERVAL)).await;
            if self.is_revoked(since, came) {
                return;
            }
            if came >= LEAST {
                (since, came) = (Instant::now(), 0);
            }
        }
    }

    /// Whether a window of time in which bytes are counted is over.
    pub(super) fn is_window_over(since: Instant) -> bool {
        since.elapsed() >= SLOW_WINDOW
    }

    /// Reads something small to its end, unless it has to give its permit to others first.
    ///
    /// # Errors
    /// `TOOMANYREQUESTS`: it came too slowly, and others waited.
    pub async fn read_whole<T>(&self, reading: impl Future<Output = T>) -> Result<T, Error> {
        tokio::select! {
            read = reading => Ok(read),
            () = self.revoked(self.began, 0) => Err(revoked()),
        }
    }
}

/// The error for a client whose body lost its permit.
pub(super) fn revoked() -> Error {
    let message = "the body came too slowly while other pushes waited, push it again";
    Error::new(ErrorCode::TooManyRequests, message).with_retry_after(Some(SLOW_WINDOW))
}
