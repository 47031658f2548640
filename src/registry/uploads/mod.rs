//! Pushing blobs (end-4 to end-6, end-11, end-13, end-14).
//!
//! Where the digest is known before the first byte, the blob goes straight to its final key
//! ([`BlobWriter`](super::ingest::BlobWriter)). Otherwise the upload's bytes are collected under keys of its own
//! ([`append`]) and moved when the digest is known ([`finish`]). The [`state`] in the upload's URL ties its requests
//! together; a replica remembers nothing of it. The latest state is in the bucket, too ([`tail`]).

mod abort;
mod append;
mod begin;
mod finish;
mod racing;
mod request;
mod state;
mod sweep;
mod tail;

use std::sync::Arc;

use super::changes::Changes;
use super::fill::Fills;
use super::flights::Flights;
use super::ingest::BlobWriter;
use super::links::Links;
use super::options::Options;
use super::runtime::Background;
use crate::store::Store;

use racing::Racing;
use state::StateSigner;

pub use begin::Mounted;
pub use request::{ChunkRequest, Progress, Pushed, UploadRequest};
#[cfg(feature = "internals")]
pub(crate) use state::{fuzz as fuzz_state, measured as measured_state};

/// The uploads of all repositories.
#[derive(Debug)]
pub struct Uploads {
    store: Store,
    flights: Arc<Flights>,
    links: Arc<Links>,
    writer: Arc<BlobWriter>,
    fills: Arc<Fills>,
    background: Arc<Background>,
    changes: Changes,
    signer: StateSigner,
    racing: Racing,
}

impl Uploads {
    pub(super) fn new(
        store: &Store,
        flights: &Arc<Flights>,
        links: &Arc<Links>,
        writer: &Arc<BlobWriter>,
        fills: &Arc<Fills>,
        options: &Options,
    ) -> Self {
        Self {
            store: store.clone(),
            flights: Arc::clone(flights),
            links: Arc::clone(links),
            writer: Arc::clone(writer),
            fills: Arc::clone(fills),
            background: Arc::clone(&links.background),
            changes: options.changes,
            signer: StateSigner::new(options.secret.reveal().as_bytes()),
            racing: Racing::default(),
        }
    }
}
