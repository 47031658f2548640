//! Who asks, and whether they may: `Authorization`, and what it takes to be let in (RFC 9110, section 11).

use std::borrow::Cow;

use axum::http::header::{self, HeaderMap};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use tracing::{Instrument, Span};

use super::endpoint::{Endpoint, Refused};
use super::line::Line;
use super::reached::{self, Reached};
use super::{Client, Site, bypass, headers, namespace};
use crate::auth::{Challenge, Credentials, Identity, Realm, Refusal, Scope, Verdict};
use crate::oci::{Action, Error, ErrorCode, RepositoryName};

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What is wrong with who asks, as far as they can do something about it (RFC 6750, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lacking {
    /// They have not said who they are.
    Credentials,
    /// Their credentials are no good.
    Validity,
    /// Their token is not good for this.
    Scope,
    /// They showed a token where tokens are given.
    Password,
}

/// What a request is for, and who may have it. Nothing is said to strangers about what there is.
pub(super) async fn admit(
    site: &Site,
    request: &Parts,
    reached: &Reached,
    (path, query): (&str, Option<&str>),
    line: &mut Line,
) -> Result<(Endpoint, Identity), Refused> {
    let lacks = |endpoint: &Endpoint, lacking| challenge(site, request, reached, endpoint, lacking);
    let mut endpoint = Endpoint::parse(&request.method, path, query)?;
    let settled = namespace::settle(site, &mut endpoint, query);
    let who = match identify(site, request, reached, line).await {
        Ok(who) => who,
        Err(Refusal::Wrong) => {
            return Err(lacks(&endpoint, Lacking::Validity));
        }
        Err(Refusal::TooMany(after)) => {
            let message = "too many passwords were tried: wait, then log in again";
            let error = Error::new(ErrorCode::TooManyRequests, message);
            return Err(error.retry_after(Some(after)).into());
        }
    };
    line.by(who.user());
    if let Err(error) = settled {
        if who.user().is_none() && !site.access.admits_anonymous() {
            return Err(lacks(&endpoint, Lacking::Credentials));
        }
        bypass::note(site, query, &error);
        return Err(error.into());
    }
    line.about(&endpoint);
    // Otherwise one that was stolen would be good for ever.
    if matches!(endpoint, Endpoint::Token) && who.has_token() {
        return Err(lacks(&endpoint, Lacking::Password));
    }
    if let Some(scope) = endpoint.scope() {
        let verdict = judge(site, &who, scope).await?;
        require(site, request, reached, (&endpoint, &who), verdict)?;
    }
    Ok((without_forbidden_mount(site, &who, endpoint).await?, who))
}

/// Looks once more, after the answer is made, at what only content of an upstream's allows: a push that came in between
/// has marked the repository in memory, if the answer has anything of it.
///
/// # Errors
/// As [`admit`].
pub(super) fn confirm(site: &Site, request: &Parts, client: &Client, endpoint: &Endpoint) -> Result<(), Refused> {
    let who = &client.who;
    let Some(scope @ Scope::Repository(name, _)) = endpoint.scope() else {
        return Ok(());
    };
    let depends = site.access.judge(who, scope, None) == Verdict::Depends;
    if !depends || site.registry.holdings.from_memory(name) != Some(true) {
        return Ok(());
    }
    let verdict = site.access.judge(who, scope, Some(true));
    require(site, request, &client.reached, (endpoint, who), verdict)
}

fn require(
    site: &Site,
    request: &Parts,
    reached: &Reached,
    (endpoint, who): (&Endpoint, &Identity),
    verdict: Verdict,
) -> Result<(), Refused> {
    let lacking = match verdict {
        Verdict::Allowed => return Ok(()),
        // It was found out before.
        Verdict::Denied | Verdict::Depends => {
            return Err(denied(site, endpoint.scope()).into());
        }
        Verdict::Unauthorized if who.has_token() => Lacking::Scope,
        Verdict::Unauthorized => Lacking::Credentials,
    };
    Err(challenge(site, request, reached, endpoint, lacking))
}

/// The verdict, and nothing is asked for it: [`Verdict::Depends`] where memory does not tell.
pub(super) fn judge_now(site: &Site, who: &Identity, scope: Scope<'_>) -> Verdict {
    match (site.access.judge(who, scope, None), scope) {
        (Verdict::Depends, Scope::Repository(name, _)) => {
            let holds_pushed = site.registry.holdings.from_memory(name);
            site.access.judge(who, scope, holds_pushed)
        }
        (verdict, _) => verdict,
    }
}

/// The verdict; the bucket is asked where it depends on what the repository holds.
async fn judge(site: &Site, who: &Identity, scope: Scope<'_>) -> Result<Verdict, Error> {
    match (site.access.judge(who, scope, None), scope) {
        (Verdict::Depends, Scope::Repository(name, _)) => {
            let holds_pushed = site.registry.holdings.holds_pushed(name).await?;
            Ok(site.access.judge(who, scope, Some(holds_pushed)))
        }
        (verdict, _) => Ok(verdict),
    }
}

/// Who asks, where that is remembered.
pub(super) fn known(site: &Site, request: &Parts, reached: &Reached) -> Option<Identity> {
    if site.access.is_open() {
        return Some(Identity::ANONYMOUS);
    }
    let mut decoded = Vec::new();
    let shown = credentials(&request.headers, &mut decoded).ok()?;
    site.access.known(&shown, reached.client)
}

/// Says who asks.
async fn identify(site: &Site, request: &Parts, reached: &Reached, line: &mut Line) -> Result<Identity, Refusal> {
    if site.access.is_open() {
        return Ok(Identity::ANONYMOUS);
    }
    let mut decoded = Vec::new();
    let shown = credentials(&request.headers, &mut decoded)?;
    // What is wrong with a token is logged.
    let span = match shown {
        Credentials::Token(_) => line.span(),
        Credentials::None | Credentials::Password { .. } => Span::none(),
    };
    let identifying = site.access.identify(shown, reached.client);
    identifying.instrument(span).await
}

/// What somebody shows; `decoded` is where it is kept.
fn credentials<'a>(headers: &'a HeaderMap, decoded: &'a mut Vec<u8>) -> Result<Credentials<'a>, Refusal> {
    Ok(match authorization(headers)? {
        None => Credentials::None,
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("basic") => {
            *decoded = BASE64.decode(value).map_err(|_| Refusal::Wrong)?;
            let colon = decoded.iter().position(|byte| *byte == b':');
            let (user, password) = decoded.split_at(colon.ok_or(Refusal::Wrong)?);
            let user = str::from_utf8(user).map_err(|_| Refusal::Wrong)?;
            match (user, &password[1..]) {
                // What podman and skopeo send that have nothing to show.
                ("", b"") => Credentials::None,
                (user, password) => Credentials::Password { user, password },
            }
        }
        Some((scheme, value)) if scheme.eq_ignore_ascii_case("bearer") => Credentials::Token(value),
        Some(_) => return Err(Refusal::Wrong),
    })
}

/// Scheme and value of the one line that there may be.
fn authorization(headers: &HeaderMap) -> Result<Option<(&str, &str)>, Refusal> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => {
            let line = line.to_str().map_err(|_| Refusal::Wrong)?;
            let (scheme, value) = line.split_once(' ').ok_or(Refusal::Wrong)?;
            Ok(Some((scheme, value.trim())))
        }
        (Some(_), Some(_)) => Err(Refusal::Wrong),
    }
}

/// What somebody is told who may not do something.
fn denied(site: &Site, scope: Option<Scope<'_>>) -> Error {
    if site.access.is_open() {
        let needed = match scope {
            Some(Scope::Repository(_, action)) => action,
            Some(Scope::Mount { .. }) => Action::Push,
            Some(Scope::Login | Scope::Catalog) | None => Action::Pull,
        };
        return not_without_login(needed);
    }
    let what = match scope {
        Some(Scope::Repository(name, action)) => format!("{} {name}", action.as_str()),
        Some(Scope::Mount { name, .. }) => format!("push {name}"),
        Some(Scope::Login | Scope::Catalog) | None => "see this".to_owned(),
    };
    let message = format!("you may not {what}: the registry's operator can allow it in auth.rules");
    Error::new(ErrorCode::Denied, message)
}

/// What a client is told where no login is possible: clients show this sentence to people.
fn not_without_login(action: Action) -> Error {
    let message = format!(
        "this registry takes no anonymous {}: its operator can run `pounce htpasswd USER` and put the line that it prints \
         into auth.htpasswd.users (REGISTRY_AUTH_HTPASSWD_USERS), or list {} in auth.anonymous for all clients",
        match action {
            Action::Pull => "pulls",
            Action::Push => "pushes",
            Action::Delete => "deletes",
        },
        action.as_str()
    );
    Error::new(ErrorCode::Denied, message)
}

/// A mount from where somebody may not pull becomes an upload, as if the blob were not there (end-11).
async fn without_forbidden_mount(site: &Site, who: &Identity, endpoint: Endpoint) -> Result<Endpoint, Error> {
    Ok(match endpoint {
        Endpoint::Mount { name, digest, from } if !may_mount(site, who, from.as_ref()).await? => {
            Endpoint::BeginUpload { name, algorithm: digest.algorithm() }
        }
        endpoint => endpoint,
    })
}

async fn may_mount(site: &Site, who: &Identity, from: Option<&RepositoryName>) -> Result<bool, Error> {
    match from {
        Some(from) => {
            let pull = Scope::Repository(from, Action::Pull);
            Ok(judge(site, who, pull).await? == Verdict::Allowed)
        }
        None => Ok(site.access.may_mount_from_anywhere(who)),
    }
}

/// What the client has to do to be let in.
fn challenge(site: &Site, request: &Parts, reached: &Reached, endpoint: &Endpoint, lacking: Lacking) -> Refused {
    let (message, why) = match lacking {
        Lacking::Credentials => ("log in first", None),
        Lacking::Validity => {
            ("these credentials are wrong, or not valid any more: log in again", Some("invalid_token"))
        }
        Lacking::Scope => {
            ("the token is not good for this: get one for the scope in WWW-Authenticate", Some("insufficient_scope"))
        }
        Lacking::Password => ("a token is given for a password, or to anybody, and not for another token", None),
    };
    let error = Error::new(ErrorCode::Unauthorized, message);
    let text = match site.access.challenge() {
        None => return Refused::Error(error),
        Some(Challenge::Basic { realm }) => format!("Basic realm=\"{realm}\""),
        // Who asks pounce for a token has to show a password.
        Some(Challenge::Bearer { service, .. }) if matches!(endpoint, Endpoint::Token) => {
            format!("Basic realm=\"{service}\"")
        }
        Some(Challenge::Bearer { realm, service }) => {
            let beside = |path: &str| {
                let mut url = reached.realm(site, request);
                url.set_path(path);
                url.to_string()
            };
            let realm: Cow<'_, str> = match realm {
                Realm::At(url) => url.into(),
                Realm::Beside(path) => beside(path).into(),
                Realm::Own => {
                    let path = format!("{}/v2/token", site.prefix);
                    beside(&reached::public_path(site, &path)).into()
                }
            };
            let mut text = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
            let scope = endpoint.scope().map(|scope| scope.to_string());
            if let Some(scope) = scope.filter(|scope| !scope.is_empty()) {
                text = format!("{text},scope=\"{scope}\"");
            }
            if let Some(why) = why {
                text = format!("{text},error=\"{why}\"");
            }
            text
        }
    };
    Refused::Unauthorized(Box::new((error, headers::value(&text))))
}
