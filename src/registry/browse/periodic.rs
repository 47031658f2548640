//! Something that is read from the bucket at most once in a while, however many ask.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::store::StoreError;

/// How long something counts. (Notes of pulls are written every 15 minutes.)
const LIFE: Duration = Duration::from_mins(2);
/// After how long something is tried again that could not be read.
const RETRY: Duration = Duration::from_secs(10);

/// A value of the bucket's, and until when it counts.
#[derive(Debug)]
pub(in crate::registry) struct Periodic<T>(Mutex<Option<(Instant, Option<Arc<T>>)>>);

impl<T> Default for Periodic<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Periodic<T> {
    /// The value, which is read if it does not count any more. An old one stands in for one that cannot be read; `None`
    /// where there is none.
    pub(super) async fn get(&self, read: impl Future<Output = Result<T, StoreError>>) -> Option<Arc<T>> {
        let mut kept = self.0.lock().await;
        if let Some((until, value)) = &*kept
            && *until > Instant::now()
        {
            return value.clone();
        }
        match read.await {
            Ok(value) => {
                let value = Arc::new(value);
                *kept = Some((Instant::now() + LIFE, Some(Arc::clone(&value))));
                Some(value)
            }
            Err(error) => {
                tracing::debug!(%error, "figures for the page were not read");
                let old = kept.take().and_then(|(_, value)| value);
                *kept = Some((Instant::now() + RETRY, old.clone()));
                old
            }
        }
    }
}
