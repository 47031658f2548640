//! Authorization: whether a client may make its request. A rejection does not tell which content exists.

use super::authenticate::{NotAuthenticated, authenticate};
use super::challenge::{ChallengeReason, challenge};
use super::{AppState, Context, Endpoint, LogEntry, Rejection, ollama_login, signed_url, upstream_names};
use crate::auth::{CredentialsError, Identity, Scope, Verdict};
use crate::oci::{Action, Error, ErrorCode, RepositoryName};
use crate::telemetry::Authorized;

/// Parses a request, authenticates its client, and authorizes it.
pub(super) async fn authorize(cx: &Context<'_>, entry: &mut LogEntry<'_>) -> Result<(Endpoint, Identity), Rejection> {
    let app = cx.app;
    let challenge = |endpoint: &Endpoint, reason| Err(challenge(cx, endpoint, reason));
    let mut endpoint = upstream_names::parse_endpoint(cx)?;
    entry.set_kind(endpoint.kind());
    if let Endpoint::PullSignedBlob { name, digest, signature } = &endpoint {
        signed_url::verify(cx, name, digest, signature)?;
        entry.set_endpoint(&endpoint);
        return Ok((endpoint, Identity::ANONYMOUS));
    }
    let resolved = upstream_names::resolve_names(cx, &mut endpoint);
    let authenticated = match ollama_login::authenticate(cx, &endpoint) {
        Some(authenticated) => Ok(authenticated?),
        None => authenticate(cx, entry, matches!(endpoint, Endpoint::Token)).await,
    };
    let identity = match authenticated {
        Ok(identity) => identity,
        Err(NotAuthenticated { error: CredentialsError::TooManyAttempts(after), .. }) => {
            let message = "too many passwords were tried: wait, then log in again";
            let error = Error::new(ErrorCode::TooManyRequests, message);
            return Err(error.with_retry_after(Some(after)).into());
        }
        Err(NotAuthenticated { error: CredentialsError::Unavailable(after), .. }) => {
            let message = "the server that vouches for these credentials does not answer: try again";
            let error = Error::new(ErrorCode::Unavailable, message);
            return Err(error.with_retry_after(Some(after)).into());
        }
        Err(NotAuthenticated { login, .. }) => {
            let rejected = challenge(&endpoint, ChallengeReason::InvalidCredentials);
            return rejected.map_err(|rejection| match login {
                Some(login) => rejection.caused_by(login),
                None => rejection,
            });
        }
    };
    entry.set_user(identity.user());
    if let Err(error) = resolved {
        if identity.user().is_none() && !app.access().admits_anonymous() {
            return challenge(&endpoint, ChallengeReason::NoCredentials);
        }
        app.unknown_hosts.report(&app.registry, &app.metrics, cx.query(), &error);
        return Err(error.into());
    }
    entry.set_endpoint(&endpoint);
    // A stolen token could otherwise be renewed for ever.
    if matches!(endpoint, Endpoint::Token) && identity.has_token() {
        return challenge(&endpoint, ChallengeReason::NoPassword);
    }
    if matches!(endpoint, Endpoint::Token) && identity.user().is_none() && app.access().gives_tokens_to_users_only() {
        return challenge(&endpoint, ChallengeReason::NoCredentials);
    }
    if let Some(scope) = endpoint.scope() {
        let verdict = verdict(app, &identity, scope).await?;
        require(cx, &endpoint, &identity, verdict)?;
    }
    Ok((without_forbidden_mount(app, &identity, endpoint).await?, identity))
}

/// How a request of this identity is authorized, where it is.
pub(super) fn how(identity: &Identity) -> Authorized {
    let has_login = identity.user().is_some() || identity.has_token();
    if has_login { Authorized::WithLogin } else { Authorized::Anonymously }
}

/// Counts how a request was authorized. One that is refused for another reason than its client is not counted.
pub(super) fn count(app: &AppState, authorized: Result<&(Endpoint, Identity), &Rejection>) {
    let how = match authorized {
        Ok((Endpoint::PullSignedBlob { .. }, _)) => Authorized::WithLogin,
        Ok((_, identity)) => how(identity),
        Err(rejection) => match rejection.code() {
            Some(ErrorCode::Unauthorized) => Authorized::Challenged,
            Some(ErrorCode::Denied) => Authorized::Denied,
            Some(ErrorCode::TooManyRequests) => Authorized::Limited,
            _ => return,
        },
    };
    app.metrics.authorized(how);
}

/// Authorizes again after the answer is made, if only content of an upstream is allowed: a push that came in between
/// has marked the repository in memory, if the answer contains any of it.
///
/// # Errors
/// Those of [`authorize`].
pub(super) fn confirm(cx: &Context<'_>, identity: &Identity, endpoint: &Endpoint) -> Result<(), Rejection> {
    let app = cx.app;
    let Some(scope @ Scope::Repository(name, _)) = endpoint.scope() else {
        return Ok(());
    };
    let depends = app.access().authorize(identity, scope, None) == Verdict::Depends;
    if !depends || app.registry.holdings.in_memory(name) != Some(true) {
        return Ok(());
    }
    let verdict = app.access().authorize(identity, scope, Some(true));
    require(cx, endpoint, identity, verdict)
}

fn require(cx: &Context<'_>, endpoint: &Endpoint, identity: &Identity, verdict: Verdict) -> Result<(), Rejection> {
    let reason = match verdict {
        Verdict::Allowed => return Ok(()),
        // `Depends` was resolved by the caller.
        Verdict::Denied | Verdict::Depends => return Err(denied(cx.app, identity, endpoint.scope()).into()),
        Verdict::Unauthorized if identity.has_token() && identity.user().is_none() => ChallengeReason::AnonymousToken,
        Verdict::Unauthorized if identity.has_token() => ChallengeReason::InsufficientScope,
        Verdict::Unauthorized => ChallengeReason::NoCredentials,
    };
    Err(challenge(cx, endpoint, reason))
}

/// The verdict without I/O: [`Verdict::Depends`] where memory does not tell.
pub(super) fn verdict_from_memory(app: &AppState, identity: &Identity, scope: Scope<'_>) -> Verdict {
    match (app.access().authorize(identity, scope, None), scope) {
        (Verdict::Depends, Scope::Repository(name, _)) => {
            let holds_pushed = app.registry.holdings.in_memory(name);
            app.access().authorize(identity, scope, holds_pushed)
        }
        (verdict, _) => verdict,
    }
}

/// The verdict. The bucket is read where it depends on the repository's content.
pub(super) async fn verdict(app: &AppState, identity: &Identity, scope: Scope<'_>) -> Result<Verdict, Error> {
    match (app.access().authorize(identity, scope, None), scope) {
        (Verdict::Depends, Scope::Repository(name, _)) => {
            let holds_pushed = app.registry.holdings.holds_pushed(name).await?;
            Ok(app.access().authorize(identity, scope, Some(holds_pushed)))
        }
        (verdict, _) => Ok(verdict),
    }
}

/// A mount from a repository that the client may not pull from becomes an upload, as if the blob were not there
/// (end-11).
async fn without_forbidden_mount(app: &AppState, identity: &Identity, endpoint: Endpoint) -> Result<Endpoint, Error> {
    Ok(match endpoint {
        Endpoint::Mount { name, digest, from } if !may_mount(app, identity, from.as_ref()).await? => {
            Endpoint::BeginUpload { name, algorithm: digest.algorithm() }
        }
        endpoint => endpoint,
    })
}

async fn may_mount(app: &AppState, identity: &Identity, from: Option<&RepositoryName>) -> Result<bool, Error> {
    match from {
        Some(from) => {
            let pull = Scope::Repository(from, Action::Pull);
            Ok(verdict(app, identity, pull).await? == Verdict::Allowed)
        }
        None => Ok(app.access().may_mount_from_anywhere(identity)),
    }
}

pub(super) fn denied(app: &AppState, identity: &Identity, scope: Option<Scope<'_>>) -> Error {
    if app.access().is_open() {
        return denied_without_login(match scope {
            Some(Scope::Repository(_, action)) => action,
            Some(Scope::Mount { .. }) => Action::Push,
            Some(Scope::Login | Scope::Catalog) | None => Action::Pull,
        });
    }
    let denied = match scope {
        Some(Scope::Repository(name, action)) => format!("{} {name}", action.as_str()),
        Some(Scope::Mount { name, .. }) => format!("push {name}"),
        Some(Scope::Login | Scope::Catalog) | None => "see this".to_owned(),
    };
    let message = if scope.is_some_and(|scope| identity.keys_forbid(scope)) {
        format!("your keys may not {denied}, because they do not allow it in the bucket")
    } else {
        format!("you may not {denied}: the registry's operator can allow it in auth.rules")
    };
    Error::new(ErrorCode::Denied, message)
}

/// Where no login is possible, the message tells how the operator can allow the request, because clients show it.
fn denied_without_login(action: Action) -> Error {
    let message = format!(
        "this registry takes no anonymous {}: its operator can run `pounce htpasswd USER` and put the line that it \
         prints into auth.htpasswd.users (REGISTRY_AUTH_HTPASSWD_USERS), or list {} in auth.anonymous for all clients",
        match action {
            Action::Pull => "pulls",
            Action::Push => "pushes",
            Action::Delete => "deletes",
        },
        action.as_str()
    );
    Error::new(ErrorCode::Denied, message)
}
