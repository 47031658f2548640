//! What is stored, as people browse it: names, a repository's tags, an image.
//!
//! Only the bucket and memory are read, never an upstream; nothing is written or filled. Each call makes a bounded number
//! of requests to the bucket, however much there is, and its result is bounded in bytes. What cannot be read is told in
//! the place where it would stand.

mod configuration;
mod figures;
mod image;
mod manifest;
mod names;
mod periodic;
mod tags;

use std::sync::Arc;
use std::time::SystemTime;

use super::cache::Cache;
use super::catalog::Catalog;
use super::flights::Flights;
use super::gc::Figures;
use super::inventory::Inventory;
use super::pulls::{PullHistory, Pulls};
use super::referrers::Referrers;
use crate::store::Store;
pub(super) use manifest::Summaries;
pub(super) use periodic::Periodic;

pub use configuration::{BuildStep, ImageConfiguration};
pub use image::{Child, Content, Image, Layer};
pub use manifest::Summary;
pub use names::RepositoryList;
pub(super) use tags::TagCounts;
pub use tags::{TagEntry, TagLink};

/// Reads what is stored.
#[derive(Debug)]
pub struct Browse {
    pub(super) store: Store,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) inventory: Arc<Inventory>,
    pub(super) referrers: Arc<Referrers>,
    pub(super) pulls: Arc<Pulls>,
    pub(super) summaries: Summaries,
    pub(super) tag_counts: TagCounts,
    pub(super) figures: Periodic<Option<Arc<Figures>>>,
    pub(super) history: Periodic<PullHistory>,
}

/// When something was last pulled, as far as the notes in the bucket tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastPull {
    /// From this process, within an hour.
    Now,
    /// Then, or somewhat earlier.
    At(SystemTime),
    /// Not since then, from when on all pulls are known.
    NotSince(SystemTime),
    /// The notes cannot be read.
    Unknown,
}
