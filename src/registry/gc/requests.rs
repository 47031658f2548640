//! How many requests a collector sends, by what they cost, and how fast.

use std::ops::Add;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Requests by kind: a LIST or a PUT costs some ten times as much as a GET or HEAD, and a DELETE nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct Requests {
    pub(super) lists: u64,
    pub(super) gets: u64,
    pub(super) puts: u64,
    pub(super) deletes: u64,
}

impl Add for Requests {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            lists: self.lists + other.lists,
            gets: self.gets + other.gets,
            puts: self.puts + other.puts,
            deletes: self.deletes + other.deletes,
        }
    }
}

/// What kind of request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestKind {
    List,
    Get,
    Put,
    Delete,
}

/// Counts requests, and lets so many a second begin.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
    counts: [AtomicU64; 4],
}

impl Pace {
    /// `rate`: the most requests a second; 0 counts as 1.
    pub(super) fn new(rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.max(1),
            next: Mutex::new(Instant::now()),
            counts: std::array::from_fn(|_| AtomicU64::default()),
        }
    }

    /// Counts a request that does not wait: one that must be sent in time.
    pub(super) fn count(&self, kind: RequestKind) {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until one more request may begin.
    pub(super) async fn wait(&self, kind: RequestKind) {
        self.count(kind);
        let begins = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begins = (*next).max(Instant::now());
            *next = begins + self.interval;
            begins
        };
        tokio::time::sleep_until(begins).await;
    }

    pub(super) fn requests(&self) -> Requests {
        let count = |kind: RequestKind| self.counts[kind as usize].load(Ordering::Relaxed);
        Requests {
            lists: count(RequestKind::List),
            gets: count(RequestKind::Get),
            puts: count(RequestKind::Put),
            deletes: count(RequestKind::Delete),
        }
    }
}
