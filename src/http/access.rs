//! Who asks, and whether they may: `Authorization`, and what it takes to be let in (RFC 9110, section 11).

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::SystemTime;

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Serialize;
use url::Url;

use super::endpoint::{Endpoint, Refused};
use super::reached::Reached;
use super::{Answer, Site, headers};
use crate::auth::{Challenge, Credentials, Identity, Realm, Refusal, Scope, Verdict};
use crate::config::Action;
use crate::oci::{Error, ErrorCode, RepositoryName};

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Says who asks.
///
/// # Errors
/// `UNAUTHORIZED`: the credentials are wrong. `TOOMANYREQUESTS`: they were not looked at.
pub(super) async fn identify(
    site: &Site,
    request: &Parts,
    from: IpAddr,
) -> Result<Identity, Error> {
    if site.access.is_open() {
        let nobody = site.access.identify(Credentials::None, from).await;
        return nobody.map_err(refused);
    }
    let wrong = || refused(Refusal::Wrong);
    let mut lines = request.headers.get_all(header::AUTHORIZATION).iter();
    let (line, more) = (lines.next(), lines.next());
    let Some(line) = line else {
        let nobody = site.access.identify(Credentials::None, from).await;
        return nobody.map_err(refused);
    };
    if more.is_some() {
        return Err(wrong());
    }
    let (scheme, value) = line
        .to_str()
        .ok()
        .and_then(|line| line.split_once(' '))
        .ok_or_else(wrong)?;
    let value = value.trim();
    let identified = if scheme.eq_ignore_ascii_case("basic") {
        let decoded = BASE64.decode(value).map_err(|_| wrong())?;
        let colon = decoded.iter().position(|byte| *byte == b':');
        let (user, password) = decoded.split_at(colon.ok_or_else(wrong)?);
        let user = str::from_utf8(user).map_err(|_| wrong())?;
        let shown = match (user, &password[1..]) {
            // What podman and skopeo send that have nothing to show.
            ("", b"") => Credentials::None,
            (user, password) => Credentials::Password { user, password },
        };
        site.access.identify(shown, from).await
    } else if scheme.eq_ignore_ascii_case("bearer") {
        site.access.identify(Credentials::Token(value), from).await
    } else {
        return Err(wrong());
    };
    identified.map_err(refused)
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::Wrong => {
            let message = "these credentials are wrong, or not valid any more: log in again";
            Error::new(ErrorCode::Unauthorized, message)
        }
        Refusal::TooMany(after) => {
            let message = "too many passwords were tried: wait, then log in again";
            Error::new(ErrorCode::TooManyRequests, message).retry_after(Some(after))
        }
    }
}

/// Whether somebody may have what they ask for.
///
/// # Errors
/// `UNAUTHORIZED`: not before they say who they are, or get a better token. `DENIED`: they may not.
pub(super) fn permit(site: &Site, who: &Identity, endpoint: &Endpoint) -> Result<(), Error> {
    // Otherwise one that was stolen would be good for ever.
    if matches!(endpoint, Endpoint::Token) && who.has_token() {
        let message = "a token is given for a password, or to anybody, and not for another token";
        return Err(Error::new(ErrorCode::Unauthorized, message));
    }
    let verdict = endpoint.scope().map(|scope| site.access.judge(who, scope));
    match verdict {
        None | Some(Verdict::Allowed) => Ok(()),
        Some(Verdict::Unauthorized) => {
            let message = if who.user().is_some() {
                "the token is not good for this: get one for the scope in WWW-Authenticate"
            } else {
                "log in first"
            };
            Err(Error::new(ErrorCode::Unauthorized, message))
        }
        Some(Verdict::Denied) => {
            let what = match endpoint.scope() {
                Some(Scope::Repository(name, action)) => format!("{} {name}", action.as_str()),
                Some(Scope::Mount { name, .. }) => format!("push {name}"),
                _ => "see this".to_owned(),
            };
            let message =
                format!("you may not {what}: the registry's operator can allow it in auth.rules");
            Err(Error::new(ErrorCode::Denied, message))
        }
    }
}

/// A mount from where somebody may not pull becomes an upload, as if the blob were not there (end-11).
pub(super) fn without_forbidden_mount(site: &Site, who: &Identity, endpoint: Endpoint) -> Endpoint {
    match endpoint {
        Endpoint::Mount { name, digest, from } if !may_mount(site, who, from.as_ref()) => {
            Endpoint::BeginUpload {
                name,
                algorithm: digest.algorithm(),
            }
        }
        endpoint => endpoint,
    }
}

fn may_mount(site: &Site, who: &Identity, from: Option<&RepositoryName>) -> bool {
    match from {
        Some(from) => {
            let pull = Scope::Repository(from, Action::Pull);
            site.access.judge(who, pull) == Verdict::Allowed
        }
        None => site.access.may_mount_from_anywhere(who),
    }
}

/// Adds to an error what the client has to do to be let in.
pub(super) fn challenge(
    site: &Site,
    request: &Parts,
    reached: &Reached,
    endpoint: Option<&Endpoint>,
    error: Error,
) -> Refused {
    let challenge = site.access.challenge();
    let (ErrorCode::Unauthorized, Some(challenge)) = (error.code(), challenge) else {
        return Refused::Error(error);
    };
    let text = match challenge {
        Challenge::Basic { realm } => format!("Basic realm=\"{realm}\""),
        // Who asks pounce for a token has to show a password.
        Challenge::Bearer { service, .. } if matches!(endpoint, Some(Endpoint::Token)) => {
            format!("Basic realm=\"{service}\"")
        }
        Challenge::Bearer { realm, service } => {
            let base = || reached.base(site, request).unwrap_or(site.base.clone());
            let realm: Cow<'_, str> = match realm {
                Realm::At(url) => url.into(),
                Realm::Beside(path) => beside(base(), path).into(),
                Realm::Own => beside(base(), &format!("{}/v2/token", site.prefix)).into(),
            };
            let mut text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
            let scope = endpoint.and_then(Endpoint::scope).map(|it| it.to_string());
            if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
                text = format!("{text},scope=\"{scope}\"");
            }
            if request.headers.contains_key(header::AUTHORIZATION) {
                let why = match error.message() {
                    message if message.starts_with("these") => "invalid_token",
                    _ => "insufficient_scope",
                };
                text = format!("{text},error=\"{why}\"");
            }
            text
        }
    };
    Refused::Unauthorized(Box::new((error, headers::value(&text))))
}

fn beside(mut base: Url, path: &str) -> String {
    base.set_path(path);
    base.into()
}

#[derive(Serialize)]
struct Answered<'a> {
    token: &'a str,
    access_token: &'a str,
    /// In seconds.
    expires_in: u64,
    issued_at: String,
}

/// `GET /v2/token`: <https://distribution.github.io/distribution/spec/auth/token/>. It is good for what its
/// user may do, whatever scope was asked for.
pub(super) fn token(site: &Site, who: &Identity) -> Result<Answer, Error> {
    let pass = site.access.pass(who).ok_or_else(super::not_an_endpoint)?;
    let pass = pass.map_err(|error| {
        let message = "no token can be made";
        Error::new(ErrorCode::Unavailable, message).because(error)
    })?;
    let body = Answered {
        token: &pass.token,
        access_token: &pass.token,
        expires_in: pass.life.as_secs(),
        issued_at: rfc3339(pass.issued),
    };
    // Texts and numbers always serialize.
    let mut response = headers::json(serde_json::to_vec(&body).unwrap_or_default());
    let no_store = HeaderValue::from_static("no-store");
    let fields: &mut HeaderMap = response.headers_mut();
    fields.insert(header::CACHE_CONTROL, no_store);
    Ok(response.into())
}

fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
