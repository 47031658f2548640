//! What can be answered from memory, at once.
//!
//! This is what most requests are. So there is a way for them that has no future, no box and no span, beside the one
//! that every request can take, and to the same answers.

use axum::body::{Body, HttpBody};
use axum::http::request::Parts;
use axum::response::Response;

use super::endpoint::Endpoint;
use super::line::Line;
use super::reached::{self, Reached};
use super::server::Peer;
use super::{Answer, Client, Site, access, blobs, finish, headers, manifests, namespace, own_path};
use crate::auth::Verdict;

/// The response, if it is to a request for what is known, of somebody who is.
pub(super) fn respond(site: &Site, request: &Parts, body: &Body, peer: Peer) -> Option<Response> {
    let path = own_path(site, request);
    let is_plain = path.starts_with("/v2/") && body.is_end_stream();
    if !is_plain || reached::has_wrong_host(request) {
        return None;
    }
    let query = request.uri.query();
    let mut endpoint = Endpoint::parse(&request.method, path, query).ok()?;
    namespace::settle(site, &mut endpoint, query).ok()?;
    let reached = Reached::of(site, request, peer);
    let who = access::known(site, request, &reached)?;
    if access::judge_now(site, &who, endpoint.scope()?) != Verdict::Allowed {
        return None;
    }
    let client = Client { reached, who };
    let answer = answer(site, request, &client, &endpoint)?;
    let answer = site.answers.hold_now(request, &client, answer)?;
    let mut line = Line::begin(site, request, client.reached.client);
    line.about(&endpoint);
    line.by(client.who.user());
    Some(finish(site, request, &client.reached, line, answer))
}

/// The answer, if nobody has to be asked for it and there is nothing to log besides.
pub(super) fn answer(site: &Site, request: &Parts, client: &Client, endpoint: &Endpoint) -> Option<Answer> {
    match endpoint {
        Endpoint::Support => Some(headers::json("{}").into()),
        Endpoint::PullBlob { name, digest } => blobs::known(site, request, client, name, digest),
        Endpoint::PullManifest { name, reference } => manifests::known(site, request, name, reference),
        _ => None,
    }
}
