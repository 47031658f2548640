//! What a registry tells of its upstreams, and what nodes make of an answer that is not one.

use serde_json::{Value, json};

use super::{API, clients, registry, response, server};
use crate::check::run;
use crate::support::Pounce;
use crate::support::users::{by, user};

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
    for name in ["a:b", "", "a\nb", "anonymous"] {
        let (status, printed, said) = run(&["clients", &url, "--user", name], &[], "x").await;
        assert!(status == 1 && printed.is_empty() && said.contains("the name of a user"), "{name}: {said}");
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
