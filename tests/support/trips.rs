//! How many round trips to an S3 come one after the other while a request is served, whatever the machine's speed.
//!
//! Every answer is held until no further call comes, and then all that are held are let go together. So a call waits
//! for nothing but the calls that it depends on, and the number of times that answers were let go is the depth of the
//! calls' dependencies.
//!
//! Whether a further call comes is measured in turns of the runtime instead of by the clock. In a test, pounce and this
//! proxy share one thread, so a thread that the machine holds up makes no turns either. What noise is left can only add
//! a trip: a call is never answered before those that were made beside it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A turn of the runtime: a pause after which every task that could run did.
const TURN: Duration = Duration::from_millis(2);
/// No further call comes if none came in so many turns, and all calls have their answers.
const QUIET: usize = 25;

/// Counts trips.
#[derive(Default)]
pub struct Trips {
    calls: Mutex<Calls>,
    /// How often answers were let go.
    released: watch::Sender<usize>,
}

/// The calls under way.
#[derive(Clone, Copy, Default)]
struct Calls {
    are_held: bool,
    /// How many came.
    arrived: usize,
    /// How many have no answer yet.
    unanswered: usize,
    /// How many answers are held.
    held: usize,
}

/// A call under way.
pub struct Call {
    trips: Arc<Trips>,
    is_answered: bool,
}

impl Trips {
    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call comes.
    pub fn begin(self: &Arc<Self>) -> Call {
        let mut calls = self.lock();
        calls.arrived += 1;
        calls.unanswered += 1;
        Call { trips: Arc::clone(self), is_answered: false }
    }

    /// Does the work, and counts its trips; those that begin in the background when the work is done do not count.
    pub(crate) async fn count<T>(&self, work: impl Future<Output = T>) -> (T, usize) {
        self.lock().are_held = true;
        let before = *self.released.borrow();
        let output = tokio::select! {
            output = work => output,
            never = self.release() => match never {},
        };
        let trips = *self.released.borrow() - before;
        self.lock().are_held = false;
        self.released.send_modify(|released| *released += 1);
        (output, trips)
    }

    /// Lets answers go whenever no further call comes.
    async fn release(&self) -> Infallible {
        let (mut arrived, mut quiet) = (0, 0);
        loop {
            tokio::time::sleep(TURN).await;
            let calls = *self.lock();
            let is_quiet = calls.arrived == arrived && calls.unanswered == 0 && calls.held > 0;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            arrived = calls.arrived;
            if quiet == QUIET {
                self.released.send_modify(|released| *released += 1);
                quiet = 0;
            }
        }
    }
}

impl Call {
    /// The call has its answer, which goes to the client when this returns.
    pub(crate) async fn answered(mut self) {
        let mut released = {
            let mut calls = self.trips.lock();
            if !calls.are_held {
                return;
            }
            calls.unanswered -= 1;
            calls.held += 1;
            self.is_answered = true;
            self.trips.released.subscribe()
        };
        // The sender lives as long as the call.
        let _ = released.changed().await;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut calls = self.trips.lock();
        if self.is_answered {
            calls.held -= 1;
        } else {
            calls.unanswered -= 1;
        }
    }
}
