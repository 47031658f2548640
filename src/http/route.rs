//! The top of a request's way: the registry, the embedded S3 server, or a probe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::future::{Either, ready};
use tokio_util::sync::CancellationToken;

use super::rejection::not_an_endpoint;
use super::response::{remove_body, with_configured_headers};
use super::server::{self, Listener, Peer, Responding};
use super::{
    AppState, Context, LogEntry, embedded_s3, error, fast_path, headers, health, page, preflight, public_url, v2,
};
use crate::store::Embedded;
use crate::telemetry::{AnsweredRequest, RequestKind};

/// Serves the registry until `stop`; then the requests in flight have `grace` to end.
pub(crate) async fn serve(listener: Listener, app: Arc<AppState>, stop: CancellationToken, grace: Duration) {
    let shortage = app.memory.shortage();
    let respond = Box::new(move |request, peer| respond(&app, request, peer));
    server::serve(listener, respond, shortage, stop, grace).await;
}

/// Answers from memory without a future: to make and to move one was a twentieth of a redirect's time.
fn respond(app: &Arc<AppState>, request: Request, peer: Peer) -> Responding {
    let (parts, body) = request.into_parts();
    match fast_path::respond(app, &parts, &body, peer) {
        Some(response) => {
            headers::recycle(parts.headers);
            Either::Left(ready(with_configured_headers(app, response)))
        }
        None => Either::Right(Box::pin(respond_slowly(Arc::clone(app), parts, body, peer))),
    }
}

async fn respond_slowly(app: Arc<AppState>, parts: Parts, body: Body, peer: Peer) -> Response {
    let (method, began) = (parts.method.clone(), Instant::now());
    let (kind, mut response) = match Route::of(&app, &parts) {
        // RFC 9112, section 3.2: a proxy in front may have chosen another of several lines.
        _ if !public_url::has_valid_host(&parts) => (RequestKind::Other, StatusCode::BAD_REQUEST.into_response()),
        Route::Registry => {
            let response = match &app.events {
                Some(events) if !parts.method.is_safe() => {
                    let app = Arc::clone(&app);
                    events.outlive(async move { v2::respond(&app, parts, body, peer).await }).await
                }
                _ => v2::respond(&app, parts, body, peer).await,
            };
            return with_configured_headers(&app, response);
        }
        // pounce answers, because the rules for other origins stand in `http.headers`.
        Route::EmbeddedS3(_) if parts.method == Method::OPTIONS => (RequestKind::EmbeddedS3, preflight::embedded_s3()),
        Route::EmbeddedS3(embedded) => {
            let cx = Context::new(&app, &parts, peer);
            let (client, entry) = (cx.client, LogEntry::begin(&cx).into_owned());
            let response = embedded_s3::respond(&app, embedded, parts, body, client).await;
            (RequestKind::EmbeddedS3, entry.finish_embedded_s3(&method, response))
        }
        Route::Page => {
            let response = match &app.events {
                Some(events) if !parts.method.is_safe() => {
                    let app = Arc::clone(&app);
                    events.outlive(async move { page::respond(&app, parts, body, peer).await }).await
                }
                _ => page::respond(&app, parts, body, peer).await,
            };
            return with_configured_headers(&app, response);
        }
        Route::Root => (RequestKind::Probe, preflight::root(&method)),
        Route::Alive => (RequestKind::Probe, health::alive()),
        Route::Ready => (RequestKind::Probe, health::ready(&app.registry).await),
        Route::Unknown => (RequestKind::Other, error::respond(&not_an_endpoint())),
    };
    let (status, took) = (response.status().as_u16(), began.elapsed());
    app.metrics.request(AnsweredRequest { kind, method: method.as_str(), status, took });
    if method == Method::HEAD {
        remove_body(&mut response);
    }
    with_configured_headers(&app, response)
}

enum Route<'a> {
    Registry,
    EmbeddedS3(&'a Embedded),
    /// For browsers.
    Page,
    /// `/`, `http.prefix` itself, and the `*` of `OPTIONS *`.
    Root,
    Alive,
    Ready,
    Unknown,
}

impl<'a> Route<'a> {
    fn of(app: &'a AppState, request: &Parts) -> Self {
        let path = request.uri.path();
        let has_page = app.config.http.page.enabled;
        match path.strip_prefix(&app.prefix) {
            Some(rest) if rest == "/v2" || rest.starts_with("/v2/") => return Self::Registry,
            Some(rest) if has_page && page::is_path(rest) => return Self::Page,
            Some("" | "/") if has_page && page::is_asked_for(request) => return Self::Page,
            Some("" | "/") => return Self::Root,
            _ if matches!(path, "/" | "*") => return Self::Root,
            _ => {}
        }
        // Some clients leave the slash behind the bucket's name out.
        let in_bucket = path.split('/').nth(1) == Some(Embedded::BUCKET);
        match app.registry.embedded() {
            Some(embedded) if in_bucket => Self::EmbeddedS3(embedded),
            _ if path == "/healthz" => Self::Alive,
            _ if path == "/readyz" => Self::Ready,
            _ => Self::Unknown,
        }
    }
}
