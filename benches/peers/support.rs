//! The parts of the tests' harness that do not use pounce's library.
#![allow(dead_code, reason = "some of it is for tests only")]

#[path = "../../tests/support/blob.rs"]
pub mod blob;
#[path = "../../tests/support/demands.rs"]
pub mod demands;
#[path = "../../tests/support/dice.rs"]
pub mod dice;
#[path = "../../tests/support/front.rs"]
pub mod front;
#[path = "../../tests/support/image.rs"]
pub mod image;
#[path = "../../tests/support/manners.rs"]
pub mod manners;
#[path = "../../tests/support/metric.rs"]
pub mod metric;
#[path = "../../tests/support/process.rs"]
pub mod process;
#[path = "../../tests/support/requests.rs"]
pub mod requests;
#[path = "../../tests/support/upstream.rs"]
pub mod upstream;

use std::path::PathBuf;

pub use image::Image;
pub use metric::metric;
pub use process::{Process, borrowed};
pub use upstream::Upstream;

/// The pounce program, which cargo puts beside this one.
pub fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("pounce");
    path
}
