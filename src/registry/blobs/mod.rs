//! Blobs: pull (end-2) and delete (end-10).
//!
//! Two facts decide how a client gets a blob: whether it belongs to the repository (a manifest of it names the blob, a
//! layer link says so, or the upstream does), and whether the bucket has it. If both are in memory, the client gets a
//! redirect without any I/O. If not, the bucket is asked for both at once. A blob that is not in the bucket is
//! [`cold`]. One that is in the bucket only just now, where its regions lag behind each other, is streamed from the
//! leader, because the client's region may answer a redirect with a 404.

mod cold;
mod location;
mod open;

use std::sync::Arc;

use super::cache::Cache;
use super::changes::Changes;
use super::fill::Fills;
use super::flights::Flights;
use super::links::Links;
use super::runtime::Background;
use crate::config::OnMiss;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

pub use open::{BlobAccess, BlobInfo, BlobRequest, BlobStream};

/// The blobs of all repositories.
#[derive(Debug)]
pub struct Blobs {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) links: Arc<Links>,
    pub(super) fills: Arc<Fills>,
    pub(super) background: Arc<Background>,
    pub(super) changes: Changes,
    /// `proxy.onmiss`
    pub(super) on_miss: OnMiss,
    /// `storage.redirect.disable`
    pub(super) stream_all: bool,
    pub(super) metrics: Arc<Metrics>,
}
