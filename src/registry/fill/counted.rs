//! How many of several tasks are in some state.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One in a number, from when it is counted until it is dropped.
pub(super) struct Counted<'a> {
    number: &'a AtomicUsize,
    is_counted: bool,
}

impl<'a> Counted<'a> {
    pub(super) const fn new(number: &'a AtomicUsize) -> Self {
        Self { number, is_counted: false }
    }

    pub(super) fn count(&mut self) {
        if !self.is_counted {
            self.is_counted = true;
            self.number.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.is_counted {
            self.number.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
