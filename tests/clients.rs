//! `pounce clients`: what nodes get, in print and in a tree of files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use toml_edit::DocumentMut;

use crate::check::run;
use crate::support::tls::Authority;
use crate::support::users::{by, password, user};
use crate::support::{Pounce, borrowed};

const HUB: &str = "https://registry-1.docker.io";
/// Docker Hub behind the root, two further upstreams, and one of Ollama.
const UPSTREAMS: &str = "[{host: ghcr.io}, {host: 'registry.internal:5000', hostnames: [internal.example.com]}, \
                         {host: registry.ollama.ai, hostnames: [ollama.example.com], client: ollama}]";

async fn registry(more: &[(&str, &str)]) -> Pounce {
    let base = [
        ("REGISTRY_PROXY_REMOTEURL", HUB),
        ("REGISTRY_PROXY_UPSTREAMS", UPSTREAMS),
        ("REGISTRY_HTTP_SECRET", "battery staple"),
    ];
    let all: Vec<_> = base.into_iter().chain(more.iter().copied()).collect();
    Pounce::with(&all).await
}

async fn clients(arguments: &[&str]) -> (i32, String, String) {
    let all: Vec<&str> = std::iter::once("clients").chain(arguments.iter().copied()).collect();
    run(&all, &[], "").await
}

/// The printed files by their paths.
fn files(printed: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut path = "";
    for line in printed.lines() {
        let title = line.strip_prefix("# ");
        if let Some(title) = title.filter(|it| it.starts_with('/') || it.starts_with("pounce.yaml")) {
            path = title.split(',').next().unwrap();
        } else {
            let text: &mut String = files.entry(path.to_owned()).or_default();
            text.push_str(line);
            text.push('\n');
        }
    }
    files
}

/// TOML as JSON.
fn toml(text: &str) -> Value {
    fn value(item: &toml_edit::Item) -> Value {
        if let Some(table) = item.as_table_like() {
            return table.iter().map(|(key, item)| (key.to_owned(), value(item))).collect();
        }
        if let Some(tables) = item.as_array_of_tables() {
            return tables.iter().map(|table| value(&toml_edit::Item::Table(table.clone()))).collect();
        }
        if let Some(array) = item.as_array() {
            return array.iter().map(|it| value(&toml_edit::Item::Value(it.clone()))).collect();
        }
        item.as_str().map(Value::from).or(item.as_bool().map(Value::from)).unwrap()
    }
    let document: DocumentMut = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
    value(document.as_item())
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Every file and directory below a root, with its mode and its text.
fn everything(root: &Path) -> BTreeMap<String, (u32, String)> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let text = if metadata.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (metadata.permissions().mode() & 0o7777, text));
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    found
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

async fn listed(pounce: &Pounce, name: Option<&str>) -> (u16, Vec<(String, bool)>) {
    let request = pounce.request("GET", "/v2/_pounce/upstreams");
    let request = match name {
        Some(name) => by(name, request),
        None => request,
    };
    let reply = pounce.send(request).await;
    if reply.status != 200 {
        return (reply.status, Vec::new());
    }
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    let upstreams = body["upstreams"].as_array().unwrap().iter();
    let pairs = upstreams.map(|it| (it["hosts"][0].as_str().unwrap().to_owned(), it["anonymous"] == true));
    (200, pairs.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_told_the_upstreams_from_which_it_may_pull() {
    let all = ["docker.io", "ghcr.io", "registry.internal:5000", "registry.ollama.ai"];
    let pairs = |hosts: &[&str], open: &[&str]| -> Vec<(String, bool)> {
        hosts.iter().map(|host| ((*host).to_owned(), open.contains(host))).collect()
    };
    let open = registry(&[]).await;
    assert_eq!(listed(&open, None).await, (200, pairs(&all, &all)));
    let closed = registry(&[("REGISTRY_AUTH_ANONYMOUS", "push")]).await;
    assert_eq!(listed(&closed, None).await.0, 403);
    let lines = format!("{},{}", user("ci"), user("me"));
    let users = registry(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines)]).await;
    assert_eq!(listed(&users, None).await.0, 401);
    assert_eq!(listed(&users, Some("ci")).await, (200, pairs(&all, &[])));
    let rules = "[{users: [anonymous], repositories: ['docker.io/**'], actions: [pull]}, \
                 {users: [ci], repositories: ['registry.internal_5000/secret/**'], actions: []}, \
                 {users: [ci], repositories: ['ghcr.io/**'], actions: []}, \
                 {users: [ci], actions: [pull]}, {users: [me], repositories: ['team/**'], actions: [pull, push]}]";
    let limited = registry(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines), ("REGISTRY_AUTH_RULES", rules)]).await;
    let hub = ["docker.io"];
    assert_eq!(listed(&limited, None).await, (200, pairs(&hub, &hub)));
    assert_eq!(listed(&limited, Some("me")).await, (200, pairs(&hub, &hub)));
    assert_eq!(listed(&limited, Some("ci")).await, (200, pairs(&[all[0], all[2], all[3]], &hub)));
    // The answer has names alone: no URLs, and no credentials.
    let body = open.get("/v2/_pounce/upstreams").await.body;
    let expected = json!({"upstreams": [
        {"hosts": ["docker.io"], "default": true, "anonymous": true, "ollama": false},
        {"hosts": ["ghcr.io"], "default": false, "anonymous": true, "ollama": false},
        {"hosts": ["registry.internal:5000"], "hostnames": ["internal.example.com"], "default": false,
         "anonymous": true, "ollama": false},
        {"hosts": ["registry.ollama.ai"], "hostnames": ["ollama.example.com"], "default": false, "anonymous": true,
         "ollama": true},
    ]});
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected);
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(open.send(open.request(method, "/v2/_pounce/upstreams")).await.status, 405);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_of_a_plain_registry() {
    let pounce = registry(&[]).await;
    let (url, authority) = (pounce.url(""), pounce.addr.to_string());
    let root = TempDir::new().unwrap();
    let (status, printed, notes) = clients(&[&url, "--root", root.path().to_str().unwrap()]).await;
    assert_eq!(status, 0, "{notes}");
    let files = files(&printed);
    let own = format!("/etc/containerd/certs.d/127.0.0.1_{}_/hosts.toml", pounce.addr.port());
    let expected = [
        "/etc/containerd/certs.d/docker.io/hosts.toml",
        "/etc/containerd/certs.d/ghcr.io/hosts.toml",
        "/etc/containerd/certs.d/registry.internal_5000_/hosts.toml",
        &own,
        "/etc/containers/registries.conf.d/pounce.conf",
        "/etc/docker/daemon.json",
        "/etc/rancher/k3s/registries.yaml",
        "pounce.yaml",
    ];
    let mut names = expected.to_vec();
    names.sort_unstable();
    assert_eq!(files.keys().collect::<Vec<_>>(), names);
    let daemon: Value = serde_json::from_str(&files["/etc/docker/daemon.json"]).unwrap();
    assert_eq!(daemon, json!({"registry-mirrors": [url], "insecure-registries": [authority]}));
    let hosts = |server: &str, capabilities: &[&str]| {
        let host = json!({"capabilities": capabilities});
        json!({"server": server, "host": {url.as_str(): host}})
    };
    assert_eq!(toml(&files[expected[0]]), hosts("https://registry-1.docker.io", &["pull", "resolve"]));
    assert_eq!(toml(&files[expected[1]]), hosts("https://ghcr.io", &["pull", "resolve"]));
    assert_eq!(toml(&files[expected[2]]), hosts("https://registry.internal:5000", &["pull", "resolve"]));
    assert_eq!(toml(&files[&own]), hosts(&url, &["pull", "resolve", "push"]));
    let mirror = |location: &str, mirror: String| {
        let mirror = json!({"location": mirror, "insecure": true});
        json!({"location": location, "mirror": [mirror]})
    };
    let registries = json!({"registry": [
        mirror("docker.io", authority.clone()),
        mirror("ghcr.io", format!("{authority}/ghcr.io")),
        mirror("registry.internal:5000", format!("{authority}/registry.internal_5000")),
        {"location": authority, "insecure": true},
    ]});
    assert_eq!(toml(&files[expected[4]]), registries);
    let endpoint = json!({"endpoint": [url]});
    let hosts = ["docker.io", "ghcr.io", "registry.internal:5000", &authority];
    let mirrors: serde_json::Map<_, _> = hosts.iter().map(|host| ((*host).to_owned(), endpoint.clone())).collect();
    assert_eq!(yaml(&files["/etc/rancher/k3s/registries.yaml"]), json!({"mirrors": mirrors}));
    let documents: Vec<Value> = files["pounce.yaml"].split("\n---\n").map(yaml).collect();
    let document = |name: &&str| {
        let kind = "RegistryMirrorConfig";
        json!({"apiVersion": "v1alpha1", "kind": kind, "name": name, "endpoints": [{"url": url}]})
    };
    assert_eq!(documents, hosts.iter().map(document).collect::<Vec<_>>());
    assert!(notes.contains("registry.ollama.ai is left out: Ollama has no mirrors"), "{notes}");
    assert!(notes.contains("ollama pull ollama.example.com/"), "{notes}");
    assert!(notes.contains(&format!("docker pull {authority}/ghcr.io/")), "{notes}");
    assert!(notes.contains("config_path = \"/etc/containerd/certs.d\""), "{notes}");
    // Nothing is written without --write.
    assert!(everything(root.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_of_a_registry_with_a_ca_of_its_own() {
    let authority = Authority::new();
    authority.sign("pounce");
    let pounce = registry(&borrowed(&authority.variables("pounce"))).await;
    let (url, root) = (format!("https://{}", pounce.addr), TempDir::new().unwrap());
    let (ca, tree) = (authority.text("root.crt"), root.path().to_str().unwrap());
    // Each mistake gets its sentence.
    let (plain, key) = (pounce.url(""), authority.text("pounce.key"));
    let mistakes = [
        (vec![url.as_str()], "--ca FILE"),
        (vec![&plain], "speaks TLS: write https://127.0.0.1"),
        (vec![&plain, "--ca", &ca], "the URL is http"),
        (vec![&url, "--ca", "/nowhere"], "/nowhere"),
        (vec![&url, "--ca", "/dev/null"], "no certificate"),
        (vec![&url, "--ca", &key], "private key"),
    ];
    for (arguments, sentence) in mistakes {
        let (status, printed, said) = clients(&[&arguments[..], &["--root", tree]].concat()).await;
        assert!(status == 1 && printed.is_empty() && said.contains(sentence), "{sentence}: {said}");
    }
    let (status, printed, notes) = clients(&[&url, "--ca", &ca, "--root", tree, "--upstream", "ghcr.io"]).await;
    assert_eq!(status, 0, "{notes}");
    let files = files(&printed);
    let (name, port) = (pounce.addr.to_string(), pounce.addr.port());
    let own = format!("/etc/containerd/certs.d/127.0.0.1_{port}_");
    let pem = fs::read_to_string(&ca).unwrap();
    let paths = [
        format!("/etc/docker/certs.d/{name}/ca.crt"),
        format!("/etc/containers/certs.d/{name}/ca.crt"),
        format!("{own}/ca.crt"),
        "/etc/rancher/k3s/pounce-ca.crt".to_owned(),
    ];
    for path in &paths {
        assert_eq!(files[path].trim(), pem.trim(), "{path}");
    }
    let capabilities = ["pull", "resolve"];
    let hosts = json!({"capabilities": capabilities, "ca": paths[2]});
    let hosts = json!({"server": "https://ghcr.io", "host": {url.as_str(): hosts}});
    assert_eq!(toml(&files["/etc/containerd/certs.d/ghcr.io/hosts.toml"]), hosts);
    assert_eq!(toml(&files[&format!("{own}/hosts.toml")])["host"][&url]["ca"], paths[2]);
    assert!(!files.contains_key("/etc/containerd/certs.d/docker.io/hosts.toml"));
    // Docker's mirrors are for Docker Hub alone, so only its CA is left.
    assert!(!files.contains_key("/etc/docker/daemon.json"));
    let registries =
        json!({"registry": [{"location": "ghcr.io", "mirror": [{"location": format!("{name}/ghcr.io")}]}]});
    assert_eq!(toml(&files["/etc/containers/registries.conf.d/pounce.conf"]), registries);
    let k3s = json!({
        "mirrors": {"ghcr.io": {"endpoint": [url]}},
        "configs": {name.as_str(): {"tls": {"ca_file": "/etc/rancher/k3s/pounce-ca.crt"}}},
    });
    assert_eq!(yaml(&files["/etc/rancher/k3s/registries.yaml"]), k3s);
    let tls = files["pounce.yaml"].split("\n---\n").map(yaml).find(|it| it["kind"] == "RegistryTLSConfig").unwrap();
    // In an empty tree, all that is written for a client is taken back, directories too.
    for client in ["docker", "containerd", "k3s", "podman", "crio"] {
        let (status, _, said) = clients(&[&url, client, "--ca", &ca, "--write", "--root", tree]).await;
        assert!(status == 0 && everything(root.path()).len() > 4, "{client}: {said}");
        assert_eq!(clients(&["--undo", "--root", tree]).await.0, 0);
        assert!(everything(root.path()).is_empty(), "{client}: {:?}", everything(root.path()));
    }
    assert!(tls["name"] == name && tls["ca"].as_str().unwrap().trim() == pem.trim(), "{tls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_can_be_taken_back() {
    let pounce = registry(&[]).await;
    let (url, root) = (pounce.url(""), TempDir::new().unwrap());
    let root = root.path();
    let tree = root.to_str().unwrap();
    let daemon = "{\n    \"log-driver\": \"json-file\",\n    \"log-opts\": { \"max-size\": \"10m\" },\n    \
                  \"registry-mirrors\": [\"https://other.example\"]\n}\n";
    put(root, "etc/docker/daemon.json", daemon);
    fs::set_permissions(root.join("etc/docker/daemon.json"), fs::Permissions::from_mode(0o640)).unwrap();
    put(root, "etc/containerd/config.toml", "# mine\nversion = 2\n\n[plugins.\"io.containerd.grpc.v1.cri\"]\nx = 1\n");
    let other = "server = \"https://ghcr.io\"\n\n[host.\"https://other.example\"]\nskip_verify = true\n";
    put(root, "etc/containerd/certs.d/ghcr.io/hosts.toml", other);
    put(root, "etc/rancher/k3s/config.yaml", "a: 1\n");
    put(root, "etc/containers/policy.json", "{}");
    let before = everything(root);

    let (status, changes, notes) = clients(&[&url, "--write", "--root", tree]).await;
    assert_eq!(status, 0, "{notes}");
    for line in
        ["+++ /etc/docker/daemon.json", "--- /dev/null", "-    \"registry-mirrors\": [\"https://other.example\"]"]
    {
        assert!(changes.lines().any(|it| it.trim_end() == line), "{line}: {changes}");
    }
    for command in ["systemctl reload docker", "systemctl restart containerd", "systemctl restart k3s", "reload crio"] {
        assert!(notes.contains(command), "{command}: {notes}");
    }
    let written = everything(root);
    let (mode, text) = &written["etc/docker/daemon.json"];
    let merged = daemon.replace("[\"https://other.example\"]", &format!("[\"{url}\", \"https://other.example\"],"));
    let merged = merged.replace("\n}\n", &format!("\n    \"insecure-registries\": [\"{}\"]\n}}\n", pounce.addr));
    assert_eq!((*mode, text.as_str()), (0o640, merged.as_str()));
    let hosts = toml(&written["etc/containerd/certs.d/ghcr.io/hosts.toml"].1);
    assert_eq!(hosts["host"]["https://other.example"]["skip_verify"], true);
    assert_eq!(hosts["host"][&url]["capabilities"], json!(["pull", "resolve"]));
    let config = &written["etc/containerd/config.toml"].1;
    assert!(config.starts_with("# mine\n") && config.contains("config_path = \"/etc/containerd/certs.d\""), "{config}");
    assert_eq!(written["etc/containerd/certs.d/docker.io/hosts.toml"].0, 0o644);
    assert_eq!(written["etc/docker/daemon.json.before-pounce"], before["etc/docker/daemon.json"]);

    // A second time nothing changes, and the backups are those of the first time.
    let (status, changes, notes) = clients(&[&url, "--write", "--root", tree]).await;
    assert!(status == 0 && changes.is_empty() && notes.contains("nothing to change"), "{changes} {notes}");
    assert_eq!(everything(root), written);
    let another = registry(&[]).await;
    assert_eq!(clients(&[&another.url(""), "docker", "--write", "--root", tree]).await.0, 0);
    assert_eq!(everything(root)["etc/docker/daemon.json.before-pounce"], before["etc/docker/daemon.json"]);

    // For one client, then for all.
    let (status, changes, notes) = clients(&["--undo", "docker", "--root", tree]).await;
    assert!(
        status == 0 && notes.contains("restart docker") && changes.contains("+++ /etc/docker"),
        "{notes} {changes}"
    );
    let now = everything(root);
    assert_eq!(now["etc/docker/daemon.json"], before["etc/docker/daemon.json"]);
    assert!(now.contains_key("etc/containerd/certs.d/docker.io/hosts.toml"));
    assert_eq!(clients(&["--undo", "--root", tree]).await.0, 0);
    assert_eq!(everything(root), before);
    let (status, _, notes) = clients(&["--undo", "--root", tree]).await;
    assert!(status == 0 && notes.contains("nothing to bring back"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pounce_cannot_merge_stays_as_it_is() {
    let pounce = registry(&[]).await;
    let url = pounce.url("");
    let cases = [
        ("docker", "etc/docker/daemon.json", "{ \"debug\": true, }", "not a JSON object"),
        ("docker", "etc/docker/daemon.json", "// hi\n{}", "not a JSON object"),
        ("docker", "etc/docker/daemon.json", "{\"registry-mirrors\": \"x\"}", "not a list of texts"),
        ("containerd", "etc/containerd/certs.d/docker.io/hosts.toml", "server = ", "not TOML"),
        ("k3s", "etc/rancher/k3s/registries.yaml", "configs: {}\n", "settings that pounce did not write"),
        ("podman", "etc/containers/registries.conf.d/pounce.conf", "[a]\n", "settings that pounce did not write"),
        ("podman", "etc/containers/registries.conf.d", "a file", "etc/containers/registries.conf.d/pounce.conf: "),
    ];
    for (client, path, text, sentence) in cases {
        let root = TempDir::new().unwrap();
        put(root.path(), path, text);
        let before = everything(root.path());
        let arguments = [&url, client, "--write", "--root", root.path().to_str().unwrap()];
        let (status, changes, said) = clients(&arguments).await;
        assert!(status == 1 && changes.is_empty() && said.contains(sentence), "{path}: {said}");
        assert!(said.contains(path), "{said}");
        assert_eq!(everything(root.path()), before, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_stay_links_and_never_leave_the_tree() {
    let pounce = registry(&[]).await;
    let (url, root, outside) = (pounce.url(""), TempDir::new().unwrap(), TempDir::new().unwrap());
    let tree = root.path().to_str().unwrap();
    put(root.path(), "opt/daemon.json", "{}");
    fs::create_dir_all(root.path().join("etc/docker")).unwrap();
    symlink("../../opt/daemon.json", root.path().join("etc/docker/daemon.json")).unwrap();
    let before = everything(root.path());
    assert_eq!(clients(&[&url, "docker", "--write", "--root", tree]).await.0, 0);
    assert!(root.path().join("etc/docker/daemon.json").is_symlink());
    assert!(everything(root.path())["opt/daemon.json"].1.contains(&url));
    assert_eq!(clients(&["--undo", "--root", tree]).await.0, 0);
    assert_eq!(everything(root.path()), before);
    for link in ["etc/containers", "etc/rancher"] {
        symlink(outside.path(), root.path().join(link)).unwrap();
    }
    symlink("/nowhere/at/all", root.path().join("etc/containerd")).unwrap();
    for (client, sentence) in [("podman", "leaves"), ("k3s", "leaves"), ("containerd", "leads nowhere")] {
        let (status, _, said) = clients(&[&url, client, "--write", "--root", tree]).await;
        assert!(status == 1 && said.contains(sentence), "{client}: {said}");
    }
    assert!(everything(outside.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_shown_without_credentials() {
    let pounce = registry(&[]).await;
    let (url, root) = (pounce.url(""), TempDir::new().unwrap());
    let tree = root.path().to_str().unwrap();
    let path = "etc/containerd/certs.d/ghcr.io/hosts.toml";
    let other = "[host.\"https://other.example\".header]\n  Authorization = \"Basic aGlkZGVu\"\n";
    put(root.path(), path, other);
    let daemon = "{\n  \"proxies\": { \"http-proxy\": \"http://me:aGlkZGVu@proxy.example\" }\n}\n";
    put(root.path(), "etc/docker/daemon.json", daemon);
    let (status, changes, said) = clients(&[&url, "--write", "--root", tree]).await;
    assert!(status == 0 && !changes.contains("aGlkZGVu"), "{said} {changes}");
    assert!(changes.contains("\n   Authorization = (not shown)\n"), "{changes}");
    assert!(changes.contains("(not shown)@proxy.example"), "{changes}");
    // Of a file that was not there, all is shown as it goes.
    let new = root.path().join("etc/containerd/certs.d/docker.io/hosts.toml");
    let text = fs::read_to_string(&new).unwrap();
    fs::write(&new, format!("{text}[host.\"{url}\".header]\nAuthorization = \"Basic aGlkZGVu\"\n")).unwrap();
    let (status, changes, said) = clients(&["--undo", "--root", tree]).await;
    assert!(status == 0 && !changes.contains("aGlkZGVu"), "{said} {changes}");
    assert!(changes.contains("\n-Authorization = (not shown)\n"), "{changes}");
    assert_eq!(fs::read_to_string(root.path().join(path)).unwrap(), other);
}

/// As on a full disk, where every write fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_fails_leaves_what_was_there() {
    let pounce = registry(&[]).await;
    let root = TempDir::new().unwrap();
    put(root.path(), "etc/docker/daemon.json", "{}\n");
    let before = everything(root.path());
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(crate::support::program()).args(["clients", &pounce.url(""), "docker"]);
    let output = command.args(["--write", "--root"]).arg(root.path()).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("/etc/docker/daemon.json.before-pounce: "), "{said}");
    assert!(said.contains("--undo"), "{said}");
    assert_eq!(everything(root.path()), before);
    // Nor do the directories of a file stay that cannot be written.
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(crate::support::program()).args(["clients", &pounce.url(""), "podman"]);
    let output = command.args(["--write", "--root"]).arg(root.path()).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("pounce.conf.new-by-pounce: "), "{said}");
    assert_eq!(everything(root.path()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_in_the_clear_gets_no_password() {
    let pounce = registry(&[]).await;
    // It leads to this machine, and is not one of its loopback addresses.
    let url = format!("http://0.0.0.0:{}", pounce.addr.port());
    let (status, printed, said) = clients(&[&url, "podman"]).await;
    assert!(status == 0 && printed.contains("docker.io") && said.contains("is not encrypted"), "{said}");
    let (status, printed, said) = run(&["clients", &url, "podman", "--user", "ci"], &[], &password("ci")).await;
    assert!(status == 1 && printed.is_empty() && said.contains("in the clear"), "{said}");
    let (_, _, said) = clients(&[&pounce.url(""), "podman"]).await;
    assert!(!said.contains("not encrypted"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_a_bounded_number_of_hosts() {
    for (count, status) in [(64, 0), (65, 1), (10_000, 1)] {
        let upstreams: Vec<_> = (0..count).map(|at| json!({"hosts": [format!("h{at}.example")]})).collect();
        let body = json!({"upstreams": upstreams}).to_string();
        let answer = move |line: &str| {
            Some(response("200 OK", API, if line.contains("_pounce") { body.as_str() } else { "{}" }))
        };
        let url = server(answer).await;
        let (said_status, printed, said) = clients(&[&url, "containerd"]).await;
        assert_eq!(said_status, status, "{said}");
        assert!(status == 0 || printed.is_empty() && said.contains(&format!("answers for {count} hosts")), "{said}");
        // Those that the operator names are no question of the answer.
        let (status, _, said) = clients(&[&url, "containerd", "--upstream", "h7.example"]).await;
        assert_eq!(status, 0, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_gets_no_mirror_that_it_would_pass_by() {
    let lines = user("ci");
    let users = registry(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines)]).await;
    let root = TempDir::new().unwrap();
    let tree = root.path().to_str().unwrap();
    let url = users.url("");
    let (status, _, said) = clients(&[&url, "docker", "--root", tree]).await;
    assert!(status == 1 && said.contains("--user NAME"), "{said}");
    let arguments = ["clients", &url, "docker", "--write", "--user", "ci", "--root", tree];
    let (status, _, said) = run(&arguments, &[], "wrong").await;
    assert!(status == 1 && said.contains("refuses this user"), "{said}");
    let (status, _, said) = run(&arguments, &[], &password("ci")).await;
    assert_eq!(status, 1, "{said}");
    for part in ["moby#30880", "docker login", "users: [anonymous], repositories: [\"docker.io/**\"], actions: [pull]"]
    {
        assert!(said.contains(part), "{part}: {said}");
    }
    let daemon: Value = serde_json::from_str(&everything(root.path())["etc/docker/daemon.json"].1).unwrap();
    assert_eq!(daemon, json!({"insecure-registries": [users.addr.to_string()]}));
    // The rule that it names does it.
    let rule =
        "[{users: [anonymous], repositories: ['docker.io/**'], actions: [pull]}, {users: [ci], actions: [pull]}]";
    let ruled = registry(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines), ("REGISTRY_AUTH_RULES", rule)]).await;
    let (status, _, said) = clients(&[&ruled.url(""), "docker", "--write", "--root", tree]).await;
    assert_eq!(status, 0, "{said}");
    let daemon: Value = serde_json::from_str(&everything(root.path())["etc/docker/daemon.json"].1).unwrap();
    assert_eq!(daemon["registry-mirrors"], json!([ruled.url("")]));
    // Other clients can have credentials, and are told where.
    let arguments = ["clients", &ruled.url(""), "--user", "ci", "--root", tree];
    for (client, how) in [
        ("podman", "podman login"),
        ("crio", "global_auth_file"),
        ("containerd", "Authorization"),
        ("k3s", "auth with username and password"),
        ("talos", "RegistryAuthConfig"),
    ] {
        let (status, _, said) =
            run(&[&arguments[..2], &[client], &arguments[2..]].concat(), &[], &password("ci")).await;
        assert!(status == 0 && said.contains(how), "{client}: {said}");
        assert!(said.contains("[\"ghcr.io/**\", \"registry.internal_5000/**\"]"), "{client}: {said}");
    }
    // Docker Hub as a further upstream: with a name of its own, and without one.
    for (hostnames, mirror) in [("[hub.example.com]", true), ("[]", false)] {
        let upstreams = format!("[{{host: docker.io, hostnames: {hostnames}}}]");
        let variables = [("REGISTRY_PROXY_REMOTEURL", "https://ghcr.io"), ("REGISTRY_PROXY_UPSTREAMS", &upstreams)];
        let pounce = Pounce::with(&variables).await;
        let (_, printed, said) = clients(&[&pounce.url(""), "docker"]).await;
        let daemon: Value = serde_json::from_str(&files(&printed)["/etc/docker/daemon.json"]).unwrap();
        let name = format!("http://hub.example.com:{}", pounce.addr.port());
        assert_eq!(daemon.get("registry-mirrors"), mirror.then(|| json!([name])).as_ref());
        assert_eq!(said.contains("is not the default upstream"), !mirror, "{said}");
    }
}

/// A server that answers every request with a status, and a body, or with nothing.
async fn server(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = tokio::io::AsyncReadExt::read(&mut connection, &mut request).await.unwrap_or(0);
            let line = String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned();
            match answer(&line) {
                Some(response) => connection.write_all(response.as_bytes()).await.unwrap_or_default(),
                None => std::future::pending().await,
            }
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

const API: &str = "Docker-Distribution-Api-Version: registry/2.0\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_does_not_answer_is_not_written() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let plain = registry(&[]).await;
    let cases = [
        (refused, "check host and port"),
        (server(|_| None).await, "does not answer within 5 s"),
        (plain.url("").replace("http:", "https:"), "speaks plain HTTP: write http://127.0.0.1"),
        (server(|_| Some(response("200 OK", "", "<html>"))).await, "not as a registry does"),
        (server(|_| Some(response("404 Not Found", "", ""))).await, "status 404"),
        (server(|_| Some(response("503 Unavailable", "", ""))).await, "status 503"),
        (
            server(|_| Some(response("301 Moved", "Location: https://other.example/v2/\r\n", ""))).await,
            "redirects to https://other.example/v2/",
        ),
        (server(|_| Some("HTTP/1.1 wrong\r\n\r\n".to_owned())).await, "check host and port"),
    ];
    let root = TempDir::new().unwrap();
    for (url, sentence) in cases {
        let arguments =
            [&url, "containerd", "--write", "--upstream", "ghcr.io", "--root", root.path().to_str().unwrap()];
        let (status, printed, said) = clients(&arguments).await;
        assert!(status == 1 && printed.is_empty() && said.contains(sentence), "{url}: {sentence}: {said}");
        assert!(everything(root.path()).is_empty());
    }
    // What is printed may be for a registry that does not run yet.
    let (status, printed, said) = clients(&["https://127.0.0.1:9", "podman", "--upstream", "ghcr.io"]).await;
    assert!(status == 0 && said.contains("Not tried: https://127.0.0.1:9"), "{said}");
    assert!(printed.contains("\"127.0.0.1:9/ghcr.io\""), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_from_elsewhere_forge_no_lines() {
    let evil = ["a.io\"]\\n[evil]", "../../../etc/passwd", "a.io/x", "a b.io", "a.io\\nserver = 1", "*", ""];
    for name in evil {
        let body = format!("{{\"upstreams\": [{{\"hosts\": [\"{}\"]}}]}}", name.replace('"', "\\\""));
        let answer = move |line: &str| {
            let body = if line.contains("_pounce") { body.as_str() } else { "{}" };
            Some(response("200 OK", API, body))
        };
        let (status, printed, said) = clients(&[&server(answer).await]).await;
        assert!(status == 1 && printed.is_empty() && said.contains("not a list of upstreams"), "{name}: {said}");
    }
    let pounce = registry(&[]).await;
    let url = pounce.url("");
    for name in ["a.io\"]\n[evil]", "../../x", "a.io/x", "", "nodots"] {
        let (status, printed, said) = clients(&[&url, "--upstream", name]).await;
        assert!(status == 2 && printed.is_empty() && said.contains("--upstream"), "{name}: {said}");
    }
    for wrong in ["https://a\"b.example", "http://me:secret@a.example", "https://a.example/v2/", "ftp://a.example"] {
        let (status, printed, said) = clients(&[wrong]).await;
        assert!(status == 1 && printed.is_empty() && !said.contains("secret"), "{wrong}: {said}");
    }
    // An upstream that the registry does not have, and a registry that tells none.
    let (status, _, said) = clients(&[&url, "--upstream", "quay.io"]).await;
    assert!(status == 1 && said.contains("does not answer for quay.io"), "{said}");
    let other = |line: &str| {
        let status = if line.contains("_pounce") { "404 Not Found" } else { "200 OK" };
        Some(response(status, API, "{}"))
    };
    let other = server(other).await;
    let (status, _, said) = clients(&[&other]).await;
    assert!(status == 1 && said.contains("--upstream HOST"), "{said}");
    let (status, printed, said) = clients(&[&other, "docker", "--upstream", "docker.io"]).await;
    assert!(status == 0 && printed.contains(&format!("\"{other}\"")), "{said}");
}
