//! What is printed for each client, of a registry over plain HTTP and of one with a CA of its own.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{clients, everything, files, registry, toml, yaml};
use crate::check::run;
use crate::support::borrowed;
use crate::support::tls::Authority;
use crate::support::users::password;

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
