//! All open connections, and which of them makes room for another.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Activity;
use crate::telemetry::Metrics;

/// How long an answer may wait before its connection can be asked to make room: longer than a packet that is
/// lost and sent again.
const STALLED: Duration = Duration::from_secs(5);

/// Every open connection, so that one that is idle can make room for another.
#[derive(Debug)]
pub(super) struct Open {
    connections: Mutex<HashMap<u64, Arc<Activity>>>,
    next: AtomicU64,
    metrics: Option<Arc<Metrics>>,
}

impl Open {
    pub(super) fn new(metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            metrics,
        }
    }

    pub(super) fn enter(self: &Arc<Self>, activity: &Arc<Activity>) -> Entered {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, Arc::clone(activity));
        if let Some(metrics) = &self.metrics {
            metrics.connection_opens();
        }
        Entered(Arc::clone(self), id)
    }

    /// Closes the connection that has been idle for longest; if none is, the one that takes nothing of an
    /// answer for longest; if there is none either, nothing.
    pub(super) fn make_room(&self) {
        let connections = self.lock();
        let open = || {
            let open = connections.values();
            open.filter(|activity| !activity.evicted.load(Ordering::Acquire))
        };
        let idle = open().filter_map(|activity| Some((activity.idle_since()?, activity)));
        let idle = idle.min_by_key(|(since, _)| *since);
        let stalled = || {
            let some_time_ago = Instant::now().checked_sub(STALLED)?;
            let stalled = open().filter_map(|it| Some((it.stalled_since()?, it)));
            stalled
                .filter(|(since, _)| *since < some_time_ago)
                .min_by_key(|(since, _)| *since)
        };
        if let Some((_, activity)) = idle.or_else(stalled) {
            activity.evicted.store(true, Ordering::Release);
            activity.evict.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Activity>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open connection's place among all of them.
pub(super) struct Entered(Arc<Open>, u64);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
        if let Some(metrics) = &self.0.metrics {
            metrics.connection_ends();
        }
    }
}
