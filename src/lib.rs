//! pounce: an OCI registry that keeps nothing on its own disk.
//!
//! It fronts other registries. The first pull of a blob copies it into an S3 bucket; from then on, pounce answers a
//! blob GET with a redirect to the bucket. Pushed content is stored in the same bucket.
//!
//! # The layers
//!
//! ```text
//! main → cli → server → http → { registry, auth, events } → { store, upstream } → oci
//!              telemetry and config stand beside them
//! ```
//!
//! An arrow means "may use". Nothing points back up; `tests/layers.rs` checks it.
//!
//! - [`oci`]: the spec's terms as types. No I/O.
//! - [`store`]: the bucket. Only this layer uses the S3 SDK.
//! - `upstream`: the registries in front of which pounce stands. Only this layer is an HTTP client.
//! - `registry`: pull through, store once, redirect, take pushes. It speaks OCI, not HTTP.
//! - [`auth`]: authentication and authorization. Only this layer reads passwords and tokens of clients.
//! - `events`: what clients did, sent to the endpoints of `notifications`.
//! - `http`: the wire. Only this layer knows status codes.
//! - `server`: starts the layers from a configuration, and stops them.
//! - [`cli`]: one file for each command. Commands that do not serve use the layers directly.
//! - [`config`] and `telemetry`: settings; logs, metrics and traces. Constructors use them.
//! - `reload`, `fd_limit`, `client_network`, `fair_semaphore`, `manifest_memory`, `machine_memory`, `log_limit`: files
//!   that change, the limit on open files, addresses that count as one client, permits that clients share, the memory of
//!   large manifests, and that of the machine, and how often the log says the same.
//!
//! # The words that are not the spec's
//!
//! An **upstream** is a registry in front of which pounce stands. The **store** is the bucket. A **key** is a path in
//! it. A **fill** copies one blob from an upstream to the store.

#![forbid(unsafe_code)]
// They panic where the output takes no more: see cli/print.rs.
#![warn(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, expect(clippy::unwrap_used, reason = "a test that panics has failed, and says where"))]

pub mod auth;
mod bounded_file;
pub mod cli;
mod client_network;
pub mod config;
mod events;
mod fair_semaphore;
mod fd_limit;
mod http;
#[cfg(feature = "internals")]
pub mod internals;
mod log_limit;
mod machine_memory;
mod manifest_memory;
pub mod oci;
mod registry;
mod reload;
mod server;
pub mod store;
mod telemetry;
mod upstream;

pub use server::{Server, StartError};
