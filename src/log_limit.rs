//! How often the log says the same of something that clients or upstreams repeat.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Says for a key whether a line about it is due: once in `pause`. No line is due for further keys while `most` are
/// remembered, because a client can make up any number of them, and must not flood the log.
#[derive(Debug)]
pub(crate) struct LogLimit<K> {
    pause: Duration,
    most: usize,
    said: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> LogLimit<K> {
    pub(crate) fn new(pause: Duration, most: usize) -> Self {
        Self { pause, most, said: Mutex::default() }
    }

    /// Whether a line is due, which the caller then writes.
    pub(crate) fn is_due(&self, key: K) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, when| when.elapsed() < self.pause);
        if said.contains_key(&key) || said.len() >= self.most {
            return false;
        }
        said.insert(key, Instant::now());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_due_once_in_the_pause_and_their_number_is_bounded() {
        let limit = LogLimit::new(Duration::from_hours(1), 64);
        assert!(limit.is_due(0) && !limit.is_due(0));
        assert_eq!((0..1000).filter(|key| limit.is_due(*key)).count(), 63);
        let always = LogLimit::new(Duration::ZERO, 64);
        assert!(always.is_due(0) && always.is_due(0));
    }
}
