//! How long a connection may be idle, read a header, or not take a response.
//!
//! hyper has one timeout for a header and for the pause before it. Proxies keep idle connections open for a minute and
//! more, while a header needs far less. So both timeouts are kept here.

use std::time::{Duration, Instant};

use super::Activity;
use crate::config::Limits;

/// Bytes a second. A client that takes less may lose its connection to another client: this is less than the slowest
/// network carries, and more than a client takes that only occupies a connection.
const MIN_RATE: u64 = 1 << 10;
/// The shortest time over which the rate is measured.
const MEASURED: Duration = Duration::from_secs(15);

/// Returns once the connection has been idle, or has read one header, or has taken nothing of a response, for too long.
/// Measures meanwhile whether its client takes responses too slowly.
pub(super) async fn overdue(activity: &Activity, limits: &Limits) {
    let mut measured = (Instant::now(), activity.written());
    loop {
        let now = Instant::now();
        measured = measure_rate(activity, measured);
        // A timeout that begins meanwhile is at least this long.
        let shortest = limits.headertimeout.min(limits.writetimeout).min(limits.idletimeout);
        let next = now + shortest;
        let deadline = deadline(activity, limits).unwrap_or(next);
        if deadline <= now {
            return;
        }
        tokio::time::sleep_until(deadline.min(next).into()).await;
    }
}

/// When the timeout ends that runs now; `None` if none does.
fn deadline(activity: &Activity, limits: &Limits) -> Option<Instant> {
    let Some(idle) = activity.idle_since() else {
        return Some(activity.stalled_since()? + limits.writetimeout);
    };
    Some(match activity.header_since() {
        // Also before the first request: clients open connections in advance.
        None => idle + limits.idletimeout,
        Some(began) => began + limits.headertimeout,
    })
}

/// Compares the bytes that the client has taken with those at the last measurement, if that is long enough ago.
fn measure_rate(activity: &Activity, last: (Instant, u64)) -> (Instant, u64) {
    let (length, written) = (last.0.elapsed(), activity.written());
    if length < MEASURED {
        return last;
    }
    let expected = MIN_RATE.saturating_mul(length.as_secs());
    activity.set_slow(activity.stalled_since().is_some() && written - last.1 < expected);
    (Instant::now(), written)
}

/// How much longer the connection has to be idle until it has been for `length`. A header that has begun to come counts
/// as a request.
pub(super) fn idle_time_left(activity: &Activity, length: Duration) -> Duration {
    let idle = activity.idle_since().filter(|_| activity.header_since().is_none());
    idle.map_or(length, |since| length.saturating_sub(since.elapsed()))
}

/// Returns once the connection is idle, or its client has taken nothing for `interval`, which is how often it looks.
pub(super) async fn idle_or_stalled(activity: &Activity, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        let stalled = activity.stalled_since().is_some_and(|since| since.elapsed() >= interval);
        if activity.idle_since().is_some() || stalled {
            return;
        }
    }
}
