//! k3s: `registries.yaml`, of which it makes containerd's files itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::plan::Draft;
use super::setup::Setup;

/// The registries of k3s.
pub(super) const REGISTRIES: &str = "/etc/rancher/k3s/registries.yaml";
/// The CA of the registry.
pub(super) const CA: &str = "/etc/rancher/k3s/pounce-ca.crt";
/// k3s reads its settings once.
pub(super) const RESTART: &str = "systemctl restart k3s, or k3s-agent on agents";

#[derive(Serialize)]
struct Registries<'a> {
    mirrors: BTreeMap<&'a str, Mirror<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    configs: BTreeMap<&'a str, RegistryConfig>,
}

#[derive(Serialize)]
struct Mirror<'a> {
    endpoint: [&'a str; 1],
}

#[derive(Serialize)]
struct RegistryConfig {
    tls: Tls,
}

#[derive(Serialize)]
struct Tls {
    ca_file: &'static str,
}

/// Adds k3s' files.
///
/// # Errors
/// `registries.yaml` has content of others.
pub(super) fn plan(setup: &Setup, draft: &mut Draft<'_>) -> Result<(), String> {
    let (authority, url) = (setup.registry.authority(), setup.registry.to_string());
    let mut registries = Registries { mirrors: BTreeMap::new(), configs: BTreeMap::new() };
    let hosts = setup.mirrored.iter().map(|it| it.host.as_str());
    // By name, k3s would call a plain registry by https.
    let itself = setup.registry.is_plain().then_some(authority.as_str());
    for host in hosts.chain(itself) {
        registries.mirrors.insert(host, Mirror { endpoint: [&url] });
    }
    if let Some(ca) = &setup.ca {
        registries.configs.insert(&authority, RegistryConfig { tls: Tls { ca_file: CA } });
        draft.replace(CA.to_owned(), ca)?;
    }
    let text = serde_saphyr::to_string(&registries).map_err(|error| error.to_string())?;
    draft.own(REGISTRIES, &text)?;
    let how = format!(
        "add auth with username and password below configs.\"{authority}\", and remove the first two lines, so that \
         pounce leaves the file alone"
    );
    if let Some(note) = setup.login_note("k3s", &how) {
        draft.note(note);
    }
    Ok(())
}
