//! What Ollama needs besides the spec (read in its sources of August 2026).
//!
//! `ollama pull` asks for a blob's size with HEAD, and then for its URL: a GET without a range, of which it reads the
//! headers only. It follows redirects to the same host name, wants a `Location` in the final answer, be that a 307 or a
//! 200, and fetches up to sixteen ranges of the blob there at a time, without credentials. One URL serves the whole
//! blob. So this GET is answered with a 200 without a body, whose `Location` is a signed URL of pounce's own.
//!
//! Models of many small blobs are fetched by another client inside Ollama (`ollama-transfer/`). It resolves a blob with
//! a GET whose body it throws away, and repeats the GET where the last redirect led, unless that is another host: there
//! it goes straight. A redirect to a URL that names the default port counts as one to another host, and saves the first
//! of the two bodies.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::Response;

use super::{Context, Endpoint, headers, public_url};
use crate::oci::{Digest, RepositoryName};

/// The `User-Agent` of `ollama pull`, and that of its client for many small blobs.
const PULL: &str = "ollama/";
const TRANSFER: &str = "ollama-transfer/";

/// Whether the request asks for the blob's URL.
pub(super) fn asks_for_url(cx: &Context<'_>, name: &RepositoryName) -> bool {
    let request = cx.request;
    let is_whole_get = request.method == Method::GET && !request.headers.contains_key(header::RANGE);
    is_whole_get && is_pull(cx, name)
}

/// Whether a client is one that the first half of this file's documentation describes.
fn is_pull(cx: &Context<'_>, name: &RepositoryName) -> bool {
    let agent = agent(cx);
    agent.starts_with(PULL) || (cx.app.registry.repositories.are_for_ollama(name) && !agent.starts_with(TRANSFER))
}

/// Whether a client follows no redirect where it expects bytes, and throws the first body away.
pub(super) fn is_transfer(cx: &Context<'_>) -> bool {
    agent(cx).starts_with(TRANSFER)
}

/// Whether a request is one of Ollama's clients.
pub(super) fn is_client(cx: &Context<'_>, endpoint: &Endpoint) -> bool {
    let (name, _) = endpoint.subject();
    is_transfer(cx) || agent(cx).starts_with(PULL) || name.is_some_and(|name| is_pull(cx, name))
}

fn agent<'a>(cx: &Context<'a>) -> &'a str {
    let agent = cx.request.headers.get(header::USER_AGENT);
    agent.and_then(|agent| agent.to_str().ok()).unwrap_or_default()
}

/// The answer to a request for a blob's URL.
pub(super) fn url(cx: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Response {
    located(StatusCode::OK, signed_path(cx, name, digest))
}

/// A redirect to the same blob at what the client takes for another host; `None` unless it is certain how the client
/// reaches pounce, and that is at the default port.
pub(super) fn redirect_to_default_port(cx: &Context<'_>, name: &RepositoryName, digest: &Digest) -> Option<Response> {
    let base = public_url::certain_base(cx)?;
    let (Some(host), None, Some(port)) = (base.host_str(), base.port(), base.port_or_known_default()) else {
        return None;
    };
    let path = signed_path(cx, name, digest);
    let path: Cow<'_, str> = public_url::public_path(cx.app, &path);
    let location = format!("{}://{host}:{port}{path}", base.scheme());
    Some(located(StatusCode::TEMPORARY_REDIRECT, location))
}

/// The path and query of a blob's signed URL.
fn signed_path(cx: &Context<'_>, name: &RepositoryName, digest: &Digest) -> String {
    format!("{}/v2/{name}/blobs/{digest}?{}", cx.app.prefix, cx.app.url_signer.sign(name, digest))
}

/// The URL expires and is a credential, so no cache may keep this response. It has no digest, because its body is not
/// the blob.
fn located(status: StatusCode, location: String) -> Response {
    let fields =
        [(header::LOCATION, headers::owned(location)), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    headers::response(status, fields, Body::empty())
}
