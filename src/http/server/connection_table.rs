//! All open connections, how many each client has, and which of them is evicted for others.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Activity;
use crate::telemetry::Metrics;

/// How long a response may wait for its client before its connection can be evicted: longer than a lost packet takes to
/// be sent again.
pub(super) const STALLED: Duration = Duration::from_secs(5);

/// How many idle connections one look at all of them remembers.
const MAX_IDLE: usize = 256;

/// The open connections.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    table: Mutex<Table>,
    next: AtomicU64,
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug, Default)]
struct Table {
    connections: HashMap<u64, Connection>,
    /// How many connections each network has, without those that were evicted.
    counts: HashMap<IpAddr, usize>,
    /// The connections, of this network or of any, that were idle for longest when all were last looked at, and since
    /// when. All others became idle later, so thousands need not be looked at for each eviction.
    idle: (Option<IpAddr>, VecDeque<(Instant, u64)>),
    metrics: Option<Arc<Metrics>>,
}

#[derive(Debug)]
struct Connection {
    activity: Arc<Activity>,
    /// `None` where its connections are not bounded.
    network: Option<IpAddr>,
    /// It was told to close.
    evicted: bool,
}

impl ConnectionTable {
    pub(super) fn new(metrics: Option<Arc<Metrics>>) -> Self {
        let table = Table { metrics: metrics.clone(), ..Table::default() };
        Self { table: Mutex::new(table), next: AtomicU64::new(0), metrics }
    }

    /// The requests of all connections whose response has not left whole.
    pub(super) fn requests_in_flight(&self) -> u64 {
        self.lock().connections.values().map(|it| it.activity.requests_in_flight()).sum()
    }

    /// Counts a connection that is refused.
    pub(super) fn refused(&self) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_refused();
        }
    }

    /// Inserts a connection. If its network has `most` already, one of these is evicted; `None` if none can be.
    pub(super) fn insert(
        self: &Arc<Self>,
        activity: &Arc<Activity>,
        network: Option<IpAddr>,
        most: usize,
    ) -> Option<TableEntry> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut table = self.lock();
        if let Some(network) = network {
            let count = table.counts.get(&network);
            if count.is_some_and(|count| *count >= most) && !table.evict_one(Some(network)) {
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
        Some(TableEntry(Arc::clone(self), id))
    }

    /// Evicts the connection that has been idle for longest; if none is idle, the one whose client has taken nothing of
    /// its responses for longest; if there is none either, one whose client takes them too slowly; or else none.
    pub(super) fn evict_one(&self) {
        self.lock().evict_one(None);
    }

    /// Evicts the connection whose client has taken nothing of its responses for longest, or one whose client takes
    /// them too slowly: they hold memory that others wait for.
    pub(super) fn evict_stalled(&self) {
        let mut table = self.lock();
        if let Some(id) = table.stalled(None).or_else(|| table.slow(None)) {
            table.evict(id);
        }
    }

    /// Evicts the connection whose header began to come first and is still incomplete; whether there is one.
    pub(super) fn evict_oldest_header(&self) -> bool {
        let mut table = self.lock();
        let oldest = table.first(None, Activity::large_header_since);
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
    fn evict_one(&mut self, network: Option<IpAddr>) -> bool {
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
        idle.truncate(MAX_IDLE);
        self.idle.1 = idle.into();
        Some(self.idle.1.pop_front()?.1)
    }

    fn stalled(&self, network: Option<IpAddr>) -> Option<u64> {
        let latest = Instant::now().checked_sub(STALLED)?;
        self.first(network, |activity| activity.stalled_since().filter(|since| *since < latest))
    }

    fn slow(&self, network: Option<IpAddr>) -> Option<u64> {
        self.first(network, |activity| activity.is_slow().then_some(()))
    }

    /// The connection, of one network or of any, with the least `since`.
    fn first<T: Ord>(&self, network: Option<IpAddr>, since: impl Fn(&Activity) -> Option<T>) -> Option<u64> {
        self.all(network, since).min().map(|(_, id)| id)
    }

    /// The connections, of one network or of any, that have a `since`.
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
        if let Some(metrics) = &self.metrics {
            metrics.connection_evicted();
        }
        connection.activity.forget_header();
        connection.activity.evict.notify_one();
        let network = connection.network;
        self.uncount(network);
    }

    /// Counts one connection less for a network.
    fn uncount(&mut self, network: Option<IpAddr>) {
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

/// A connection's entry in the table, which ends when it is dropped.
pub(super) struct TableEntry(Arc<ConnectionTable>, u64);

impl Drop for TableEntry {
    fn drop(&mut self) {
        let mut table = self.0.lock();
        if let Some(connection) = table.connections.remove(&self.1)
            && !connection.evicted
        {
            table.uncount(connection.network);
        }
        drop(table);
        if let Some(metrics) = &self.0.metrics {
            metrics.connection_ends();
        }
    }
}
