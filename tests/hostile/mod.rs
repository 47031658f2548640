//! Hostile input, one file a kind. Each test measures the cost of an attack (requests, bytes, objects, permits or the
//! attacked process's memory), and that other clients are served meanwhile.

mod answers;
mod connections;
mod guesses;
mod headers;
mod holdings;
mod manifests;
mod membership;
mod pushes;
mod rules;
mod tails;
mod wire;
