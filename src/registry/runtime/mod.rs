//! Tasks, waiting and readiness: nothing here knows what an OCI registry is.

mod background;
mod bounded;
mod readiness;
mod single_flight;

pub(super) use background::Background;
pub(super) use bounded::{buffered, first, try_join_bounded};
pub use readiness::{Readiness, Unready};
pub(super) use single_flight::SingleFlight;
