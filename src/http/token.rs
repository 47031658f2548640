//! `/v2/token`, where pounce is a token server itself (<https://distribution.github.io/distribution/spec/auth/token/>).

use axum::http::header::{self, HeaderValue};
use serde::Serialize;

use super::rejection::not_an_endpoint;
use super::{Answer, AppState, headers};
use crate::auth::Identity;
use crate::oci::{Error, ErrorCode};

#[derive(Serialize)]
struct TokenBody<'a> {
    token: &'a str,
    access_token: &'a str,
    /// In seconds.
    expires_in: u64,
    issued_at: String,
}

/// A token for this identity: with all that it may do, whatever scope was requested; or, for a key of Ollama, for the
/// requested scopes.
pub(super) fn issue(app: &AppState, identity: &Identity) -> Result<Answer, Error> {
    let token = app.access().issue_token(identity).ok_or_else(not_an_endpoint)?;
    let token = token.map_err(|error| {
        let message = "no token can be made";
        Error::new(ErrorCode::Unavailable, message).caused_by(error)
    })?;
    let body = TokenBody {
        token: &token.token,
        access_token: &token.token,
        expires_in: token.life.as_secs(),
        issued_at: humantime::format_rfc3339_seconds(token.issued).to_string(),
    };
    let mut response = headers::serialized(&body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response.into())
}
