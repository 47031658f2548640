//! How long the steps of garbage collection take: no setting, because the values depend on each other.

use std::time::Duration;

/// What protects a write from a collector of garbage, in times. Tests set less.
#[derive(Clone, Copy, Debug)]
pub struct GcTiming {
    /// How long caches believe that the bucket has something. Another process may have deleted it.
    pub present: Duration,
    /// How old a writer's knowledge of the condemned keys may be when it acknowledges.
    pub knowledge: Duration,
    /// How long a writer relies on what it saw in the bucket, or believed when it began, without another look. This and
    /// [`present`](Self::present) together are less than [`retire`](Self::retire).
    pub belief: Duration,
    /// From its `Date` on, a DELETE of a collector is refused after so long.
    pub expiry: Duration,
    /// From the decision to delete on, no DELETE of the key is under way after so long: [`expiry`](Self::expiry), and as
    /// much again for requests that the bucket took and did not finish, and for clocks of its machines that differ.
    pub settle: Duration,
    /// How long a batch whose keys were deleted binds writers.
    pub retire: Duration,
    /// How often a collector renews its lease.
    pub heartbeat: Duration,
    /// How old a lease must be before another collector takes it.
    pub takeover: Duration,
}

impl Default for GcTiming {
    fn default() -> Self {
        Self {
            present: Duration::from_mins(10),
            knowledge: Duration::from_mins(5),
            belief: Duration::from_hours(1),
            expiry: Duration::from_mins(1),
            settle: Duration::from_mins(2),
            retire: Duration::from_hours(2),
            heartbeat: Duration::from_secs(20),
            takeover: Duration::from_mins(2),
        }
    }
}
