//! The embedded S3's paths, which share the registry's listener.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::reached::Reached;
use super::server::Peer;
use super::{Site, error, headers};
use crate::store::{Embedded, blob_digest};

pub(super) async fn pass(site: &Site, bucket: &Embedded, mut parts: Parts, body: Body, peer: Peer) -> Response {
    let reached = Reached::of(site, &parts, peer);
    if let Some(host) = reached.forwarded_host(site, &parts.headers) {
        // What the URL was signed for.
        let host = headers::value(host);
        parts.headers.insert(header::HOST, host);
    }
    let memory = if parts.method == Method::GET {
        match site.answers.reserve(reached.client, &parts).await {
            Ok(memory) => Some(memory),
            Err(error) => return error::respond(&error),
        }
    } else {
        None
    };
    let request = Request::from_parts(parts, body);
    // Uploads by a browser's form, whose signature stands in the body: pounce makes none of them, and the server would
    // read the body into memory to find it.
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or_default();
    if request.method() == Method::POST && kind.trim_start().to_ascii_lowercase().starts_with("multipart/") {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    // As the registry itself would answer: clients that are redirected look for it.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let digest = blob_digest(request.uri().path()).filter(|_| reads);
    match bucket.call(request).await {
        Ok(response) => {
            let mut response = response.map(|body| match memory {
                Some(memory) => memory.keep_with(Body::new(body)),
                None => Body::new(body),
            });
            if let Some(digest) = digest.filter(|_| response.status().is_success()) {
                let digest = headers::digest(&digest);
                response.headers_mut().insert(headers::CONTENT_DIGEST, digest);
            }
            response
        }
        Err(error) => {
            tracing::error!(?error, "the embedded S3 server failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
