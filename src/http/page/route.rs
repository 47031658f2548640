//! Which view a path is.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;

use super::view::View;
use super::{assets, overview, response, stream};
use crate::auth::Identity;
use crate::http::endpoint::READS;
use crate::http::rejection::not_an_endpoint;
use crate::http::server::Peer;
use crate::http::{Answer, AppState, Context, LogEntry, Rejection};
use crate::telemetry::RequestKind;

/// What a path below the prefix is.
#[derive(Debug, PartialEq, Eq)]
enum Path<'a> {
    Overview,
    Asset(&'a str),
    Live,
}

impl<'a> Path<'a> {
    fn parse(path: &'a str) -> Option<Self> {
        if matches!(path, "" | "/") {
            return Some(Self::Overview);
        }
        let path = path.strip_prefix("/-/")?;
        match path.split_once('/') {
            None if path == "live" => Some(Self::Live),
            Some(("static", name)) => Some(Self::Asset(name)),
            _ => None,
        }
    }
}

/// Whether a path below the prefix is the page's, whichever client asks.
pub(in crate::http) fn is_path(path: &str) -> bool {
    path == "/-" || path.starts_with("/-/")
}

/// Whether a request for `/` is a browser's, which names HTML among the types that it accepts. `*/*` is no browser: curl
/// and probes send it.
pub(in crate::http) fn is_asked_for(request: &Parts) -> bool {
    let (method, headers) = (&request.method, &request.headers);
    ([Method::GET, Method::HEAD].contains(method)) && accepts_html(headers)
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let essence = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    lines.flat_map(|line| line.split(',')).any(|text| essence(text) == "text/html")
}

/// Answers a request for the page.
pub(in crate::http) async fn respond(app: &Arc<AppState>, parts: Parts, body: Body, peer: Peer) -> Response {
    drop(body);
    let cx = &Context::new(app, &parts, peer);
    let mut entry = LogEntry::begin(cx);
    entry.set_kind(RequestKind::Page);
    let view = View { cx, identity: Identity::ANONYMOUS };
    entry.set_user(view.identity.user());
    let answer = match answer(app, &view).await {
        Ok(answer) => answer,
        Err(rejection) => response::rejected(&view, rejection),
    };
    response::finish(cx, entry, answer)
}

async fn answer(app: &Arc<AppState>, view: &View<'_>) -> Result<Answer, Rejection> {
    let path = Path::parse(view.cx.path()).ok_or_else(not_an_endpoint)?;
    if ![Method::GET, Method::HEAD].contains(&view.cx.request.method) {
        return Err(Rejection::Method(READS));
    }
    match path {
        Path::Asset(name) => Ok(assets::serve(name)?),
        Path::Live => Ok(stream::open(app, view)?),
        Path::Overview => Ok(overview::show(view).await?),
    }
}
