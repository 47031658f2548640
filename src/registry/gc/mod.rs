//! Retention and garbage collection: what the bucket keeps, and how what nothing needs goes without harm to pushes,
//! mounts and fills that go on meanwhile.
//!
//! A round: [`Collector::acquire`](lease::Collector::acquire), `due`, a survey of the bucket, `sweep`, `publish`,
//! `retire`, `release`.

mod batches;
mod facts;
mod retention;
mod lease;
mod requests;
mod sweep;
