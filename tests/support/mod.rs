//! A registry to stand behind pounce, pounce itself, and a client before it.
//!
//! Async functions are `pub(crate)` here: those that are `pub` are compiled into each test or bench that has this
//! module, called or not, and with them all of pounce.
#![allow(
    dead_code,
    unused_imports,
    reason = "tests and benches use a part each"
)]

pub mod blob;
pub mod demands;
pub mod dice;
pub mod faults;
pub mod front;
pub mod image;
pub mod manners;
pub mod pounce;
pub mod process;
pub mod push;
pub mod signer;
pub mod tls;
pub mod upstream;
pub mod users;
pub mod wire;

pub use image::Image;
pub use pounce::{Pounce, Reply};
pub use process::{Process, borrowed};
pub use upstream::{Auth, Upstream};

/// The sum of a metric over its labels, on a page of metrics.
pub fn metric(page: &str, name: &str) -> u64 {
    let prefix = format!("pounce_{name}");
    let values = page.lines().filter(|line| {
        line.strip_prefix(&prefix)
            .is_some_and(|rest| rest.starts_with([' ', '{']) || rest.starts_with("_total"))
    });
    values
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
