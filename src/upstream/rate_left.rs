//! How many requests an upstream still allows to one of several credentials.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest that a response is believed: Docker Hub's window.
const MAX_LIFE: Duration = Duration::from_hours(6);
/// How long credentials rest after a 429 that does not say when to try again.
const REST: Duration = Duration::from_mins(1);

/// What the last response said; unknown when its time is over.
#[derive(Debug, Default)]
pub(super) struct RateLeft(Mutex<Option<(u64, Instant)>>);

impl RateLeft {
    /// Takes `ratelimit-remaining`, as in `76;w=21600`: 76 requests in a window of so many seconds.
    pub(super) fn said(&self, remaining: Option<&str>) {
        let Some(mut parts) = remaining.map(|text| text.split(';').map(str::trim)) else {
            return;
        };
        let Some(left) = parts.next().and_then(|left| left.parse().ok()) else {
            return;
        };
        let window = parts.find_map(|part| part.strip_prefix("w=")?.parse().ok()).map(Duration::from_secs);
        self.set(left, window.unwrap_or(REST));
    }

    /// The upstream refused a request (429) until then.
    pub(super) fn is_used_up(&self, retry_after: Option<Duration>) {
        self.set(0, retry_after.unwrap_or(REST));
    }

    fn set(&self, left: u64, life: Duration) {
        let until = Instant::now() + life.min(MAX_LIFE);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((left, until));
    }

    /// The requests that are left, and until when that is so; `None` if it is not known.
    pub(super) fn get(&self) -> Option<(u64, Instant)> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.filter(|(_, until)| Instant::now() < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_believed_for_its_window() {
        let left = |said: &[&str]| {
            let rate = RateLeft::default();
            for text in said {
                rate.said(Some(text));
            }
            rate.get().map(|(left, _)| left)
        };
        assert_eq!(left(&[]), None);
        assert_eq!(left(&["76;w=21600"]), Some(76));
        assert_eq!(left(&["76 ; w=21600", "75"]), Some(75));
        assert_eq!(left(&["76;w=0"]), None);
        for odd in ["", "many", "-1", ";w=3", "99999999999999999999"] {
            assert_eq!(left(&["7", odd]), Some(7), "{odd}");
        }
        assert_eq!(left(&["7;w=99999999999999999999"]), Some(7));
        let rate = RateLeft::default();
        rate.is_used_up(None);
        assert_eq!(rate.get().map(|(left, _)| left), Some(0));
    }
}
