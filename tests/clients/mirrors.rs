//! Mirrors that a client would pass by, or wait for, are not written.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{clients, everything, files, registry, response, server};
use crate::check::run;
use crate::support::Pounce;
use crate::support::users::{password, user};

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
