//! Which uploads have several requests at once in this process.
//!
//! Of requests that extend one state, only one may leave a tail in the bucket. Memory says whether there was another
//! one, so that a client that sends its requests one by one, as all do, costs the bucket no further LIST.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The uploads that are extended now: at most as many as there are requests.
#[derive(Debug, Default)]
pub(super) struct Racing(Mutex<HashMap<Uuid, Racers>>);

#[derive(Debug, Default)]
struct Racers {
    requests: usize,
    several: Arc<AtomicBool>,
}

/// A request that extends an upload, as long as the value lives.
pub(super) struct Racer<'a> {
    racing: &'a Racing,
    upload: Uuid,
    several: Arc<AtomicBool>,
}

impl Racing {
    pub(super) fn enter(&self, upload: Uuid) -> Racer<'_> {
        let mut uploads = self.lock();
        let racers = uploads.entry(upload).or_default();
        racers.requests += 1;
        if racers.requests > 1 {
            racers.several.store(true, Ordering::Release);
        }
        Racer { racing: self, upload, several: Arc::clone(&racers.several) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Racers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Racer<'_> {
    /// Whether another request extended the same upload since this one began.
    pub(super) fn has_rivals(&self) -> bool {
        self.several.load(Ordering::Acquire)
    }
}

impl Drop for Racer<'_> {
    fn drop(&mut self) {
        let mut uploads = self.racing.lock();
        if let Some(racers) = uploads.get_mut(&self.upload) {
            racers.requests -= 1;
            if racers.requests == 0 {
                uploads.remove(&self.upload);
            }
        }
    }
}
