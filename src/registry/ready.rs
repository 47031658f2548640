//! Whether this process should be sent requests.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Registry;
use crate::store::StoreError;

/// How long the bucket's answer is believed: probes come from many places, and need not each ask.
const BELIEVED: Duration = Duration::from_secs(2);
/// How long the bucket has to answer: less than the second that probes wait for.
const PATIENCE: Duration = Duration::from_millis(800);

/// Why a process should not be sent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// It was asked to end.
    #[error("draining: this process is about to end")]
    Draining,
    /// What is in memory is served, and nothing else.
    #[error("the bucket cannot be used, the log tells why")]
    Bucket,
    /// What is stored is served, and nothing is stored any more.
    #[error("the storage takes no writes: it is full, or read-only; the log tells more")]
    Full,
}

/// What the bucket was asked last.
#[derive(Debug)]
struct Question {
    at: Instant,
    answer: watch::Receiver<Option<Result<(), Unready>>>,
}

/// The last question, for all who ask.
#[derive(Debug, Default)]
pub(super) struct Readiness(Mutex<Option<Question>>);

impl Registry {
    /// Whether requests should be sent here rather than to another replica. The bucket is asked at most every two
    /// seconds, and has not quite one to answer; whoever asks meanwhile waits for the same answer.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn ready(&self) -> Result<(), Unready> {
        let mut answer = self.question();
        let answered = answer.wait_for(Option::is_some);
        let answer = match answered.await.as_deref() {
            Ok(Some(answer)) => *answer,
            Ok(None) | Err(_) => Err(Unready::Draining),
        };
        if self.inner.background.is_closing() {
            return Err(Unready::Draining);
        }
        answer
    }

    /// The question that is asked just now, or was a moment ago.
    fn question(&self) -> watch::Receiver<Option<Result<(), Unready>>> {
        let last = self.inner.readiness.0.lock();
        let mut last = last.unwrap_or_else(PoisonError::into_inner);
        let (answers, answer) = watch::channel(None);
        if self.inner.background.is_closing() {
            answers.send_replace(Some(Err(Unready::Draining)));
            return answer;
        }
        if let Some(question) = &*last
            && question.at.elapsed() < BELIEVED
        {
            return question.answer.clone();
        }
        let before = last.as_ref().and_then(|last| *last.answer.borrow());
        let registry = self.clone();
        // Those who wait for it may leave before it is answered.
        self.inner.background.own(async move {
            let answer = registry.ask(before).await;
            answers.send_replace(Some(answer));
        });
        *last = Some(Question { at: Instant::now(), answer: answer.clone() });
        answer
    }

    /// What changes is logged once.
    async fn ask(&self, before: Option<Result<(), Unready>>) -> Result<(), Unready> {
        let (answer, error) = match self.inner.store.reach(PATIENCE).await {
            Ok(()) => (Ok(()), None),
            Err(error @ StoreError::Full { .. }) => (Err(Unready::Full), Some(error)),
            Err(error) => (Err(Unready::Bucket), Some(error)),
        };
        match error {
            Some(error) if before != Some(answer) => {
                tracing::warn!(%error, "not ready: the bucket cannot be used");
            }
            None if before.is_some_and(|before| before.is_err()) => {
                tracing::info!("ready again: the bucket answers, and takes writes");
            }
            _ => {}
        }
        answer
    }

    /// Nothing is begun any more that nobody asked for, and [`ready`](Self::ready) says why.
    pub fn stop_beginning(&self) {
        self.inner.background.close();
    }
}
