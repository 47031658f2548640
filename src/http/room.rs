//! All open connections, how many each client has, and which of them make room for others.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Activity;
use crate::telemetry::Metrics;

/// How long an answer may wait before its connection can be asked to make room: longer than a packet that is lost and
/// sent again.
pub(super) const STALLED: Duration = Duration::from_secs(5);

/// How many idle connections are remembered of one look at all.
const REMEMBERED: usize = 256;

/// Every open connection, so that one that is idle can make room for another.
#[derive(Debug)]
pub(super) struct Open {
    table: Mutex<Table>,
    next: AtomicU64,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    /// How many connections each network has that were not asked to make room.
    counts: HashMap<IpAddr, usize>,
    /// Of this network, or of any, those that were idle for longest when all were last looked at, and since when.
    /// Others became idle later, so thousands need not be looked at for each one that makes room.
    idle: (Option<IpAddr>, VecDeque<(Instant, u64)>),
}

#[derive(Debug)]
struct Connection {
    activity: Arc<Activity>,
    /// `None` where its connections are not bounded.
    network: Option<IpAddr>,
    /// It was asked to make room.
    evicted: bool,
}

impl Open {
    pub(super) fn new(metrics: Option<Arc<Metrics>>) -> Self {
        Self { table: Mutex::default(), next: AtomicU64::new(0), metrics }
    }

    /// Enters a connection. A network that has `most` of them has to close one for it, as in
    /// [`make_room`](Self::make_room): `None` if there is none to be closed.
    pub(super) fn enter(
        self: &Arc<Self>,
        activity: &Arc<Activity>,
        network: Option<IpAddr>,
        most: usize,
    ) -> Option<Entered> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut table = self.lock();
        if let Some(network) = network {
            let count = table.counts.get(&network);
            if count.is_some_and(|count| *count >= most) && !table.make_room(Some(network)) {
                return None;
            }
            *table.counts.entry(network).or_default() += 1;
        }
        let connection = Connection { activity: Arc::clone(activity), network, evicted: false };
        table.connections.insert(id, connection);
        drop(table);
        if let Some(metrics) = &self.metrics {
            metrics.connection_opens();
        }
        Some(Entered(Arc::clone(self), id))
    }

    /// Closes the connection that has been idle for longest; if none is, the one that takes nothing of its answers for
    /// longest; if there is none either, one that takes them too slowly; or else nothing.
    pub(super) fn make_room(&self) {
        self.lock().make_room(None);
    }

    /// Closes the connection that takes nothing of its answers for longest, or one that takes them too slowly: they
    /// hold memory that others wait for.
    pub(super) fn free_memory(&self) {
        let mut table = self.lock();
        if let Some(id) = table.stalled(None).or_else(|| table.slow(None)) {
            table.evict(id);
        }
    }

    /// Closes the connection whose header began to come first, and is not here yet; whether there is one.
    pub(super) fn close_oldest_header(&self) -> bool {
        let mut table = self.lock();
        let oldest = table.first(None, Activity::header_since);
        if let Some(id) = oldest {
            table.evict(id);
        }
        oldest.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn make_room(&mut self, network: Option<IpAddr>) -> bool {
        let idle = self.longest_idle(network);
        let found = idle.or_else(|| self.stalled(network)).or_else(|| self.slow(network));
        if let Some(id) = found {
            self.evict(id);
        }
        found.is_some()
    }

    fn longest_idle(&mut self, network: Option<IpAddr>) -> Option<u64> {
        if self.idle.0 != network {
            self.idle = (network, VecDeque::new());
        }
        while let Some((since, id)) = self.idle.1.pop_front() {
            let connection = self.connections.get(&id).filter(|it| !it.evicted);
            if connection.is_some_and(|it| it.activity.idle_since() == Some(since)) {
                return Some(id);
            }
        }
        let mut idle: Vec<_> = self.all(network, Activity::idle_since).collect();
        idle.sort_unstable();
        idle.truncate(REMEMBERED);
        self.idle.1 = idle.into();
        Some(self.idle.1.pop_front()?.1)
    }

    fn stalled(&self, network: Option<IpAddr>) -> Option<u64> {
        let some_time_ago = Instant::now().checked_sub(STALLED)?;
        let stalled = |activity: &Activity| {
            let since = activity.stalled_since();
            since.filter(|since| *since < some_time_ago)
        };
        self.first(network, stalled)
    }

    fn slow(&self, network: Option<IpAddr>) -> Option<u64> {
        self.first(network, |activity| activity.is_slow().then_some(()))
    }

    /// The connection, of one network or of any, for which `since` is the least.
    fn first<T: Ord>(&self, network: Option<IpAddr>, since: impl Fn(&Activity) -> Option<T>) -> Option<u64> {
        self.all(network, since).min().map(|(_, id)| id)
    }

    /// The connections, of one network or of any, that `since` tells something of.
    fn all<T>(
        &self,
        network: Option<IpAddr>,
        since: impl Fn(&Activity) -> Option<T>,
    ) -> impl Iterator<Item = (T, u64)> {
        let open = self
            .connections
            .iter()
            .filter(move |(_, connection)| !connection.evicted && (network.is_none() || connection.network == network));
        open.filter_map(move |(id, connection)| Some((since(&connection.activity)?, *id)))
    }

    fn evict(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.evicted = true;
        connection.activity.forget_header();
        connection.activity.evict.notify_one();
        let network = connection.network;
        self.leave(network);
    }

    /// A connection of this network does not count any more.
    fn leave(&mut self, network: Option<IpAddr>) {
        if let Some(network) = network
            && let Some(count) = self.counts.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&network);
            }
        }
    }
}

/// An open connection's entry among all of them.
pub(super) struct Entered(Arc<Open>, u64);

impl Drop for Entered {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        if let Some(connection) = table.connections.remove(&self.1)
            && !connection.evicted
        {
            table.leave(connection.network);
        }
        drop(table);
        if let Some(metrics) = &self.0.metrics {
            metrics.connection_ends();
        }
    }
}
