//! `/-/live`: the sections that change, once a second while they do, as server-sent events. The text is the one that the
//! overview has without scripts.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderValue};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::view::View;
use super::{health, live};
use crate::http::client_address::ClientAddress;
use crate::http::live_feed::{Listener, Snapshot};
use crate::http::live_figures::LiveFigures;
use crate::http::{Answer, AppState, Context, headers};
use crate::oci::Error;

/// How often a browser hears something in any case, so that proxies in between do not close the connection.
const PULSE: Duration = Duration::from_secs(15);
/// When a browser connects again after the connection broke, in milliseconds.
const RETRY: &str = "retry: 5000\n\n";

/// One browser's stream.
struct Stream {
    app: Arc<AppState>,
    /// What tells the user: the browser's session may end meanwhile.
    request: Parts,
    client: ClientAddress,
    user: Option<Arc<str>>,
    listener: Listener,
    closing: CancellationToken,
    /// The text that the browser has.
    sent: Bytes,
}

/// The stream for this user.
///
/// # Errors
/// `UNAVAILABLE`: too many browsers listen.
pub(super) fn open(app: &Arc<AppState>, view: &View<'_>) -> Result<Answer, Error> {
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    if view.cx.request.method == Method::HEAD {
        return Ok(headers::response(StatusCode::OK, fields, Body::empty()).into());
    }
    let (registry, metrics) = (app.registry.clone(), Arc::clone(&app.metrics));
    let listener = app.live.listen(view.cx.client.ip, move || LiveFigures::gather(&registry, &metrics))?;
    let stream = Stream {
        app: Arc::clone(app),
        request: only_cookies(view.cx.request),
        client: view.cx.client,
        user: view.identity.user().cloned(),
        listener,
        closing: app.registry.closing(),
        sent: Bytes::new(),
    };
    let begin = stream::once(async { Ok::<_, std::convert::Infallible>(Bytes::from_static(RETRY.as_bytes())) });
    let events = stream::unfold(stream, async |mut stream| Some((Ok(stream.next().await?), stream)));
    let body = Body::from_stream(stream::StreamExt::chain(begin, events));
    Ok(headers::response(StatusCode::OK, fields, body).into())
}

/// The request without what takes memory and says nothing of the user.
fn only_cookies(request: &Parts) -> Parts {
    let (mut parts, ()) = axum::http::Request::new(()).into_parts();
    (parts.method, parts.uri) = (request.method.clone(), request.uri.clone());
    for cookie in request.headers.get_all(header::COOKIE) {
        parts.headers.append(header::COOKIE, cookie.clone());
    }
    parts
}

impl Stream {
    /// The next event; `None` when the process shuts down, or the user's session has ended.
    async fn next(&mut self) -> Option<Bytes> {
        let mut pulse = pin!(tokio::time::sleep(PULSE));
        loop {
            let snapshot = tokio::select! {
                snapshot = self.listener.next() => snapshot?,
                () = &mut pulse => return Some(Bytes::from_static(b":\n\n")),
                () = self.closing.cancelled() => return None,
            };
            let text = self.text(&snapshot)?;
            if text != self.sent {
                self.sent = text.clone();
                return Some(text);
            }
        }
    }

    fn text(&self, snapshot: &Snapshot) -> Option<Bytes> {
        let cx = Context { app: &self.app, request: &self.request, client: self.client };
        let view = View::of(&cx);
        let is_same = view.identity.user() == self.user.as_ref();
        is_same.then(|| snapshot.text(self.user.as_ref(), |figures| event(&view, figures)))
    }
}

/// An event with the sections, in one line.
fn event(view: &View<'_>, figures: &LiveFigures) -> Bytes {
    let sections = live::section(view, figures).into_string() + &health::section(view, figures).into_string();
    Bytes::from(format!("data: {}\n\n", sections.replace(['\n', '\r'], " ")))
}
