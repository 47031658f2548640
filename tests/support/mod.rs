//! An upstream registry, pounce itself, and a client.
//!
//! Async functions are `pub(crate)` here: a `pub` one is compiled into each test or bench with this module, called or
//! not, and all of pounce with it.
#![allow(dead_code, unused_imports, reason = "tests and benches use a part each")]

pub mod attacks;
pub mod blob;
pub mod collector;
pub mod demands;
pub mod dice;
pub mod fake_s3;
pub mod fault;
pub mod faults;
pub mod front;
pub mod image;
pub mod issuer;
pub mod manners;
pub mod metric;
pub mod ollama;
pub mod ollama_key;
pub mod pounce;
pub mod process;
pub mod push;
pub mod ranged;
pub mod receiver;
pub mod requests;
pub mod scripted;
pub mod sharing;
pub mod signer;
pub mod tls;
pub mod trace;
pub mod trips;
pub mod upstream;
pub mod users;
pub mod wire;

use std::path::PathBuf;

pub use fake_s3::{FakeS3, Rule};
pub use image::Image;
pub use metric::metric;
pub use pounce::{Pounce, Reply};
pub use process::{Process, borrowed};
pub use scripted::{Said, Scripted};
pub use sharing::Sharing;
pub use upstream::{Auth, Upstream};

/// The program; `POUNCE` names another one, so that a test can compare two versions.
pub fn program() -> PathBuf {
    std::env::var_os("POUNCE").map_or_else(|| env!("CARGO_BIN_EXE_pounce").into(), PathBuf::from)
}
