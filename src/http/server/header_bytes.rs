//! The memory that the incomplete headers of all connections take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes of a connection that are not counted: its buffer has them before anything comes, and most headers fit.
const FREE: usize = 4 << 10;
/// The most bytes that are counted for one connection: no header is longer, and other frames of HTTP/2 are not kept.
const MAX: usize = 96 << 10;
/// The most bytes that are counted for all connections. Buffers grow by doubling, so the memory may be twice as much.
const MAX_IN_ALL: usize = 32 << 20;

/// The bytes of the incomplete headers of all connections.
#[derive(Debug, Default)]
pub(super) struct AllHeaderBytes {
    bytes: AtomicUsize,
    exceeded: Notify,
}

impl AllHeaderBytes {
    /// Returns when there are too many.
    pub(super) async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    /// Whether there are too many.
    pub(super) fn are_too_many(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MAX_IN_ALL
    }
}

/// The bytes of the header that one connection is reading.
#[derive(Debug)]
pub(super) struct HeaderBytes {
    own: AtomicUsize,
    all: Arc<AllHeaderBytes>,
}

impl HeaderBytes {
    pub(super) const fn new(all: Arc<AllHeaderBytes>) -> Self {
        Self { own: AtomicUsize::new(0), all }
    }

    /// More bytes came. Only one task reads a connection.
    pub(super) fn add(&self, bytes: usize) {
        let before = self.own.load(Ordering::Relaxed);
        let after = (before + bytes).min(MAX);
        self.own.store(after, Ordering::Relaxed);
        // Most headers have no such bytes, so they touch nothing that all connections share.
        let counted = beyond_free(after) - beyond_free(before);
        if counted > 0 {
            self.all.bytes.fetch_add(counted, Ordering::Relaxed);
            if self.all.are_too_many() {
                self.all.exceeded.notify_one();
            }
        }
    }

    /// The header is complete, or its connection is about to close.
    pub(super) fn end(&self) {
        if self.own.load(Ordering::Relaxed) == 0 {
            return;
        }
        let counted = beyond_free(self.own.swap(0, Ordering::Relaxed));
        if counted > 0 {
            self.all.bytes.fetch_sub(counted, Ordering::Relaxed);
        }
    }

    /// Whether bytes of it came.
    pub(super) fn has_begun(&self) -> bool {
        self.own.load(Ordering::Relaxed) > 0
    }

    /// Whether it takes memory that is counted.
    pub(super) fn takes_memory(&self) -> bool {
        self.own.load(Ordering::Relaxed) > FREE
    }
}

impl Drop for HeaderBytes {
    fn drop(&mut self) {
        self.end();
    }
}

const fn beyond_free(bytes: usize) -> usize {
    bytes.saturating_sub(FREE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_first_bytes_counts_until_it_ends() {
        let all = Arc::new(AllHeaderBytes::default());
        let bytes = || all.bytes.load(Ordering::Relaxed);
        let one = HeaderBytes::new(Arc::clone(&all));
        one.add(FREE);
        assert!(bytes() == 0 && !one.takes_memory());
        one.add(10);
        one.add(20);
        assert!(bytes() == 30 && one.takes_memory());
        one.end();
        assert_eq!(bytes(), 0);
        let many: Vec<_> = (0..2000).map(|_| HeaderBytes::new(Arc::clone(&all))).collect();
        for each in &many {
            each.add(60 << 10);
            each.add(1 << 20);
        }
        assert!(all.are_too_many() && bytes() == 2000 * (MAX - FREE));
        drop(many);
        assert!(!all.are_too_many() && bytes() == 0);
    }
}
