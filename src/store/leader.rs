//! The leader of a bucket whose regions lag behind each other (Tigris, "Consistency"): what it is asked to write, to
//! delete and to list is seen by whoever asks it; other regions follow, in about a second.
//!
//! Reads ask the nearest region, and the leader what that does not have. What this process has just written or deleted
//! itself it reads from the leader, too: nearby, it could still be as it was.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_s3::config::http::HttpRequest;

use super::Store;

/// The header by which Tigris asks the bucket's leader instead of the nearest region.
const CONSISTENT: &str = "x-tigris-consistent";

/// How long other regions may lag behind: a write takes at most half of it, and Tigris says a second.
const LAG: Duration = Duration::from_secs(30);

/// How many keys are remembered for that, at some 200 bytes each. Whoever writes more than that in so short a time
/// reads some of it from the nearest region.
const KEYS: usize = 10_000;

/// Keys that were written or deleted a moment ago, and when.
#[derive(Default)]
pub(super) struct Changed(Mutex<HashMap<String, Instant>>);

impl Changed {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, path: &str) {
        let mut keys = self.lock();
        if keys.len() >= KEYS {
            keys.retain(|_, changed| changed.elapsed() < LAG);
        }
        if keys.len() >= KEYS {
            keys.clear();
        }
        keys.insert(path.to_owned(), Instant::now());
    }

    fn contains(&self, path: &str) -> bool {
        let changed = self.lock().get(path).copied();
        changed.is_some_and(|changed| changed.elapsed() < LAG)
    }
}

impl Store {
    /// Remembers that this process writes or deletes this key now.
    pub(super) fn changes(&self, path: &str) {
        if self.inner.lags {
            self.inner.changed.insert(path);
        }
    }

    /// Whether the nearest region may still show what was there before.
    pub(super) fn has_changed(&self, path: &str) -> bool {
        self.inner.lags && self.inner.changed.contains(path)
    }
}

/// Lets a request see what another region wrote a moment ago, and others what it writes, if it `asks` for that.
pub(super) fn at_leader(asks: bool) -> impl Fn(&mut HttpRequest) {
    move |request| {
        if asks {
            request.headers_mut().insert(CONSISTENT, "true");
        }
    }
}
