//! The context of a request.

use axum::http::request::Parts;

use super::AppState;
use super::client_address::ClientAddress;
use super::server::Peer;
use crate::auth::Identity;
use crate::registry::Pusher;

/// A request without its body, its client's address, and the state that all requests share.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) app: &'a AppState,
    pub(super) request: &'a Parts,
    pub(super) client: ClientAddress,
}

impl<'a> Context<'a> {
    pub(super) fn new(app: &'a AppState, request: &'a Parts, peer: Peer) -> Self {
        Self { app, request, client: ClientAddress::of(app, request, peer) }
    }

    /// The path behind `http.prefix`; empty if the path does not begin with that.
    pub(super) fn path(&self) -> &'a str {
        self.request.uri.path().strip_prefix(&self.app.prefix).unwrap_or_default()
    }

    pub(super) fn query(&self) -> Option<&'a str> {
        self.request.uri.query()
    }

    /// The user or the address that a push takes permits and memory for.
    pub(super) fn pusher(&self, identity: &Identity) -> Pusher {
        Pusher::of(identity.user(), self.client.ip)
    }
}
