//! containerd: a `hosts.toml` for each upstream, and `config_path` in `config.toml`.

use toml_edit::{Array, DocumentMut, Item, Table, TableLike, value};

use super::plan::{Draft, HEADER};
use super::setup::Setup;
use crate::config::{UpstreamHost, is_local};

/// containerd's settings.
pub(super) const CONFIG: &str = "/etc/containerd/config.toml";
/// containerd reads its settings once, and `hosts.toml` at each pull.
pub(super) const RESTART: &str = "systemctl restart containerd";
/// Where it looks for `hosts.toml`.
const HOSTS: &str = "/etc/containerd/certs.d";
/// What reads them. `ctr` alone would go past the registry in silence.
pub(super) const TRY: &str = "ctr image pull --hosts-dir /etc/containerd/certs.d IMAGE, because ctr looks there only if \
                              told; nerdctl and Kubernetes do so by themselves";
/// The part that pulls for Kubernetes, by the version of `config.toml`.
const PLUGINS: [(i64, &str); 2] = [(2, "io.containerd.grpc.v1.cri"), (3, "io.containerd.cri.v1.images")];

/// A mirror in a `hosts.toml`.
struct HostEntry<'a> {
    url: String,
    capabilities: &'a [&'a str],
    ca: Option<&'a str>,
}

/// Adds containerd's files.
///
/// # Errors
/// A file cannot be read, or is not TOML.
pub(super) fn plan(setup: &Setup, draft: &mut Draft<'_>) -> Result<(), String> {
    let own = directory(&setup.registry.authority());
    let ca_path = format!("{own}/ca.crt");
    let ca = setup.ca.as_ref().map(|_| ca_path.as_str());
    let url = setup.registry.to_string();
    for it in &setup.mirrored {
        let mirror = HostEntry { url: url.clone(), capabilities: &["pull", "resolve"], ca };
        let path = format!("{}/hosts.toml", directory(it.host.as_str()));
        draft.merge(path, |before| hosts(before, &server(&it.host), &mirror))?;
    }
    if setup.is_special() {
        let itself = HostEntry { url: url.clone(), capabilities: &["pull", "resolve", "push"], ca };
        draft.merge(format!("{own}/hosts.toml"), |before| hosts(before, &url, &itself))?;
    }
    if let Some(ca) = &setup.ca {
        draft.replace(ca_path.clone(), ca)?;
    }
    let how = format!(
        "add a table [host.\"{url}\".header] to each hosts.toml, with Authorization = \"Basic …\", the Base64 of \
         user:password, and let root alone read the file"
    );
    if let Some(note) = setup.login_note("containerd", &how) {
        draft.note(note);
    }
    plan_config(draft)
}

/// Whether a file of the node is a `hosts.toml`.
pub(super) fn is_hosts(path: &str) -> bool {
    path.starts_with(HOSTS) && path.ends_with("/hosts.toml")
}

/// The directory of a host. containerd looks for the form with underscores first.
fn directory(host: &str) -> String {
    // The colons of an IPv6 address stand before its bracket.
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => format!("{HOSTS}/{name}_{port}_"),
        _ => format!("{HOSTS}/{host}"),
    }
}

/// The upstream itself, to which containerd goes on where the mirror does not answer.
fn server(host: &UpstreamHost) -> String {
    if host.as_str() == UpstreamHost::DOCKER_HUB[0] {
        return format!("https://{}", UpstreamHost::DOCKER_HUB[2]);
    }
    // As containerd does it without a file.
    let scheme = if is_local(host.name()) { "http" } else { "https" };
    format!("{scheme}://{}", host.as_str())
}

/// A `hosts.toml` with a mirror. The other mirrors in it stay, and containerd asks those before it first.
fn hosts(before: Option<&str>, server: &str, mirror: &HostEntry<'_>) -> Result<String, String> {
    let not_toml = |error: toml_edit::TomlError| format!("it is not TOML, and stays as it is: {}", error.message());
    let mut document: DocumentMut = before.unwrap_or_default().parse().map_err(not_toml)?;
    if !document.contains_key("server") {
        document["server"] = value(server);
    }
    let entry = table_in(document.as_table_mut(), "host").and_then(|hosts| table_in(hosts, &mirror.url));
    let entry = entry.ok_or("its host is not a table, and the file stays as it is")?;
    let wanted: Array = mirror.capabilities.iter().copied().collect();
    let is_so = |item: &Item| item.as_array().is_some_and(|known| texts(known).eq(texts(&wanted)));
    if !entry.get("capabilities").is_some_and(is_so) {
        entry.insert("capabilities", value(wanted));
    }
    if let Some(ca) = mirror.ca.filter(|ca| entry.get("ca").and_then(Item::as_str) != Some(ca)) {
        entry.insert("ca", value(ca));
    }
    let text = document.to_string();
    Ok(if before.is_none_or(str::is_empty) { format!("{HEADER}{text}") } else { text })
}

fn texts(array: &Array) -> impl Iterator<Item = &str> {
    array.iter().map(|it| it.as_str().unwrap_or_default())
}

/// The table under a key, made if it is not there; `None` if something else is.
fn table_in<'a>(parent: &'a mut dyn TableLike, key: &str) -> Option<&'a mut dyn TableLike> {
    if !parent.contains_key(key) {
        let mut table = Table::new();
        // Without a line of its own where all that it has are tables.
        table.set_implicit(true);
        parent.insert(key, Item::Table(table));
    }
    parent.get_mut(key)?.as_table_like_mut()
}

/// Kubernetes pulls through the mirrors only where `config_path` names their directory.
fn plan_config(draft: &mut Draft<'_>) -> Result<(), String> {
    if !draft.writes() {
        let form = |(version, plugin)| {
            format!("with version = {version}, [plugins.\"{plugin}\".registry] config_path = \"{HOSTS}\"")
        };
        let [old, new] = PLUGINS.map(form);
        draft.note(format!("containerd: Kubernetes pulls so only if {CONFIG} has, {old}; {new}"));
        return Ok(());
    }
    let Some(before) = draft.read(CONFIG)? else {
        draft.note(format!(
            "containerd: there is no {CONFIG}. Where Kubernetes pulls, make it by `containerd config default`, and \
             write again"
        ));
        return Ok(());
    };
    match with_config_path(&before) {
        Ok(None) => Ok(()),
        Ok(Some(text)) => draft.replace(CONFIG.to_owned(), &text),
        Err(why) => {
            draft.note(format!(
                "containerd: {CONFIG} {why}. Kubernetes pulls through the mirrors only if config_path in it is \
                 \"{HOSTS}\": see `containerd config dump`"
            ));
            Ok(())
        }
    }
}

/// A `config.toml` with `config_path`; `None` if it needs no change, and an error where only its owner knows what to
/// do.
fn with_config_path(text: &str) -> Result<Option<String>, String> {
    let mut document: DocumentMut = text.parse().map_err(|_| "is not TOML")?;
    let disabled = document.get("disabled_plugins").and_then(Item::as_array);
    if disabled.is_some_and(|all| texts(all).any(|it| it == "cri" || it == PLUGINS[0].1)) {
        return Ok(None);
    }
    for (_, plugin) in PLUGINS {
        let registry = document.get("plugins").and_then(|it| it.get(plugin)).and_then(|it| it.get("registry"));
        let path = registry.and_then(|it| it.get("config_path")).and_then(Item::as_str).unwrap_or_default();
        if path.split(':').any(|it| it.trim_end_matches('/') == HOSTS) {
            return Ok(None);
        }
        if !path.is_empty() {
            return Err(format!("has another config_path, {}", path.escape_debug()));
        }
        // `containerd config default` has the tables, and nothing in them.
        let entries = |table: &str| registry.and_then(|it| it.get(table)).and_then(Item::as_table_like);
        let has_tls = |it: (&str, &Item)| it.1.get("tls").is_some();
        if entries("mirrors").is_some_and(|all| !all.is_empty())
            || entries("configs").is_some_and(|all| all.iter().any(has_tls))
        {
            return Err("has entries in registry.mirrors or registry.configs, which exclude config_path".to_owned());
        }
    }
    if document.get("imports").and_then(Item::as_array).is_some_and(|imports| !imports.is_empty()) {
        return Err("imports other files, which may set config_path".to_owned());
    }
    let version = document.get("version").and_then(Item::as_integer);
    let plugin = PLUGINS.iter().find(|(known, _)| Some(*known) == version);
    let (_, plugin) = plugin.ok_or("has neither version = 2 nor version = 3")?;
    let plugins = table_in(document.as_table_mut(), "plugins");
    let registry = plugins.and_then(|it| table_in(it, plugin)).and_then(|it| table_in(it, "registry"));
    registry.ok_or("has no table of plugins")?.insert("config_path", value(HOSTS));
    Ok(Some(document.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIRROR: HostEntry<'_> = HostEntry { url: String::new(), capabilities: &["pull", "resolve"], ca: None };

    #[test]
    fn another_mirror_stays_in_hosts_toml() {
        let before = "# mine\nserver = 'https://ghcr.io' # here\n\n[host.\"https://other.example\"]\n  \
                      capabilities = [\"pull\"]\n  skip_verify = true\n";
        let mirror = HostEntry { url: "https://pounce.example".to_owned(), ca: Some("/a/ca.crt"), ..MIRROR };
        let after = hosts(Some(before), "https://unused.example", &mirror).unwrap();
        let added = "\n[host.\"https://pounce.example\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"/a/ca.crt\"\n";
        assert_eq!(after, format!("{before}{added}"));
        assert_eq!(hosts(Some(&after), "x", &mirror).unwrap(), after);
        for wrong in ["host = 1", "[host]\n\"https://pounce.example\" = 1", "["] {
            assert!(hosts(Some(wrong), "x", &mirror).is_err(), "{wrong}");
        }
        let inline = "host = { \"https://other.example\" = { skip_verify = true } }\n";
        let after: DocumentMut = hosts(Some(inline), "x", &mirror).unwrap().parse().unwrap();
        assert_eq!(after["host"]["https://pounce.example"]["ca"].as_str(), Some("/a/ca.crt"));
        assert_eq!(after["host"]["https://other.example"]["skip_verify"].as_bool(), Some(true));
    }

    #[test]
    fn directories_of_hosts() {
        let cases = [
            ("docker.io", "docker.io"),
            ("registry.internal:5000", "registry.internal_5000_"),
            ("[::1]:5000", "[::1]_5000_"),
            ("[::1]", "[::1]"),
        ];
        for (host, name) in cases {
            assert_eq!(directory(host), format!("{HOSTS}/{name}"));
        }
    }

    #[test]
    fn config_path_is_added_where_it_is_clear_how() {
        for (version, plugin) in PLUGINS {
            let before =
                format!("version = {version} # form\n\n[plugins.\"{plugin}\"]\nx = 1\n\n[grpc]\naddress = 'a'\n");
            let after = with_config_path(&before).unwrap().unwrap();
            let document: DocumentMut = after.parse().unwrap();
            assert_eq!(document["plugins"][plugin]["registry"]["config_path"].as_str(), Some(HOSTS), "{after}");
            // Nothing else changed.
            let added = format!("[plugins.\"{plugin}\".registry]\nconfig_path = \"{HOSTS}\"\n");
            assert_eq!(after.replace(&added, "").replace("\n\n\n", "\n\n"), before, "{after}");
            assert_eq!(with_config_path(&after), Ok(None));
            // As `containerd config default` writes it.
            let table = format!("[plugins.\"{plugin}\".registry]\n");
            let empty =
                format!("version = {version}\n{table}config_path = \"\"\n[plugins.\"{plugin}\".registry.mirrors]\n");
            let after = with_config_path(&empty).unwrap().unwrap();
            assert_eq!(after, empty.replace("\"\"", &format!("\"{HOSTS}\"")));
        }
        let fine = [
            "disabled_plugins = [\"cri\"]",
            "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/etc/containerd/certs.d/:/x'",
            "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/x:/etc/containerd/certs.d'",
        ];
        for text in fine {
            assert_eq!(with_config_path(text), Ok(None), "{text}");
        }
        let unclear = [
            ("", "neither version"),
            ("version = 1", "neither version"),
            ("version = 2\nimports = ['/etc/containerd/conf.d/*.toml']", "imports"),
            ("version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry]\nconfig_path = '/x'", "another config_path"),
            (
                "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'a']\nendpoint = []",
                "has entries in registry.mirrors",
            ),
            ("version = 2\nplugins = 1", "no table"),
            ("[", "not TOML"),
        ];
        for (text, why) in unclear {
            let error = with_config_path(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
