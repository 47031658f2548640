//! Injected faults and their consequences. `make torture` is the long form; `tests/faults.rs` does a little of it.
//!
//! Each fault has a [`report::Row`]: how often it was injected, how many operations clients did meanwhile, and which of
//! them lost content (acknowledged, but not there), showed something wrong (forbidden bytes or states) or failed
//! (without success and without an error that gives a reason).
#![allow(dead_code, reason = "the long form and the short one use a part each")]

pub mod bucket;
pub mod client;
pub mod ending;
pub mod fillers;
pub mod fleet;
pub mod gc;
pub mod hostile;
pub mod kills;
pub mod ledger;
pub mod outages;
pub mod puller;
pub mod races;
pub mod report;
pub mod siege;
pub mod soak;
