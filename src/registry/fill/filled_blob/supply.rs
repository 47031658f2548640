//! The memory of a blob that is being filled: its connections wait for it, and the fill gives it up.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::{FilledBlob, Place};
use crate::registry::fill::plan::NewChunk;

/// How long a fill may wait for memory that other fills keep.
const MEMORY_TIMEOUT: Duration = Duration::from_mins(1);

impl FilledBlob {
    /// Whether a connection may fetch bytes of a chunk now, for this generation: there is memory for it.
    pub(in crate::registry::fill) fn may_begin(&self, new: NewChunk, generation: Uuid) -> bool {
        match &self.place {
            Place::File(_) => true,
            Place::Memory(window) => window.may_begin(new, generation, self.is_wanted.load(Ordering::Relaxed)),
        }
    }

    /// Whether connections wait for memory.
    pub(in crate::registry::fill) fn is_short(&self) -> bool {
        matches!(&self.place, Place::Memory(window) if window.is_short())
    }

    /// A request needs the blob: from now on it waits for memory like others.
    pub(in crate::registry::fill) fn want(&self) {
        if !self.is_wanted.swap(true, Ordering::Relaxed) {
            self.changed.notify_waiters();
        }
    }

    /// Waits for memory on behalf of connections, for ever. Breaks off if other fills keep it too long.
    pub(in crate::registry::fill) async fn supply_memory(&self) -> std::convert::Infallible {
        let Place::Memory(window) = &self.place else {
            return std::future::pending().await;
        };
        let supply = async {
            loop {
                window.wait_for_memory().await;
                self.changed.notify_waiters();
            }
        };
        let watch = async {
            loop {
                tokio::time::sleep(MEMORY_TIMEOUT / 20).await;
                if window.is_starved(MEMORY_TIMEOUT) {
                    let seconds = MEMORY_TIMEOUT.as_secs();
                    self.break_off(format!("other fills kept the memory (proxy.fill.memory) for {seconds} s"));
                }
            }
        };
        tokio::select! {
            never = supply => never,
            never = watch => never,
        }
    }

    /// No memory will become free: the bucket takes no more chunks, or other fills keep theirs.
    pub(in crate::registry::fill) fn break_off(&self, cause: String) {
        // The first cause counts.
        self.broken_mut().get_or_insert(cause);
        self.changed.notify_waiters();
    }

    /// Why no memory will become free.
    pub(in crate::registry::fill) fn broken(&self) -> Option<String> {
        self.broken_mut().clone()
    }

    /// Another download begins.
    pub(in crate::registry::fill) fn forget_broken(&self) {
        *self.broken_mut() = None;
    }

    fn broken_mut(&self) -> MutexGuard<'_, Option<String>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fill has ended with the right bytes: its memory is given up as soon as another fill needs it.
    pub(in crate::registry::fill) fn release(&self) {
        if let Place::Memory(window) = &self.place {
            window.release();
        }
    }

    /// Begins no chunk until the pause is dropped; those that have been begun become whole.
    pub(in crate::registry::fill) fn pause(&self) -> Paused<'_> {
        if let Place::Memory(window) = &self.place {
            window.pause();
        }
        Paused(self)
    }

    /// Whether the bucket has all chunks that have been begun.
    pub(in crate::registry::fill) fn is_settled(&self) -> bool {
        matches!(&self.place, Place::Memory(window) if window.is_settled())
    }

    /// Returns the memory: no client will get anything more from it.
    pub(in crate::registry::fill) fn close(&self) {
        if let Place::Memory(window) = &self.place {
            window.close();
        }
    }
}

/// A pause of a blob. Chunks begin again after all pauses of it.
#[must_use]
pub(in crate::registry::fill) struct Paused<'a>(&'a FilledBlob);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        if let Place::Memory(window) = &self.0.place {
            window.resume();
        }
        self.0.changed.notify_waiters();
    }
}
