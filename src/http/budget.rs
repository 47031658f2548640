//! Memory for responses: a budget in bytes for all connections, of which one client gets a share.
//!
//! A client that stops reading keeps its response in memory. So a response reserves its bytes before it is sent, and
//! releases them when its last byte has left. A response that finds no memory waits, and holds none meanwhile; after
//! [`MAX_WAIT`] the client is told to try again. No two responses wait for each other, because one that holds memory
//! never waits for more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::server::{InspectedBody, Inspector, Polled};
use crate::client_network::network;
use crate::oci::{Error, ErrorCode};

/// How long a response waits for memory: less than the 30 s after which containerd gives up.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// After how long a client is told to try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How many responses of one client may wait: each keeps its request, of some KiB.
const MAX_WAITING: usize = 1024;

/// Memory that responses share, in bytes.
#[derive(Debug)]
pub(super) struct Budget {
    all: Arc<Semaphore>,
    /// The most bytes that one client gets.
    share: usize,
    clients: Mutex<Clients>,
    /// Notified when a response begins to wait.
    shortage: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Clients {
    /// The clients that hold memory or wait for it.
    shares: HashMap<IpAddr, Share>,
    /// The bytes that are held, by address and length, because several responses of the same bytes take memory once.
    held: HashMap<(usize, usize), Weak<Reservation>>,
}

/// The memory of one client, and how many of its responses hold some or wait.
#[derive(Debug)]
struct Share {
    memory: Arc<Semaphore>,
    reservations: usize,
    waiting: usize,
}

/// Memory of the budget, until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    client: IpAddr,
    /// The key of its bytes in [`Clients::held`].
    bytes: Option<(usize, usize)>,
    memory: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl Budget {
    /// `shortage` is notified when a response begins to wait.
    pub(super) fn new(all: usize, share: usize, shortage: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self { all: Arc::new(Semaphore::new(all)), share, clients: Mutex::default(), shortage })
    }

    /// Reserves memory, if there is enough now.
    pub(super) fn try_reserve(self: &Arc<Self>, client: IpAddr, bytes: usize) -> Option<Reservation> {
        let bytes = self.permits(bytes);
        let (mut reservation, share) = self.enter(client);
        let own = share.try_acquire_many_owned(bytes).ok()?;
        let all = Arc::clone(&self.all).try_acquire_many_owned(bytes).ok()?;
        reservation.memory = Some((own, all));
        Some(reservation)
    }

    /// Reserves memory, and waits for it.
    ///
    /// # Errors
    /// `UNAVAILABLE`: there was none for [`MAX_WAIT`], or too many of the client's responses wait.
    pub(super) async fn reserve(self: &Arc<Self>, client: IpAddr, bytes: usize) -> Result<Reservation, Error> {
        if let Some(reservation) = self.try_reserve(client, bytes) {
            return Ok(reservation);
        }
        let bytes = self.permits(bytes);
        let (mut reservation, share) = self.enter(client);
        let _waiting = Waiting::new(self, reservation.client).ok_or_else(exhausted)?;
        self.shortage.notify_one();
        let acquire = async {
            let own = share.acquire_many_owned(bytes).await.ok()?;
            let all = Arc::clone(&self.all).acquire_many_owned(bytes).await.ok()?;
            Some((own, all))
        };
        let acquired = tokio::time::timeout(MAX_WAIT, acquire).await;
        reservation.memory = acquired.ok().flatten();
        if reservation.memory.is_none() {
            return Err(exhausted());
        }
        Ok(reservation)
    }

    /// Whether a response waits.
    pub(super) fn is_short(&self) -> bool {
        self.lock().shares.values().any(|share| share.waiting > 0)
    }

    /// Bytes that release their memory with their last reference, because a server buffers bytes that it could not send
    /// yet. `reserved` is their memory, if it was reserved before. `None`: there is no memory now.
    pub(super) fn hold(self: &Arc<Self>, client: IpAddr, bytes: Bytes, reserved: Option<Reservation>) -> Option<Bytes> {
        let key = (bytes.as_ptr() as usize, bytes.len());
        let shared = self.lock().held.get(&key).and_then(Weak::upgrade);
        let memory = match (shared, reserved) {
            (Some(shared), _) => shared,
            (None, Some(reserved)) => reserved.hold(key),
            (None, None) => self.try_reserve(client, bytes.len())?.hold(key),
        };
        Some(Bytes::from_owner(Held { bytes, _memory: memory }))
    }

    fn permits(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.min(self.share)).unwrap_or(u32::MAX)
    }

    fn enter(self: &Arc<Self>, client: IpAddr) -> (Reservation, Arc<Semaphore>) {
        let client = network(client);
        let mut clients = self.lock();
        let share = clients.shares.entry(client).or_insert_with(|| Share {
            memory: Arc::new(Semaphore::new(self.share)),
            reservations: 0,
            waiting: 0,
        });
        share.reservations += 1;
        let memory = Arc::clone(&share.memory);
        let reservation = Reservation { budget: Arc::clone(self), client, bytes: None, memory: None };
        (reservation, memory)
    }

    fn lock(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// The body with this memory, which is released with it.
    pub(super) fn keep_with(self, body: Body) -> Body {
        InspectedBody::wrap(body, self)
    }

    /// Lets other responses of the same bytes share it.
    fn hold(mut self, key: (usize, usize)) -> Arc<Self> {
        let budget = Arc::clone(&self.budget);
        self.bytes = Some(key);
        let shared = Arc::new(self);
        budget.lock().held.insert(key, Arc::downgrade(&shared));
        shared
    }
}

impl Inspector for Reservation {
    fn polled(&mut self, _: &Polled) {}
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory = None;
        let mut clients = self.budget.lock();
        if let Some(key) = self.bytes
            && clients.held.get(&key).is_some_and(|it| it.strong_count() == 0)
        {
            clients.held.remove(&key);
        }
        if let Some(share) = clients.shares.get_mut(&self.client) {
            share.reservations -= 1;
            if share.reservations == 0 {
                clients.shares.remove(&self.client);
            }
        }
    }
}

/// A response that waits.
struct Waiting<'a>(&'a Budget, IpAddr);

impl<'a> Waiting<'a> {
    /// `None` if too many responses of the client wait.
    fn new(budget: &'a Budget, client: IpAddr) -> Option<Self> {
        let mut clients = budget.lock();
        let share = clients.shares.get_mut(&client)?;
        (share.waiting < MAX_WAITING).then(|| {
            share.waiting += 1;
            Self(budget, client)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(share) = self.0.lock().shares.get_mut(&self.1) {
            share.waiting -= 1;
        }
    }
}

/// Bytes with their memory.
struct Held {
    bytes: Bytes,
    _memory: Arc<Reservation>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(super) fn exhausted() -> Error {
    let message = "this registry sends as much at once as its memory allows: try again in a moment";
    Error::new(ErrorCode::Unavailable, message).with_retry_after(Some(RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_client_gets_its_share_and_all_get_the_whole() {
        let budget = Budget::new(10, 6, Arc::default());
        let first = budget.try_reserve(address(1), 4).unwrap();
        assert!(budget.try_reserve(address(1), 3).is_none());
        // More than a share is a share.
        assert!(budget.try_reserve(address(2), 100).is_some());
        let second = budget.try_reserve(address(2), 6).unwrap();
        assert!(budget.try_reserve(address(3), 1).is_none());
        drop((first, second));
        assert!(budget.lock().shares.is_empty());
        assert_eq!(budget.all.available_permits(), 10);
    }

    #[test]
    fn the_same_bytes_take_memory_once() {
        let budget = Budget::new(10, 6, Arc::default());
        let bytes = Bytes::from(vec![7; 6]);
        let first = budget.hold(address(1), bytes.clone(), None).unwrap();
        let second = budget.hold(address(1), bytes.clone(), None).unwrap();
        let other = Bytes::from(vec![7; 6]);
        assert!(budget.hold(address(1), other.clone(), None).is_none());
        drop(first);
        assert!(budget.hold(address(1), other.clone(), None).is_none());
        drop(second);
        assert_eq!(budget.hold(address(1), other.clone(), None).unwrap(), other);
        assert!(budget.lock().held.is_empty() && budget.lock().shares.is_empty());
    }

    #[tokio::test]
    async fn an_answer_waits_for_memory() {
        let budget = Budget::new(10, 6, Arc::default());
        let held = budget.try_reserve(address(1), 6).unwrap();
        assert!(budget.reserve(address(2), 4).await.is_ok());
        let waits = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.reserve(address(1), 1).await.map(drop) }
        });
        while !budget.is_short() {
            tokio::task::yield_now().await;
        }
        drop(held);
        waits.await.unwrap().unwrap();
        assert!(!budget.is_short() && budget.lock().shares.is_empty());
    }
}
