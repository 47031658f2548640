//! One at a time, for what many may want to find out or to change at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Mutex as Queue;
use uuid::Uuid;

use crate::oci::{Digest, Error, Reference, RepositoryName};

/// What many may want to find out at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Matter {
    Manifest(RepositoryName, Reference),
    /// Whether the upstream says that the blob is the repository's.
    Blob(RepositoryName, Digest),
    /// Where the upstream keeps the blob.
    Location(RepositoryName, Digest),
    Tags(RepositoryName),
    Referrers(RepositoryName, Digest),
    /// Whether the bucket says that the blob is the repository's.
    Membership(RepositoryName, Digest),
    Upload(Uuid),
    /// Whether the repository holds pushed content.
    Holding(RepositoryName),
    Catalog,
}

/// Those who wait for a matter, and how the last attempt failed, and when.
type Turn = Arc<Queue<Option<(Instant, Error)>>>;

/// The matters that somebody is at: as many as there are requests under way.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<Matter, Turn>>);

/// Somebody who is at a matter, or waits to be.
struct Place<'a> {
    turns: &'a Turns,
    matter: Matter,
    turn: Turn,
}

impl Turns {
    /// Finds something out when it is one's turn, so that many who want to know the same cause one lookup: `work` looks
    /// into the cache first. Whoever waited while it failed shares the failure, instead of waiting for it once more.
    pub(super) async fn in_turn<T>(
        &self,
        matter: Matter,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let asked = Instant::now();
        let place = self.enter(matter);
        let mut last = place.turn.lock().await;
        if let Some((failed, error)) = &*last
            && *failed > asked
        {
            return Err(error.clone());
        }
        let result = work.await;
        *last = result.as_ref().err().map(|error| (Instant::now(), error.clone()));
        result
    }

    /// Changes something when it is one's turn, so that nobody who is just finding it out remembers what it was before.
    /// Failures are not shared: each change is one of its own.
    pub(super) async fn alone<T>(&self, matter: Matter, work: impl Future<Output = T>) -> T {
        let place = self.enter(matter);
        let _held = place.turn.lock().await;
        work.await
    }

    fn enter(&self, matter: Matter) -> Place<'_> {
        let turn = Arc::clone(self.lock().entry(matter.clone()).or_default());
        Place { turns: self, matter, turn }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Matter, Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut turns = self.turns.lock();
        // The map's and this one: nobody else can come while the map is locked.
        if Arc::strong_count(&self.turn) <= 2 {
            turns.remove(&self.matter);
        }
    }
}
