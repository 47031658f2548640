//! What is broken on purpose, and what comes of it. `make torture` is the long form of what `tests/faults.rs` does a
//! little of.
//!
//! A fault has a [`report::Row`]: how often it was injected, what clients did meanwhile, and what was lost (it was
//! acknowledged and is not there), wrong (bytes or states that must not be) or failed (it ended neither well nor in an
//! error that says why).
#![allow(dead_code, reason = "the long form and the short one use a part each")]

pub mod bucket;
pub mod client;
pub mod ending;
pub mod fleet;
pub mod hostile;
pub mod kills;
pub mod ledger;
pub mod outages;
pub mod races;
pub mod report;
pub mod siege;
pub mod soak;
