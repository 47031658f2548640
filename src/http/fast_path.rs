//! Answers from memory, at once.
//!
//! Most requests are answered here. This way has no future, no box and no span, and leads to the same answers as the
//! way that every request can take.

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::response::Response;

use super::access_log::LogEntry;
use super::answer::Answer;
use super::client::Client;
use super::client_address::ClientAddress;
use super::endpoint::Endpoint;
use super::server::Peer;
use super::state::AppState;
use super::{authenticate, authorize, blobs, containerd_ns, headers, manifests, public_url, response};
use crate::auth::Verdict;

/// The response; `None` unless both the content and the credentials are cached.
pub(super) fn respond(app: &AppState, request: &Parts, body: &Body, peer: Peer) -> Option<Response> {
    let path = app.path(request);
    let is_plain = path.starts_with("/v2/") && body.is_end_stream();
    if !is_plain || !public_url::has_valid_host(request) {
        return None;
    }
    let query = request.uri.query();
    let mut endpoint = Endpoint::parse(&request.method, path, query).ok()?;
    containerd_ns::resolve_names(app, &mut endpoint, query).ok()?;
    let address = ClientAddress::of(app, request, peer);
    let identity = authenticate::from_memory(app, request, &address)?;
    if authorize::verdict_from_memory(app, &identity, endpoint.scope()?) != Verdict::Allowed {
        return None;
    }
    let client = Client { address, identity };
    let answer = answer(app, request, &client, &endpoint)?;
    let answer = app.memory.hold_now(request, address.ip, answer)?;
    let mut entry = LogEntry::begin(app, request, address.ip);
    entry.set_endpoint(&endpoint);
    entry.set_user(client.identity.user());
    Some(response::finish(app, request, &address, entry, answer))
}

/// The answer, if it needs no I/O and nothing to log besides.
fn answer(app: &AppState, request: &Parts, client: &Client, endpoint: &Endpoint) -> Option<Answer> {
    match endpoint {
        Endpoint::Support => Some(headers::json("{}").into()),
        Endpoint::PullBlob { name, digest } => blobs::from_memory(app, request, client, name, digest),
        Endpoint::PullManifest { name, reference } => manifests::from_memory(app, request, name, reference),
        _ => None,
    }
}
