//! The lines that are not written yet.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many bytes the buffer takes. As many may be on their way to the system, so that an output has twice this.
const MAX: usize = 512 << 10;
/// How many more it takes of each higher priority, so that neither an access log that fills the buffer nor a warning for
/// each request hides errors.
const RESERVE: usize = 64 << 10;
/// How many bytes are written without waiting for more.
const BATCH: usize = 64 << 10;
/// How long a line waits for others.
const WAIT: Duration = Duration::from_millis(100);
/// How much memory stays reserved after a burst.
const KEPT: usize = 2 * BATCH;

/// How much of the buffer lines may fill, and how soon they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::telemetry) enum Priority {
    /// Of the access log: with others, 100 ms later at most.
    Request,
    /// Of the log, up to warnings: the same, as a request may bring one.
    Event,
    /// An error: at once, with the lines before it.
    Error,
}

impl Priority {
    /// How many bytes the buffer has with such a line at most.
    const fn limit(self) -> usize {
        match self {
            Self::Request => MAX,
            Self::Event => MAX + RESERVE,
            Self::Error => MAX + 2 * RESERVE,
        }
    }
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
    pub(super) fn push(&self, lines: &[u8], priority: Priority) -> bool {
        let mut state = self.lock();
        if state.pending.len() + lines.len() > priority.limit() {
            return false;
        }
        state.pending.extend_from_slice(lines);
        state.taken += lines.len() as u64;
        state.urgent |= priority == Priority::Error;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_requests_nor_warnings_leave_no_room_for_errors() {
        let (buffer, line) = (Buffer::default(), [b'x'; 1024]);
        let pushed =
            |priority| std::iter::repeat_with(|| buffer.push(&line, priority)).take_while(|taken| *taken).count();
        assert_eq!((pushed(Priority::Request), pushed(Priority::Event), pushed(Priority::Error)), (512, 64, 64));
    }

    #[test]
    fn only_an_error_ends_a_batch() {
        let buffer = Buffer::default();
        assert!(buffer.push(b"x", Priority::Request) && buffer.push(b"x", Priority::Event));
        assert!(!buffer.lock().is_due());
        assert!(buffer.push(b"x", Priority::Error));
        assert!(buffer.lock().is_due());
    }
}
