//! What is written into a tree of files, and taken back.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;
use tempfile::TempDir;

use super::{clients, everything, put, registry, toml};

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

/// A pipe without a writer would be waited for, and a device read for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_file_is_left_alone() {
    let pounce = registry(&[]).await;
    let (url, root) = (pounce.url(""), TempDir::new().unwrap());
    let tree = root.path().to_str().unwrap();
    fs::create_dir_all(root.path().join("etc/docker")).unwrap();
    let path = root.path().join("etc/docker/daemon.json");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (status, changes, said) = clients(&[&url, "docker", "--write", "--root", tree]).await;
    assert!(status == 1 && changes.is_empty() && said.contains("daemon.json: it is not a regular file"), "{said}");
    assert!(!fs::metadata(&path).unwrap().is_file());
    let (status, _, said) = clients(&[&url.replace("http", "https"), "docker", "--ca", "/dev/zero"]).await;
    assert!(status == 1 && said.contains("/dev/zero: it is larger than 1048576 bytes"), "{said}");
}

/// `ctr` looks into no directory unless it is told, and goes past the mirror in silence.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_for_ctr_is_told() {
    let pounce = registry(&[]).await;
    let (url, root) = (pounce.url(""), TempDir::new().unwrap());
    let tree = root.path().to_str().unwrap();
    let (status, _, said) = clients(&[&url, "containerd", "--write", "--root", tree]).await;
    assert!(status == 0 && said.contains("Now: ctr image pull --hosts-dir /etc/containerd/certs.d "), "{said}");
    let (status, _, said) = clients(&["--undo", "--root", tree]).await;
    assert!(status == 0 && !said.contains("ctr image pull"), "{said}");
}
