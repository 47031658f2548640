//! The lines that are not written yet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many bytes the buffer takes. As many may be on their way to the system, so that an output has twice this.
const MAX: usize = 512 << 10;
/// How many more it takes of the log, so that an access log that fills the buffer hides no errors.
const MAX_URGENT: usize = MAX + (64 << 10);
/// How many bytes are written without waiting for more.
const BATCH: usize = 64 << 10;
/// How long a line waits for others.
const WAIT: Duration = Duration::from_millis(100);
/// How much memory stays reserved after a burst.
const KEPT: usize = 2 * BATCH;

/// How soon a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::telemetry) enum Urgency {
    /// At once, with the lines before it.
    Now,
    /// With others, 100 ms later at most.
    Batched,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// It writes, or was told to. It looks at the buffer before it waits, so that nothing needs to wake it.
    #[default]
    Busy,
    /// It waits for a first line.
    Idle,
    /// It waits for more lines.
    Collecting,
}

#[derive(Debug, Default)]
struct State {
    pending: Vec<u8>,
    thread: Thread,
    urgent: bool,
    closed: bool,
    /// How many bytes were taken, and how many of these were written or given up.
    taken: u64,
    done: u64,
}

/// Lines on their way from any thread to the one that writes them.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    state: Mutex<State>,
    wake: Condvar,
    written: Condvar,
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes whole lines; false if there is no room for them.
    pub(super) fn push(&self, lines: &[u8], urgency: Urgency) -> bool {
        let is_urgent = urgency == Urgency::Now;
        let mut state = self.lock();
        let max = if is_urgent { MAX_URGENT } else { MAX };
        if state.pending.len() + lines.len() > max {
            return false;
        }
        state.pending.extend_from_slice(lines);
        state.taken += lines.len() as u64;
        state.urgent |= is_urgent;
        self.wake_if_due(state);
        true
    }

    /// Waking takes a system call, so that it is done twice for each batch at most.
    fn wake_if_due(&self, mut state: MutexGuard<'_, State>) {
        let due = match state.thread {
            Thread::Busy => false,
            Thread::Idle => true,
            Thread::Collecting => state.is_due(),
        };
        if due {
            state.thread = Thread::Busy;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for lines, and exchanges them for an empty `batch`; false after [`close`](Self::close), if there are none.
    pub(super) fn next(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        batch.shrink_to(KEPT);
        let mut state = self.lock();
        while state.pending.is_empty() && !state.closed {
            state.thread = Thread::Idle;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + WAIT;
        while !state.is_due() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state.thread = Thread::Collecting;
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (state.thread, state.urgent) = (Thread::Busy, false);
        std::mem::swap(&mut state.pending, batch);
        !batch.is_empty()
    }

    /// Bytes of a batch were written, or given up.
    pub(super) fn finish(&self, bytes: usize) {
        self.lock().done += bytes as u64;
        self.written.notify_all();
    }

    /// Waits until the lines in the buffer are written or given up.
    pub(super) fn flush(&self, until: Instant) {
        let mut state = self.lock();
        let goal = state.taken;
        state.urgent |= !state.pending.is_empty();
        self.wake_if_due(state);
        let mut state = self.lock();
        while state.done < goal {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// No more lines will come.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake_if_due(state);
    }
}

impl State {
    fn is_due(&self) -> bool {
        self.urgent || self.closed || self.pending.len() >= BATCH
    }
}
