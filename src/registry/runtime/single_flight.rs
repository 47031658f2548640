//! Request coalescing and keyed locks: one lookup, or one change, of a key at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex as AsyncMutex;

/// The lock of a key, and how the last lookup failed, and when.
type Flight<E> = Arc<AsyncMutex<Option<(Instant, E)>>>;

/// The keys that requests hold or wait for: at most as many as there are requests.
#[derive(Debug)]
pub(in crate::registry) struct SingleFlight<K: Eq + Hash, E>(Mutex<HashMap<K, Flight<E>>>);

/// A request that holds a key's lock, or waits for it. The last one removes the key.
struct Entered<'a, K: Eq + Hash, E> {
    flights: &'a SingleFlight<K, E>,
    key: K,
    flight: Flight<E>,
}

impl<K: Eq + Hash, E> Default for SingleFlight<K, E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Eq + Hash, E: Clone> SingleFlight<K, E> {
    /// Looks something up, once for all requests that want it at the same time: each waits for the one before it, so
    /// `lookup` has to look into the cache first. A request that waited while a lookup failed returns that failure,
    /// instead of waiting for the next one.
    pub(in crate::registry) async fn coalesce<T>(
        &self,
        key: K,
        lookup: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let asked = Instant::now();
        let entered = self.enter(key);
        let mut last = entered.flight.lock().await;
        if let Some((failed, error)) = &*last
            && *failed > asked
        {
            return Err(error.clone());
        }
        let result = lookup.await;
        *last = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result
    }

    /// Changes something under the key's lock, so that no lookup that runs at the same time remembers what was there
    /// before. Changes do not share failures.
    pub(in crate::registry) async fn exclusive<T>(&self, key: K, change: impl Future<Output = T>) -> T {
        let entered = self.enter(key);
        let _held = entered.flight.lock().await;
        change.await
    }

    fn enter(&self, key: K) -> Entered<'_, K, E> {
        let flight = Arc::clone(self.lock().entry(key.clone()).or_default());
        Entered { flights: self, key, flight }
    }
}

impl<K: Eq + Hash, E> SingleFlight<K, E> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Flight<E>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash, E> Drop for Entered<'_, K, E> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        // The map's reference and this one: no other request can come while the map is locked.
        if Arc::strong_count(&self.flight) <= 2 {
            flights.remove(&self.key);
        }
    }
}
