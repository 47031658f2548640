//! Tags: what each names, how fresh that is, and writing, deleting and listing them.
//!
//! A tag is looked up in memory, in the bucket and, if it came from there, upstream ([`resolve`]). A stored tag is
//! compared with its upstream by a task of its own ([`revalidation`]); what that says is written back in the background
//! ([`writeback`]). Where the bucket keeps no conditions, [`push_markers`] make sure that a push wins.

mod delete;
mod list;
mod lookup;
mod push;
mod push_markers;
mod resolve;
mod resolved;
mod revalidation;
mod writeback;

use std::sync::Arc;
use std::time::Duration;

use super::cache::Cache;
use super::flights::Flights;
use super::list_memory::ListMemory;
use super::revisions::Revisions;
use super::runtime::Background;
use crate::store::Store;
use crate::upstream::Upstreams;

use lookup::Lookup;
use push_markers::PushMarkers;
use revalidation::Revalidations;
use writeback::Writeback;

pub(super) use resolved::Resolved;

/// The tags of all repositories.
#[derive(Debug)]
pub struct Tags {
    store: Store,
    upstreams: Arc<Upstreams>,
    cache: Arc<Cache>,
    flights: Arc<Flights>,
    memory: Arc<ListMemory>,
    background: Arc<Background>,
    lookup: Arc<Lookup>,
    markers: Arc<PushMarkers>,
    writeback: Arc<Writeback>,
    revalidations: Arc<Revalidations>,
}

impl Tags {
    /// `client_wait` is how long a client of a stored tag waits for the upstream.
    pub(super) fn new(
        store: &Store,
        cache: &Arc<Cache>,
        flights: &Arc<Flights>,
        memory: &Arc<ListMemory>,
        revisions: &Arc<Revisions>,
        client_wait: Duration,
    ) -> Self {
        let (provenance, background) = (&revisions.provenance, &revisions.background);
        let markers = Arc::new(PushMarkers { store: store.clone(), provenance: Arc::clone(provenance) });
        let lookup = Arc::new(Lookup {
            store: store.clone(),
            cache: Arc::clone(cache),
            provenance: Arc::clone(provenance),
            revisions: Arc::clone(revisions),
        });
        let writeback = Arc::new(Writeback {
            store: store.clone(),
            cache: Arc::clone(cache),
            flights: Arc::clone(flights),
            provenance: Arc::clone(provenance),
            revisions: Arc::clone(revisions),
            markers: Arc::clone(&markers),
            condemned: Arc::clone(&revisions.condemned),
            background: Arc::clone(background),
        });
        let revalidations = Revalidations::new(cache, flights, &lookup, &writeback, background, client_wait);
        Self {
            store: store.clone(),
            upstreams: Arc::clone(&provenance.upstreams),
            cache: Arc::clone(cache),
            flights: Arc::clone(flights),
            memory: Arc::clone(memory),
            background: Arc::clone(background),
            lookup,
            markers,
            writeback,
            revalidations: Arc::new(revalidations),
        }
    }
}
