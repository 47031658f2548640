//! Input that means harm, one file a kind. Each test counts what an attack takes: requests, bytes, objects, places, or
//! the memory of a process that is attacked; and that others are served meanwhile.

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
