//! Authentication: the `Authorization` header (RFC 9110, section 11).

use std::net::IpAddr;

use axum::http::header::{self, HeaderMap};
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tracing::Span;

use super::{Context, LogEntry};
use crate::auth::{Credentials, CredentialsError, Identity};
use crate::telemetry::{InScope, Scope};

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How many characters of a user's name are logged.
const MAX_LOGGED: usize = 64;

/// The client's identity, if its credentials are cached.
pub(super) fn from_memory(cx: &Context<'_>) -> Option<Identity> {
    if cx.app.access().is_open() {
        return Some(Identity::ANONYMOUS);
    }
    let mut decoded = Vec::new();
    let credentials = credentials(&cx.request.headers, &mut decoded).ok()?;
    Some(cx.app.access().authenticate_cached(&credentials, cx.client.ip)?.at(network_address(cx)))
}

/// Why a client is not authenticated.
#[derive(Debug)]
pub(super) struct NotAuthenticated {
    pub(super) error: CredentialsError,
    /// Which login failed, for the log.
    pub(super) login: Option<FailedLogin>,
}

/// A login that failed. The client is not told whether there is such a user.
#[derive(Debug, thiserror::Error)]
#[error("the login of {user:?} failed: {why}")]
pub(super) struct FailedLogin {
    /// The beginning of the name. It is quoted, because it is the client's text.
    user: String,
    why: &'static str,
}

impl From<CredentialsError> for NotAuthenticated {
    fn from(error: CredentialsError) -> Self {
        Self { error, login: None }
    }
}

impl NotAuthenticated {
    pub(super) fn new(error: CredentialsError, credentials: &Credentials<'_>) -> Self {
        let why = match error {
            CredentialsError::UnknownUser => "there is no such user",
            CredentialsError::WrongPassword => "the password is wrong",
            CredentialsError::Invalid | CredentialsError::TooManyAttempts(_) | CredentialsError::Unavailable(_) => {
                return error.into();
            }
        };
        let login = match credentials {
            Credentials::Password { user, .. } => {
                Some(FailedLogin { user: user.chars().take(MAX_LOGGED).collect(), why })
            }
            Credentials::None | Credentials::Token(_) => None,
        };
        Self { error, login }
    }
}

/// The client's identity. `asks_for_token`: the request is for a token of pounce's.
pub(super) async fn authenticate(
    cx: &Context<'_>,
    entry: &mut LogEntry<'_>,
    asks_for_token: bool,
) -> Result<Identity, NotAuthenticated> {
    if cx.app.access().is_open() {
        return Ok(Identity::ANONYMOUS);
    }
    let mut decoded = Vec::new();
    let credentials = credentials(&cx.request.headers, &mut decoded)?;
    let access = cx.app.access();
    let span = if access.logs_failures_of(&credentials) { entry.span() } else { Span::none() };
    let scope = Scope::new(span, entry.trace().clone());
    let authenticated = access.authenticate(credentials, cx.client.ip, asks_for_token).in_scope(scope).await;
    match authenticated {
        Ok(identity) => Ok(identity.at(network_address(cx))),
        Err(error) => Err(NotAuthenticated::new(error, &credentials)),
    }
}

/// The client's address where rules ask for it, and where it is certain.
pub(super) fn network_address(cx: &Context<'_>) -> Option<IpAddr> {
    if cx.app.access().looks_at_networks() { cx.client.certain_ip(cx.app, cx.request) } else { None }
}

/// The credentials in a request's headers. `decoded` keeps the name and the password.
fn credentials<'a>(headers: &'a HeaderMap, decoded: &'a mut Vec<u8>) -> Result<Credentials<'a>, CredentialsError> {
    Ok(match authorization(headers)? {
        None => Credentials::None,
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => {
            *decoded = BASE64.decode(value).map_err(|_| CredentialsError::Invalid)?;
            let colon = decoded.iter().position(|byte| *byte == b':');
            let (user, password) = decoded.split_at(colon.ok_or(CredentialsError::Invalid)?);
            let user = str::from_utf8(user).map_err(|_| CredentialsError::Invalid)?;
            match (user, &password[1..]) {
                // podman and skopeo send this without a login.
                ("", b"") => Credentials::None,
                (user, password) => Credentials::Password { user, password },
            }
        }
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => Credentials::Token(value),
        Some(_) => return Err(CredentialsError::Invalid),
    })
}

/// Scheme and value of the one `Authorization` line that there may be.
fn authorization(headers: &HeaderMap) -> Result<Option<(&str, &str)>, CredentialsError> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => {
            let line = line.to_str().map_err(|_| CredentialsError::Invalid)?;
            let (scheme, value) = line.split_once(' ').ok_or(CredentialsError::Invalid)?;
            Ok(Some((scheme, value.trim())))
        }
        (Some(_), Some(_)) => Err(CredentialsError::Invalid),
    }
}
