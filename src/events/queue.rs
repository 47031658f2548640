//! The envelopes that wait for an endpoint.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::log_limit::LogLimit;
use crate::telemetry::EventCounters;

/// How many events wait for one endpoint: those of a busy hour of pushes.
const MAX_EVENTS: usize = 10_000;
/// How many bytes of them. An event has some 700 bytes, so that the number comes first; one with the references of a
/// large manifest may have 4 MiB.
const MAX_BYTES: usize = 16 << 20;
/// How often the log says that events are dropped.
const PAUSE: Duration = Duration::from_mins(1);

/// The envelopes for one endpoint, in order. One that is being sent is still in it.
#[derive(Debug)]
pub(super) struct Queue {
    /// The endpoint's.
    name: String,
    state: Mutex<State>,
    /// Notified when there is a first envelope, or the queue is closed.
    changed: Notify,
    counters: EventCounters,
    limit: LogLimit<()>,
}

#[derive(Debug, Default)]
struct State {
    envelopes: VecDeque<Bytes>,
    bytes: usize,
    is_closed: bool,
    /// Since the log last said it.
    dropped: u64,
}

impl Queue {
    pub(super) fn new(name: &str, counters: EventCounters) -> Self {
        let (name, limit) = (name.to_owned(), LogLimit::new(PAUSE, 1));
        Self { name, state: Mutex::default(), changed: Notify::new(), counters, limit }
    }

    /// Adds an envelope, or drops it if there is no room.
    pub(super) fn push(&self, envelope: Bytes) {
        let mut state = self.lock();
        let bytes = state.bytes + envelope.len();
        if state.is_closed || state.envelopes.len() >= MAX_EVENTS || bytes > MAX_BYTES {
            state.dropped += 1;
            self.counters.dropped.inc();
            return self.log_dropped(state);
        }
        (state.bytes, _) = (bytes, self.counters.pending.inc());
        state.envelopes.push_back(envelope);
        drop(state);
        self.changed.notify_one();
    }

    /// The first envelope, which stays; `None` when the queue is closed and empty.
    pub(super) async fn first(&self) -> Option<Bytes> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if let Some(first) = state.envelopes.front() {
                    return Some(first.clone());
                }
                if state.is_closed {
                    return None;
                }
            }
            changed.await;
        }
    }

    /// The first envelope was delivered.
    pub(super) fn delivered(&self) {
        let mut state = self.lock();
        if let Some(first) = state.envelopes.pop_front() {
            state.bytes -= first.len();
            self.counters.pending.dec();
        }
        self.counters.delivered.inc();
        self.log_dropped(state);
    }

    /// The first envelope was not delivered, and stays.
    pub(super) fn failed(&self) {
        self.counters.failed.inc();
    }

    /// How many envelopes wait.
    pub(super) fn len(&self) -> usize {
        self.lock().envelopes.len()
    }

    /// Takes no further envelope.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_one();
    }

    /// Logs how many envelopes are left, which nothing sends any more.
    pub(super) fn log_lost(&self) {
        let lost = self.len();
        if lost > 0 {
            tracing::warn!(endpoint = self.name, lost, "events: the shutdown's time is over, and events are lost");
        }
    }

    fn log_dropped(&self, mut state: MutexGuard<'_, State>) {
        if state.dropped == 0 || !self.limit.is_due(()) {
            return;
        }
        let dropped = std::mem::take(&mut state.dropped);
        let waiting = state.envelopes.len();
        drop(state);
        tracing::warn!(
            endpoint = self.name,
            dropped,
            waiting,
            "events: the endpoint takes fewer than there are, and events were dropped"
        );
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_queue_is_bounded_in_events_and_bytes() {
        let queue = Queue::new("a", EventCounters::default());
        for number in 0..MAX_EVENTS + 5 {
            queue.push(Bytes::from(number.to_string()));
        }
        assert_eq!((queue.len(), queue.counters.dropped.get()), (MAX_EVENTS, 5));
        // The oldest are kept, in order.
        for number in 0..3 {
            assert_eq!(queue.first().await.unwrap(), number.to_string());
            queue.delivered();
        }
        let queue = Queue::new("b", EventCounters::default());
        for _ in 0..5 {
            queue.push(Bytes::from(vec![0; MAX_BYTES / 4]));
        }
        assert_eq!((queue.len(), queue.counters.pending.get(), queue.counters.dropped.get()), (4, 4, 1));
        queue.close();
        for _ in 0..4 {
            queue.first().await.unwrap();
            queue.delivered();
        }
        assert_eq!((queue.first().await, queue.counters.pending.get()), (None, 0));
    }
}
