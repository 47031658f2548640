//! Whether a load balancer should send requests to this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::background::Background;
use crate::store::{Store, StoreError};

/// How long the bucket's answer counts: probes come from many places, and need not ask the bucket each.
const FRESH: Duration = Duration::from_secs(2);
/// How long the bucket has to answer: less than the second that probes wait.
const BUCKET_TIMEOUT: Duration = Duration::from_millis(800);

/// Why a process should not get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// It was asked to shut down.
    #[error("draining: this process is about to end")]
    Draining,
    /// It serves what is in memory, and nothing else.
    #[error("the bucket cannot be used, the log tells why")]
    Bucket,
    /// It serves what is stored, and stores nothing.
    #[error("the storage takes no writes: it is full, or read-only; the log tells more")]
    Full,
}

type Answer = Result<(), Unready>;

/// A question to the bucket.
#[derive(Debug)]
struct Question {
    at: Instant,
    answer: watch::Receiver<Option<Answer>>,
}

/// Asks the bucket on behalf of all probes.
#[derive(Debug)]
pub struct Readiness {
    store: Store,
    background: Arc<Background>,
    last: Mutex<Option<Question>>,
}

impl Readiness {
    pub(in crate::registry) fn new(store: Store, background: Arc<Background>) -> Self {
        Self { store, background, last: Mutex::default() }
    }

    /// Whether requests should come here rather than to another replica. The bucket is asked at most every two seconds,
    /// and has 800 ms to answer; probes that come meanwhile wait for the same answer.
    ///
    /// # Errors
    /// See [`Unready`].
    pub async fn check(&self) -> Result<(), Unready> {
        let mut question = self.question();
        let answer = match question.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => *answer,
            Ok(None) | Err(_) => Err(Unready::Draining),
        };
        if self.background.is_closing() { Err(Unready::Draining) } else { answer }
    }

    /// The question that is under way or was answered a moment ago, or a new one.
    fn question(&self) -> watch::Receiver<Option<Answer>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (answers, answer) = watch::channel(None);
        if self.background.is_closing() {
            answers.send_replace(Some(Err(Unready::Draining)));
            return answer;
        }
        if let Some(question) = &*last
            && question.at.elapsed() < FRESH
        {
            return question.answer.clone();
        }
        let before = last.as_ref().and_then(|last| *last.answer.borrow());
        let store = self.store.clone();
        // A task, because the probes that wait for the answer may leave before it is here.
        self.background.spawn(async move {
            answers.send_replace(Some(ask(&store, before).await));
        });
        *last = Some(Question { at: Instant::now(), answer: answer.clone() });
        answer
    }
}

/// Asks the bucket, and logs a change once.
async fn ask(store: &Store, before: Option<Answer>) -> Answer {
    let (answer, error) = match store.check_health(BUCKET_TIMEOUT).await {
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
