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
#[path = "../../tests/support/trips.rs"]
pub mod trips;
#[path = "../../tests/support/upstream.rs"]
pub mod upstream;
#[path = "../../tests/support/fake_s3/xml.rs"]
pub mod xml;

use std::path::PathBuf;

pub use image::Image;
pub use metric::metric;
pub use process::{Process, borrowed};
pub use upstream::Upstream;

/// An S3's answer: a status, headers, and a body.
pub type Said = (u16, Vec<(&'static str, String)>, bytes::Bytes);

/// The pounce program: the one that cargo puts beside this one, unless `POUNCE` names another.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("POUNCE") {
        return path.into();
    }
    let mut path = std::env::current_exe().unwrap();
    path.set_file_name("pounce");
    path
}
