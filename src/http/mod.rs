//! The registry on the wire: one listener, one fallback handler, one `match`.
//!
//! Repository names contain slashes, which a router of fixed path segments cannot match in the middle of a path. So
//! [`Endpoint`](endpoint::Endpoint) is parsed from method and URL once, and everything behind it works with valid names
//! and digests.

mod access;
pub mod alive;
mod answers;
mod blobs;
mod bucket;
mod budget;
mod bypass;
mod catalog;
mod debug;
mod dispatch;
mod endpoint;
mod error;
mod headers;
mod health;
mod known;
mod line;
mod manifests;
mod namespace;
mod preflight;
mod query;
mod reached;
mod referrers;
mod server;
mod tags;
mod token;
mod uploads;

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tracing::Instrument;
use url::Url;

use crate::auth::{Access, Identity};
use crate::config::Debug;
use crate::oci::{Error, ErrorCode, Outcome};
use crate::registry::{Pusher, Registry};
use crate::store::Embedded;
use crate::telemetry::Metrics;

use budget::Reservation;
use endpoint::Refused;
use line::Line;
use reached::Reached;
use server::{LingeringBody, Peer, Responding, Shortage};

#[cfg(feature = "internals")]
pub(crate) use endpoint::{fuzz as fuzz_endpoint, is_endpoint};

pub use answers::Answers;
pub use bypass::Bypass;
pub use server::{Listener, Tls, TlsError};

/// Stands on every response under `/v2/`, for clients from before the OCI.
const API_VERSION: (&str, HeaderValue) = ("docker-distribution-api-version", HeaderValue::from_static("registry/2.0"));

/// The most bytes of a push that are discarded behind its answer, and of a body that has no use.
const MAX_DISCARDED_PUSH: usize = 64 << 20;
const MAX_DISCARDED: usize = 1 << 20;

/// What the handlers share.
#[derive(Debug)]
pub struct Site {
    /// What they serve.
    pub registry: Registry,
    /// Who may have it.
    pub access: Access,
    /// What they count.
    pub metrics: Arc<Metrics>,
    /// `http.prefix`, without a slash at its end.
    pub prefix: String,
    /// How clients reach pounce, where their requests do not tell.
    pub base: Url,
    /// The path of `http.host` that stands before `/v2/` in absolute URLs, without a slash at its end.
    pub base_path: String,
    /// `http.host` is set: it is what clients use, whatever they say.
    pub fixed_base: bool,
    /// `http.relativeurls`
    pub relative_urls: Option<bool>,
    /// `http.trustedproxies`
    pub trusted_proxies: Vec<IpNet>,
    /// `http.forwardedfor`
    pub forwarded_for: HeaderName,
    /// `http.forwardedhost`
    pub forwarded_host: HeaderName,
    /// `http.forwardedproto`
    pub forwarded_proto: HeaderName,
    /// `storage.redirect.exclude`
    pub unredirected: Vec<IpNet>,
    /// `http.headers`
    pub headers: HeaderMap,
    /// The hosts that clients wrongly take it for a mirror of.
    pub bypass: Bypass,
    /// `catalog.maxentries`
    pub catalog_page: usize,
    /// `tags.maxtags`
    pub tags_page: usize,
    /// Requests are logged.
    pub access_log: bool,
    /// The memory of answers.
    pub answers: Answers,
}

/// Serves a site until `stop`; then the requests that are under way have `grace` to end.
pub async fn serve(listener: Listener, site: Arc<Site>, stop: CancellationToken, grace: Duration) {
    let short = site.answers.shortage();
    let respond = Box::new(move |request, peer| respond(&site, request, peer));
    server::serve(listener, respond, short, stop, grace).await;
}

/// Serves the operator's listener until `stop`, and waits for nobody then.
pub async fn serve_debug(
    listener: Listener,
    config: &Debug,
    metrics: Arc<Metrics>,
    site: Weak<Site>,
    stop: CancellationToken,
) {
    let router = debug::router(config, metrics, site);
    let respond = Box::new(move |request, _| {
        let response = router.clone().oneshot(request);
        let response = response.map(|it| it.unwrap_or_else(|never| match never {}));
        Either::Right(response.boxed())
    });
    let short = Shortage::never();
    server::serve(listener, respond, short, stop, Duration::ZERO).await;
}

/// What memory can answer is answered without a future: to make one and to move it was a twentieth of what a redirect
/// takes.
fn respond(site: &Arc<Site>, request: Request, peer: Peer) -> Responding {
    let (parts, body) = request.into_parts();
    match known::respond(site, &parts, &body, peer) {
        Some(response) => Either::Left(ready(extended(site, response))),
        None => Either::Right(Box::pin(find(Arc::clone(site), parts, body, peer))),
    }
}

async fn find(site: Arc<Site>, parts: Parts, body: Body, peer: Peer) -> Response {
    let is_head = parts.method == Method::HEAD;
    let mut response = match route(&site, parts.uri.path()) {
        // RFC 9112, section 3.2: in front, another line may be the one that counts.
        _ if reached::has_wrong_host(&parts) => StatusCode::BAD_REQUEST.into_response(),
        Route::Registry => {
            let response = registry(&site, parts, body, peer).await;
            return extended(&site, response);
        }
        // Not the store's own answer: its rules for other origins are `http.headers`.
        Route::Bucket(_) if parts.method == Method::OPTIONS => preflight::of_bucket(),
        Route::Bucket(bucket) => {
            let client = Reached::of(&site, &parts, peer).client;
            let mut line = Line::begin(&site, &parts, client);
            line.at(parts.uri.path());
            let method = parts.method.clone();
            let response = bucket::pass(&site, bucket, parts, body, peer).await;
            line.end_of_bucket(&method, response)
        }
        Route::Root => preflight::root(&parts.method),
        Route::Alive => health::alive(),
        Route::Ready => health::ready(&site.registry).await,
        Route::Nowhere => error::respond(&not_an_endpoint()),
    };
    if is_head {
        without_body(&mut response);
    }
    extended(&site, response)
}

/// A response with `http.headers`.
fn extended(site: &Site, mut response: Response) -> Response {
    for (name, value) in &site.headers {
        response.headers_mut().append(name, value.clone());
    }
    response
}

enum Route<'a> {
    Registry,
    Bucket(&'a Embedded),
    /// `/`, `http.prefix` itself, and the `*` of `OPTIONS *`.
    Root,
    Alive,
    Ready,
    Nowhere,
}

fn route<'a>(site: &'a Site, path: &str) -> Route<'a> {
    match path.strip_prefix(&site.prefix) {
        Some(rest) if rest == "/v2" || rest.starts_with("/v2/") => return Route::Registry,
        Some("" | "/") => return Route::Root,
        _ if matches!(path, "/" | "*") => return Route::Root,
        _ => {}
    }
    // Some clients leave the slash behind the bucket's name out.
    let in_bucket = |path: &str| path.split('/').nth(1) == Some(Embedded::BUCKET);
    match site.registry.embedded() {
        Some(embedded) if in_bucket(path) => Route::Bucket(embedded),
        _ if path == "/healthz" => Route::Alive,
        _ if path == "/readyz" => Route::Ready,
        _ => Route::Nowhere,
    }
}

async fn registry(site: &Site, parts: Parts, body: Body, peer: Peer) -> Response {
    let (path, query) = (own_path(site, &parts), parts.uri.query());
    let reached = Reached::of(site, &parts, peer);
    let mut line = Line::begin(site, &parts, reached.client);
    let admitted = access::admit(site, &parts, &reached, (path, query), &mut line).await;
    if admitted.is_err() {
        line.at(path);
    }
    let is_push = matches!(&admitted, Ok((endpoint, _)) if endpoint.takes_body());
    // Who waits to be told to send a body is better told why not (RFC 9110, section 10.1.1).
    let waits = !is_push && parts.headers.contains_key(header::EXPECT);
    let body = match is_push {
        true => LingeringBody::wrap(body, MAX_DISCARDED_PUSH),
        false if waits => Body::empty(),
        false => {
            // What is discarded is discarded at once: unread, it would take a window of memory until the answer.
            drop(LingeringBody::wrap(body, MAX_DISCARDED));
            Body::empty()
        }
    };
    let answered = match admitted {
        Ok((endpoint, who)) => {
            let client = Client { reached, who };
            let answering = answers::serve(site, &parts, body, &client, &endpoint);
            let answered = answering.instrument(line.span()).await;
            access::confirm(site, &parts, &client, &endpoint).map(|()| answered)
        }
        Err(refused) => Err(refused),
    };
    let result = match answered {
        Ok(answered) => answered,
        Err(refused) if parts.method == Method::OPTIONS => Ok(preflight::respond(&refused).into()),
        Err(Refused::Method(allowed)) => Ok(method_not_allowed(allowed)),
        Err(Refused::Error(error)) => Err(error),
        Err(Refused::Unauthorized(refused)) => Ok(unauthorized(*refused)),
    };
    let answer = result.unwrap_or_else(|error| {
        let response = error::respond(&error);
        Answer { error: Some(error), ..response.into() }
    });
    finish(site, &parts, &reached, line, answer)
}

/// The path behind `http.prefix`.
fn own_path<'a>(site: &Site, request: &'a Parts) -> &'a str {
    let path = request.uri.path().strip_prefix(&site.prefix);
    path.unwrap_or_default()
}

/// Whose request it is.
struct Client {
    reached: Reached,
    who: Identity,
}

impl Client {
    /// Whose places and memory its pushes take.
    fn pusher(&self) -> Pusher {
        Pusher::of(self.who.user(), self.reached.client)
    }
}

/// What every response of the registry has in common.
fn finish(site: &Site, request: &Parts, reached: &Reached, line: Line, mut answer: Answer) -> Response {
    let response = &mut answer.response;
    response.headers_mut().insert(API_VERSION.0, API_VERSION.1);
    reached::locate(site, request, reached, response.headers_mut());
    if request.method == Method::HEAD {
        without_body(response);
    }
    line.end(site, answer)
}

/// The answer to a HEAD: what a GET would say of its length, where there is one to speak of (RFC 9110, section 8.6). A
/// server of HTTP/2 would send a body that is there, and break the stream by it.
fn without_body(response: &mut Response) {
    let has_length = ![StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let length = response.body().size_hint().exact();
    // That of a body without a known length may be in its header.
    if let Some(length) = length.filter(|_| has_length) {
        let entry = response.headers_mut().entry(header::CONTENT_LENGTH);
        entry.or_insert(HeaderValue::from(length));
    }
    *response.body_mut() = Body::empty();
}

/// What a resource answers, and what the log shall say of it.
struct Answer {
    response: Response,
    outcome: Option<Outcome>,
    /// The body is a blob's, on its way through pounce.
    is_blob: bool,
    error: Option<Error>,
    /// The memory of a blob's body, until its last byte is gone.
    memory: Option<Reservation>,
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self { response, outcome: None, is_blob: false, error: None, memory: None }
    }
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    let error = Error::new(ErrorCode::Unsupported, "this method is not supported here");
    let mut response = error::respond(&error);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response.into()
}

fn unauthorized((error, challenge): (Error, HeaderValue)) -> Answer {
    let mut response = error::respond(&error);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    Answer { error: Some(error), ..response.into() }
}

fn not_an_endpoint() -> Error {
    Error::new(ErrorCode::NameUnknown, "this is not an endpoint of the registry, which is found under /v2/")
}
