//! Retention and garbage collection: what the bucket keeps, and how what nothing needs goes without harm to pushes,
//! mounts and fills that go on meanwhile.
//!
//! A round: [`Collector::acquire`](lease::Collector::acquire), `due`, a survey of the bucket, `sweep`, `publish`,
//! `retire`, `release`.

mod batches;
mod facts;
#[cfg(feature = "internals")]
mod hook;
mod lease;
mod requests;
mod sweep;

#[cfg(feature = "internals")]
pub(crate) use hook::gc_round;
