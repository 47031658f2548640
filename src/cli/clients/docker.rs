//! Docker: `daemon.json`, and the CA of the registry.

use super::json_object::JsonObject;
use super::plan::Draft;
use super::registry_url::RegistryUrl;
use super::setup::{Mirrored, Setup, rule};
use crate::config::UpstreamHost;

/// Docker's settings.
pub(super) const DAEMON: &str = "/etc/docker/daemon.json";
/// Mirrors and insecure registries are among the settings that a running daemon reads anew.
pub(super) const RELOAD: &str = "systemctl reload docker";
/// But it keeps those whose key is gone.
pub(super) const RESTART: &str = "systemctl restart docker";

/// Adds Docker's files.
///
/// # Errors
/// `daemon.json` cannot be merged.
pub(super) fn plan(setup: &Setup, draft: &mut Draft<'_>) -> Result<(), String> {
    let authority = setup.registry.authority();
    let hub = setup.mirrored.iter().find(|it| it.host.as_str() == UpstreamHost::DOCKER_HUB[0]);
    let mirror = match hub.map(|hub| mirror(setup, hub)) {
        Some(Ok(mirror)) => Some(mirror.to_string()),
        Some(Err(note)) => {
            draft.plan.left_out = true;
            draft.note(format!("docker: no mirror: {note}"));
            None
        }
        None => {
            draft.note(format!(
                "docker: no mirror: Docker sends only pulls of Docker Hub to one, and {authority} does not answer for \
                 docker.io"
            ));
            None
        }
    };
    if let Some(other) = setup.mirrored.iter().find(|it| it.host.as_str() != UpstreamHost::DOCKER_HUB[0]) {
        let component = other.host.component();
        draft.note(format!(
            "docker: only pulls of Docker Hub go to a mirror. Pull other images by name: docker pull \
             {authority}/{component}/…"
        ));
    }
    if let Some(ca) = &setup.ca {
        draft.replace(format!("/etc/docker/certs.d/{authority}/ca.crt"), ca)?;
    }
    let insecure = setup.registry.is_plain().then_some(authority.as_str());
    if mirror.is_none() && insecure.is_none() {
        return Ok(());
    }
    draft.merge(DAEMON.to_owned(), |before| {
        let mut daemon = JsonObject::parse(before.unwrap_or_default())?;
        // The first mirror is asked first.
        daemon.put_first("registry-mirrors", mirror.as_deref())?;
        daemon.put_first("insecure-registries", insecure)?;
        Ok(daemon.to_string())
    })
}

/// The mirror of Docker Hub, which is the root of a host; or why there is none.
fn mirror(setup: &Setup, hub: &Mirrored) -> Result<RegistryUrl, String> {
    if !hub.is_anonymous {
        return Err(format!(
            "pulls of docker.io need a login here, and Docker sends a mirror no credentials (moby#30880), so that it \
             would pass it by in silence. Pull by name after docker login: docker pull {}/{}/library/alpine. {}",
            setup.registry.authority(),
            hub.host.component(),
            rule(&[&hub.host])
        ));
    }
    match &hub.hostname {
        // Only the operator knows.
        _ if hub.is_default || !hub.is_listed => Ok(setup.registry.clone()),
        Some(name) => Ok(setup.registry.by_name(name)),
        None => Err(format!(
            "Docker Hub is not the default upstream of {}, and Docker cannot say which one it means. Its operator can \
             add a name for it to hostnames in proxy.upstreams (docs/configuration.md)",
            setup.registry
        )),
    }
}
