//! Ollama's login: a request for a token, signed with the client's key in place of a password (`auth.ollama.keys`).

use axum::http::header;
use url::form_urlencoded;

use super::challenge::{ChallengeReason, challenge, own_token_url};
use super::query::Query;
use super::{Context, Endpoint, Rejection};
use crate::auth::{Identity, OllamaKeyError, OllamaLogin};
use crate::oci::{Error, ErrorCode};

/// The longest scopes of a login, in bytes: far more than the few that a challenge names. They become part of a token.
const MAX_SCOPES: usize = 2048;

/// The client of a signed request for a token; `None` if it is no such request, or no client can log in like that.
pub(super) fn authenticate(cx: &Context<'_>, endpoint: &Endpoint) -> Option<Result<Identity, Rejection>> {
    if !matches!(endpoint, Endpoint::Token) || !cx.app.access().takes_ollama_keys() {
        return None;
    }
    let authorization = cx.request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    // Any other scheme has a blank behind its name.
    if authorization.contains(' ') || !authorization.contains(':') {
        return None;
    }
    let authenticated = login(cx, authorization).and_then(|login| cx.app.access().authenticate_ollama(&login));
    Some(authenticated.map_err(|error| refused(cx, endpoint, error)))
}

fn login<'a>(cx: &Context<'a>, authorization: &'a str) -> Result<OllamaLogin<'a>, OllamaKeyError> {
    let (query, url) = (cx.query().unwrap_or_default(), own_token_url(cx));
    let rest = url.as_str().split_once(':').map_or("", |(_, rest)| rest);
    let urls = ["http", "https"].map(|scheme| format!("{scheme}:{rest}?{query}"));
    let scopes = form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "scope");
    let scopes: Vec<_> = scopes.map(|(_, scope)| scope).filter(|scope| !scope.is_empty()).collect();
    let scopes = scopes.join(" ");
    let time = Query::new(cx.query()).get("ts").and_then(|time| time.parse().ok());
    match time {
        Some(time) if scopes.len() <= MAX_SCOPES => Ok(OllamaLogin { authorization, urls, time, scopes }),
        _ => Err(OllamaKeyError::Malformed),
    }
}

/// The message is the same whatever is wrong; Ollama shows it. The log has the cause.
fn refused(cx: &Context<'_>, endpoint: &Endpoint, error: OllamaKeyError) -> Rejection {
    let message = "this registry does not accept the key of this Ollama: its operator can add the line in \
                   ~/.ollama/id_ed25519.pub to auth.ollama.keys; the clock must be right, too";
    let error = Error::new(ErrorCode::Unauthorized, message).caused_by(error);
    match challenge(cx, endpoint, ChallengeReason::InvalidCredentials) {
        Rejection::Unauthorized(mut unauthorized) => {
            unauthorized.0 = error;
            Rejection::Unauthorized(unauthorized)
        }
        _ => Rejection::Error(error),
    }
}
