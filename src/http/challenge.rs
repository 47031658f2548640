//! The challenge: `WWW-Authenticate` tells a client how to authenticate (RFC 9110, section 11.6.1; RFC 6750, section
//! 3).

use std::borrow::Cow;

use url::Url;

use super::{Context, Endpoint, Rejection, headers, ollama, public_url};
use crate::auth::{Challenge, Realm};
use crate::oci::{Error, ErrorCode};

/// Why a client is challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChallengeReason {
    /// It sent no credentials.
    NoCredentials,
    /// Its credentials are wrong, or not valid any more.
    InvalidCredentials,
    /// Its token is not good for this request.
    InsufficientScope,
    /// Its token is of an anonymous client, and this request needs a login.
    AnonymousToken,
    /// It sent a token to get a token.
    NoPassword,
}

impl ChallengeReason {
    const fn message(self) -> &'static str {
        match self {
            Self::NoCredentials => "log in first",
            Self::InvalidCredentials => "these credentials are wrong, or not valid any more: log in again",
            Self::InsufficientScope => "the token is not good for this: get one for the scope in WWW-Authenticate",
            // Helm and ORAS get such a token by themselves, and show this to a user that has not logged in.
            Self::AnonymousToken => "anonymous clients may not do this: log in first",
            Self::NoPassword => "a token is given for a password, or to anonymous clients, and not for another token",
        }
    }

    /// The `error` of RFC 6750, section 3.1.
    const fn error(self) -> Option<&'static str> {
        match self {
            Self::InvalidCredentials => Some("invalid_token"),
            Self::InsufficientScope | Self::AnonymousToken => Some("insufficient_scope"),
            Self::NoCredentials | Self::NoPassword => None,
        }
    }
}

/// Rejects a request with a challenge.
pub(super) fn challenge(cx: &Context<'_>, endpoint: &Endpoint, reason: ChallengeReason) -> Rejection {
    let error = Error::new(ErrorCode::Unauthorized, reason.message());
    let is_ollama = ollama::is_client(cx, endpoint);
    let text = match cx.app.access().challenge(is_ollama) {
        None => return Rejection::Error(error),
        Some(Challenge::Basic { realm }) => format!("Basic realm=\"{realm}\""),
        // pounce's own token server takes passwords.
        Some(Challenge::Bearer { service, .. }) if matches!(endpoint, Endpoint::Token) => {
            format!("Basic realm=\"{service}\"")
        }
        Some(Challenge::Bearer { realm, service }) => {
            let realm = token_url(cx, realm);
            let mut text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
            let scope = endpoint.scope().map(|scope| scope.to_string());
            if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
                text = format!("{text},scope=\"{scope}\"");
            }
            if let Some(error) = reason.error() {
                text = format!("{text},error=\"{error}\"");
            }
            text
        }
    };
    Rejection::Unauthorized(Box::new((error, headers::value(&text))))
}

/// The URL at which clients get tokens.
fn token_url<'a>(cx: &Context<'_>, realm: Realm<'a>) -> Cow<'a, str> {
    match realm {
        Realm::At(url) => url.into(),
        Realm::Beside(path) => token_url_at(cx, path).to_string().into(),
        Realm::Own => own_token_url(cx).to_string().into(),
    }
}

/// The URL of pounce's own token server.
pub(super) fn own_token_url(cx: &Context<'_>) -> Url {
    token_url_at(cx, &public_url::public_path(cx.app, &format!("{}/v2/token", cx.app.prefix)))
}

fn token_url_at(cx: &Context<'_>, path: &str) -> Url {
    let mut url = public_url::token_base(cx);
    url.set_path(path);
    url
}
