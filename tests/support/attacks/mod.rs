//! What attackers send, one file a kind: a test sends a little of it, and `make torture FAULT=hostile` a lot.

pub mod answers;
pub mod guesses;
pub mod headers;
pub mod manifests;
pub mod pushes;
pub mod tails;
