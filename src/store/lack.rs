//! What a bucket cannot do, which it may have said for another reason.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the bucket is not asked again.
const REMEMBERED: Duration = Duration::from_mins(10);

/// Something that the bucket does not know, for a while after it said so.
#[derive(Debug, Default)]
pub(super) struct Lack(Mutex<Option<Instant>>);

impl Lack {
    pub(super) fn is_set(&self) -> bool {
        let set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.is_some_and(|set| set.elapsed() < REMEMBERED)
    }

    /// The bucket said it now.
    pub(super) fn set(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}
