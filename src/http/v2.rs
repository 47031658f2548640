//! A request under `/v2/`, from authorization to the response.

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, header};
use axum::response::Response;

use super::server::{LingeringBody, Peer};
use super::{Answer, AppState, Context, Endpoint, LogEntry, Rejection, admission, authorize, preflight, response};
use crate::auth::Identity;
use crate::telemetry::InScope;

/// The most bytes of a push that are discarded behind its response.
const MAX_DISCARDED_PUSH: usize = 64 << 20;
/// The same for a request whose body has no use.
const MAX_DISCARDED: usize = 1 << 20;

pub(super) async fn respond(app: &AppState, parts: Parts, body: Body, peer: Peer) -> Response {
    let cx = &Context::new(app, &parts, peer);
    let mut entry = LogEntry::begin(cx);
    let authorized = authorize::authorize(cx, &mut entry).await;
    authorize::count(app, authorized.as_ref());
    let is_push = matches!(&authorized, Ok((endpoint, _)) if endpoint.takes_body());
    let body = request_body(&parts, body, is_push);
    let answered = match authorized {
        Ok((endpoint, identity)) => answer(cx, body, &identity, &endpoint).in_scope(entry.scope()).await,
        Err(rejection) => Err(rejection),
    };
    let answer = match answered {
        Ok(answer) => answer,
        Err(rejection) if parts.method == Method::OPTIONS => preflight::endpoint(&rejection).into(),
        Err(rejection) => rejection.into_answer(),
    };
    response::finish(cx, entry, answer)
}

async fn answer(cx: &Context<'_>, body: Body, identity: &Identity, endpoint: &Endpoint) -> Result<Answer, Rejection> {
    let answered = admission::dispatch(cx, body, identity, endpoint).await;
    authorize::confirm(cx, identity, endpoint)?;
    Ok(answered?)
}

/// The body of a push. Any other body is discarded at once, because until the response it would occupy a window of
/// memory.
fn request_body(parts: &Parts, body: Body, is_push: bool) -> Body {
    if is_push {
        return LingeringBody::wrap(body, MAX_DISCARDED_PUSH);
    }
    // A client that waits for `100 Continue` gets the final response instead (RFC 9110, section 10.1.1).
    if !parts.headers.contains_key(header::EXPECT) {
        drop(LingeringBody::wrap(body, MAX_DISCARDED));
    }
    Body::empty()
}
