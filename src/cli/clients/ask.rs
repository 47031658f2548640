//! What a registry says: that it answers as a mirror has to, and for which upstreams.

use std::time::Duration;

use super::registry_url::RegistryUrl;
use crate::http::{ListedUpstream, UPSTREAM_LIST, UpstreamList};
use crate::upstream::{Answered, Reach, ReachError};

/// How long an answer may take. A mirror that needs longer makes every pull wait.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A user of the registry.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

/// What a registry says.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    /// The upstreams from which the client may pull, if the registry tells.
    pub(super) upstreams: Option<Vec<ListedUpstream>>,
    /// `/v2/` demands a login.
    pub(super) wants_login: bool,
    /// The registry would tell a user more.
    pub(super) hides_upstreams: bool,
}

/// Asks a registry.
///
/// # Errors
/// A sentence: why it cannot be a mirror, and what to do.
pub(super) async fn ask(registry: &RegistryUrl, ca: Option<&str>, login: Option<Login<'_>>) -> Result<Said, String> {
    let reach = Reach::new(registry.as_url(), ca, TIMEOUT).map_err(|error| format!("--ca: {error}"))?;
    let answered = match reach.get(&registry.join("/v2/"), None).await {
        Ok(answered) => answered,
        Err(error) => return Err(describe(registry, ca, error).await),
    };
    let wants_login = check(registry, ca, &answered).await?;
    let login = login.map(|it| (it.user, it.password));
    let path = format!("/v2/{UPSTREAM_LIST}");
    let list = reach.get(&registry.join(&path), login).await;
    let list = list.map_err(|error| format!("{registry}{path}: {error}"))?;
    let said = Said { wants_login, ..Said::default() };
    match list.status {
        200 => {
            let list: UpstreamList = serde_json::from_slice(&list.bytes)
                .map_err(|error| format!("{registry}{path}: this is not a list of upstreams: {error}"))?;
            Ok(Said { upstreams: Some(list.upstreams), ..said })
        }
        401 if login.is_some() => Err(format!("{registry} refuses this user and password")),
        403 if login.is_some() => Err(format!("{registry}: auth.rules let this user pull nothing")),
        401 | 403 => Ok(Said { hides_upstreams: true, ..said }),
        429 => Err(format!("{registry} has got too many passwords: wait, then try again")),
        // Another registry, or an older pounce.
        404 => Ok(said),
        status => Err(format!("{registry}{path} answers with status {status}")),
    }
}

/// Whether `/v2/` demands a login.
async fn check(registry: &RegistryUrl, ca: Option<&str>, answered: &Answered) -> Result<bool, String> {
    match answered.status {
        200 | 401 if answered.is_registry => Ok(answered.status == 401),
        301 | 302 | 307 | 308 => {
            let location = answered.location.as_deref().unwrap_or("another place").escape_debug();
            Err(format!("{registry} redirects to {location}: take that URL, without the /v2/"))
        }
        // nginx and Go say so to a plain request on a TLS port.
        400 if registry.is_plain() && speaks_other_scheme(registry, ca).await => Err(other_scheme(registry)),
        502..=504 => Err(format!("{registry}/v2/ answers with status {}: is pounce running there?", answered.status)),
        status => Err(format!(
            "{registry}/v2/ answers with status {status}, and not as a registry does: check host, port and http.prefix"
        )),
    }
}

/// What to do about a registry that does not answer.
async fn describe(registry: &RegistryUrl, ca: Option<&str>, error: ReachError) -> String {
    match error {
        ReachError::Silent => format!(
            "{registry} does not answer within {} s. A mirror that hangs keeps clients from going on to the upstream: \
             start it, or let this node reach it",
            TIMEOUT.as_secs()
        ),
        // Go's clients take such a certificate, and others do not.
        ReachError::Certificate(cause) if cause.contains("CaUsedAsEndEntity") => format!(
            "{registry}: its certificate is that of a CA, which not all clients take for a server's: make one with \
             CA:FALSE, and let the CA sign it"
        ),
        ReachError::Certificate(cause) if ca.is_none() => {
            format!("{registry}: {cause}. If its CA is your own, name its file: --ca FILE")
        }
        ReachError::Certificate(cause) => format!("{registry}: {cause}, with the CA of --ca, too"),
        ReachError::Failed(_) if speaks_other_scheme(registry, ca).await => other_scheme(registry),
        ReachError::Failed(cause) => {
            format!("{registry}: {cause}: check host and port, and that pounce is running there")
        }
    }
}

/// Whether the host and port answer with the other scheme: by anything in HTTP, or a certificate.
async fn speaks_other_scheme(registry: &RegistryUrl, ca: Option<&str>) -> bool {
    let other = registry.with_other_scheme();
    let Ok(reach) = Reach::new(other.as_url(), ca, TIMEOUT) else {
        return false;
    };
    match reach.get(&other.join("/v2/"), None).await {
        // nginx answers plain HTTP on a TLS port, too: with 400.
        Ok(answered) => answered.is_registry || answered.status != 400,
        Err(ReachError::Certificate(_)) => true,
        Err(ReachError::Silent | ReachError::Failed(_)) => false,
    }
}

fn other_scheme(registry: &RegistryUrl) -> String {
    let other = registry.with_other_scheme();
    let speaks = if registry.is_plain() { "TLS" } else { "plain HTTP" };
    format!("{registry} speaks {speaks}: write {other}")
}
