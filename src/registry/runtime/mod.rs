//! Tasks, waiting and readiness: nothing here knows what an OCI registry is.

mod background;
mod bounded;
mod moment;
mod readiness;
mod single_flight;

pub(super) use background::Background;
pub(super) use bounded::{buffered, first, try_join_bounded};
pub(super) use moment::{Moment, after_sleep};
pub use readiness::{Readiness, Unready};
pub(super) use single_flight::SingleFlight;

/// From 0 to 1.
pub(super) fn random_share() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}
