//! Talos 1.12 and later: documents for the machine configuration. Nothing is written on the node.

use serde::Serialize;

use super::plan::Draft;
use super::setup::Setup;

const VERSION: &str = "v1alpha1";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mirror<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    endpoints: [Endpoint<'a>; 1],
}

#[derive(Serialize)]
struct Endpoint<'a> {
    url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tls<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    ca: &'a str,
}

/// Adds the documents.
///
/// # Errors
/// They cannot be made.
pub(super) fn plan(setup: &Setup, draft: &mut Draft<'_>) -> Result<(), String> {
    let (authority, url) = (setup.registry.authority(), setup.registry.to_string());
    let itself = setup.registry.is_plain().then_some(authority.as_str());
    let mut documents = Vec::new();
    for name in setup.mirrored.iter().map(|it| it.host.as_str()).chain(itself) {
        let mirror =
            Mirror { api_version: VERSION, kind: "RegistryMirrorConfig", name, endpoints: [Endpoint { url: &url }] };
        documents.push(serde_saphyr::to_string(&mirror).map_err(|error| error.to_string())?);
    }
    if let Some(ca) = &setup.ca {
        let tls = Tls { api_version: VERSION, kind: "RegistryTLSConfig", name: &authority, ca };
        documents.push(serde_saphyr::to_string(&tls).map_err(|error| error.to_string())?);
    }
    let title = "pounce.yaml, for `talosctl patch machineconfig --patch @pounce.yaml`".to_owned();
    draft.plan.printed.push((title, documents.join("---\n")));
    let how = format!("add a document of kind RegistryAuthConfig, name {authority}, with username and password");
    if let Some(note) = setup.login_note("talos", &how) {
        draft.note(note);
    }
    Ok(())
}
