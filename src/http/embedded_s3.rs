//! The embedded S3 server's paths, which share the registry's listener.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::client_address::ClientAddress;
use super::{AppState, Context, error, headers, public_url};
use crate::store::{Embedded, blob_digest};

pub(super) async fn respond(
    app: &AppState,
    embedded: &Embedded,
    mut parts: Parts,
    body: Body,
    client: ClientAddress,
) -> Response {
    let host = public_url::forwarded_host(&Context { app, request: &parts, client }).map(headers::value);
    if let Some(host) = host {
        // The URL was signed for this host.
        parts.headers.insert(header::HOST, host);
    }
    let memory = if parts.method == Method::GET {
        match app.memory.reserve_request(client.ip, &parts).await {
            Ok(memory) => Some(memory),
            Err(error) => return error::respond(&error),
        }
    } else {
        None
    };
    if is_form_upload(&parts) {
        return StatusCode::NOT_IMPLEMENTED.into_response();
    }
    // Clients that are redirected look for the header that the registry itself would send.
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let digest = blob_digest(parts.uri.path()).filter(|_| reads);
    match embedded.call(Request::from_parts(parts, body)).await {
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
            let error: Box<dyn std::error::Error + Send + Sync> = error.into();
            tracing::error!(%error, "the embedded S3 server failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Whether a request is a browser's form upload, whose signature is in the body. pounce makes none of them, and the
/// embedded server would read the body into memory to find the signature.
fn is_form_upload(request: &Parts) -> bool {
    let content_type = request.headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    request.method == Method::POST && content_type.trim_start().to_ascii_lowercase().starts_with("multipart/")
}
