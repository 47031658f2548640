//! A shortage of memory for responses.

use std::sync::Arc;

use tokio::sync::Notify;

/// Tells the server when responses wait for memory, so that it closes connections that hold some and make no progress.
pub(in crate::http) struct Shortage {
    begins: Arc<Notify>,
    lasts: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Shortage {
    /// `begins` is notified when a response begins to wait; `lasts` tells whether one waits.
    pub(in crate::http) fn new(begins: Arc<Notify>, lasts: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { begins, lasts: Box::new(lasts) }
    }

    /// For responses that need no memory.
    pub(in crate::http) fn never() -> Self {
        Self::new(Arc::default(), || false)
    }

    /// Returns when a response begins to wait.
    pub(super) async fn begins(&self) {
        self.begins.notified().await;
    }

    /// Whether a response waits.
    pub(super) fn lasts(&self) -> bool {
        (self.lasts)()
    }
}
