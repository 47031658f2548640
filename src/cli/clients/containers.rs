//! podman, buildah, skopeo and CRI-O: a file beside `registries.conf`, and the CA of the registry.
//!
//! These clients do not tell a mirror which registry it stands for. So the host of a further upstream is a part of the
//! mirror's location: at the registry's root would be the default upstream's repository of the same name, another image
//! under a right name.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, value};

use super::plan::Draft;
use super::setup::{Mirrored, Setup};

/// The file of the mirrors.
pub(super) const REGISTRIES: &str = "/etc/containers/registries.conf.d/pounce.conf";
/// podman reads the file at each pull.
pub(super) const RELOAD: &str = "systemctl reload crio, where CRI-O runs; podman needs nothing";

/// One of the clients that share these files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    Podman,
    Crio,
}

/// Adds the clients' files.
///
/// # Errors
/// A file cannot be read, or has content of others.
pub(super) fn plan(setup: &Setup, draft: &mut Draft<'_>, client: Client) -> Result<(), String> {
    let authority = setup.registry.authority();
    let is_plain = setup.registry.is_plain();
    let mut registries = ArrayOfTables::new();
    for it in &setup.mirrored {
        let mut mirrors = ArrayOfTables::new();
        mirrors.push(location(&mirror(&authority, it), is_plain));
        let mut registry = location(it.host.as_str(), false);
        registry.insert("mirror", Item::ArrayOfTables(mirrors));
        registries.push(registry);
    }
    if is_plain {
        registries.push(location(&authority, true));
    }
    let mut document = DocumentMut::new();
    document.insert("registry", Item::ArrayOfTables(registries));
    draft.own(REGISTRIES, &document.to_string())?;
    if let Some(ca) = &setup.ca {
        draft.replace(format!("/etc/containers/certs.d/{authority}/ca.crt"), ca)?;
    }
    let (name, how) = match client {
        Client::Podman => ("podman", format!("podman login {authority}")),
        Client::Crio => ("crio", format!("put credentials for {authority} into its global_auth_file")),
    };
    if let Some(note) = setup.login_note(name, &how) {
        draft.note(note);
    }
    Ok(())
}

fn mirror(authority: &str, it: &Mirrored) -> String {
    if it.is_default { authority.to_owned() } else { format!("{authority}/{}", it.host.component()) }
}

fn location(location: &str, is_insecure: bool) -> Table {
    let mut table = Table::new();
    table.insert("location", value(location));
    if is_insecure {
        table.insert("insecure", value(true));
    }
    table
}
