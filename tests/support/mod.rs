//! A registry to stand behind pounce, pounce itself, and a client before it.

pub mod image;
pub mod pounce;
pub mod upstream;

pub use image::Image;
pub use pounce::{Pounce, Reply};
pub use upstream::{Auth, Upstream};
