//! Answers from memory, at once.
//!
//! Most requests are answered here. This way has no future, no box and no span, and leads to the same answers as the
//! way that every request can take.

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::response::Response;

use super::server::Peer;
use super::{
    Answer, AppState, Context, Endpoint, LogEntry, authenticate, authorize, blobs, headers, manifests, public_url,
    response, upstream_names,
};
use crate::auth::Verdict;

/// The response; `None` unless both the content and the credentials are cached.
pub(super) fn respond(app: &AppState, request: &Parts, body: &Body, peer: Peer) -> Option<Response> {
    let cx = &Context::new(app, request, peer);
    let is_plain = cx.path().starts_with("/v2/") && body.is_end_stream();
    if !is_plain || !public_url::has_valid_host(request) {
        return None;
    }
    let mut endpoint = upstream_names::parse_endpoint(cx).ok()?;
    upstream_names::resolve_names(cx, &mut endpoint).ok()?;
    let identity = authenticate::from_memory(cx)?;
    if authorize::verdict_from_memory(app, &identity, endpoint.scope()?) != Verdict::Allowed {
        return None;
    }
    let answer = app.memory.hold_now(request, cx.client.ip, answer(cx, &endpoint)?)?;
    app.metrics.authorized(authorize::how(&identity));
    let mut entry = LogEntry::begin(cx);
    entry.set_endpoint(&endpoint);
    entry.set_user(identity.user());
    Some(response::finish(cx, entry, answer))
}

/// The answer, if it needs no I/O and nothing to log besides.
fn answer(cx: &Context<'_>, endpoint: &Endpoint) -> Option<Answer> {
    match endpoint {
        Endpoint::Support => Some(headers::json("{}").into()),
        Endpoint::PullBlob { name, digest } => blobs::from_memory(cx, name, digest),
        Endpoint::PullManifest { name, reference } => manifests::from_memory(cx, name, reference),
        _ => None,
    }
}
