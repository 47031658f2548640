//! Manifests: pull (end-3), push (end-7) and delete (end-9).
//!
//! A digest is looked for in memory, in the bucket and upstream, in this order. A manifest in the bucket counts for a
//! repository only with a revision link there. [`Tags`](super::tags) turn a tag into a digest.

mod attached;
mod delete;
mod kept;
mod pull;
mod push;
mod requirements;

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::blobs::Blobs;
use super::cache::Cache;
use super::changes::Changes;
use super::condemned::Condemned;
use super::flights::Flights;
use super::holdings::Holdings;
use super::links::Links;
use super::pulls::Pulls;
use super::referrers::Referrers;
use super::revisions::Revisions;
use super::runtime::Background;
use super::tags::Tags;
use crate::config::Validation;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

pub use pull::Served;
pub use push::ManifestRequest;

/// How many lookups in the bucket all pushes of manifests make at once, for the content that these name.
pub(super) const PARALLEL_CHECKS: usize = 64;

/// The manifests of all repositories.
#[derive(Debug)]
pub struct Manifests {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) tags: Arc<Tags>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) referrers: Arc<Referrers>,
    pub(super) links: Arc<Links>,
    pub(super) holdings: Arc<Holdings>,
    pub(super) condemned: Arc<Condemned>,
    pub(super) blobs: Arc<Blobs>,
    pub(super) background: Arc<Background>,
    pub(super) pulls: Arc<Pulls>,
    pub(super) changes: Changes,
    pub(super) validation: Validation,
    /// Permits for [`PARALLEL_CHECKS`].
    pub(super) checks: Semaphore,
    pub(super) metrics: Arc<Metrics>,
}
