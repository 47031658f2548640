//! Whether this process should be sent requests.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Registry;

/// How long the bucket's answer is believed: probes come from many places, and need not each ask.
const BELIEVED: Duration = Duration::from_secs(2);
/// How long the bucket has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a process should not be sent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// It was asked to end.
    #[error("draining: this process is about to end")]
    Draining,
    /// What is in memory is served, and nothing else.
    #[error("the bucket does not answer")]
    Bucket,
}

/// What the bucket answered last, and when.
pub(super) type Readiness = Mutex<Option<(Instant, Result<(), Unready>)>>;

impl Registry {
    /// Whether requests should be sent here rather than to another replica. The bucket is asked for at most two
    /// seconds, by one caller at a time, and its answer believed for two more.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn ready(&self) -> Result<(), Unready> {
        let mut last = self.inner.readiness.lock().await;
        if self.inner.background.is_closing() {
            return Err(Unready::Draining);
        }
        if let Some((at, answer)) = *last
            && at.elapsed() < BELIEVED
        {
            return answer;
        }
        let answer = match self.inner.store.reach(PATIENCE).await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "not ready: the bucket does not answer");
                Err(Unready::Bucket)
            }
        };
        *last = Some((Instant::now(), answer));
        answer
    }

    /// Nothing is begun any more that nobody asked for, and [`ready`](Self::ready) says why.
    pub fn stop_beginning(&self) {
        self.inner.background.close();
    }
}
