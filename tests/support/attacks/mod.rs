//! Attackers' requests, one file a kind: a test sends a few of them, and `make torture FAULT=hostile` many.

pub mod answers;
pub mod guesses;
pub mod headers;
pub mod manifests;
pub mod pushes;
pub mod tails;
