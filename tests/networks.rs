//! Rules for networks: nodes pull without a login, because docker sends none to a mirror; others do not.

use serde_json::{Value, json};

use crate::support::image::OCI_INDEX;
use crate::support::users::{by, push, user};
use crate::support::{Pounce, Reply};

const RULES: &str = "
- {users: ['*', anonymous], repositories: ['secret/**'], networks: [10.6.0.0/16], actions: []}
- {users: [anonymous], networks: [10.0.0.0/8, 127.0.0.0/8], actions: [pull]}
- {users: [admin], actions: [pull, push]}";

async fn registry(trusted: &str) -> Pounce {
    let variables = [
        ("REGISTRY_AUTH_HTPASSWD_USERS", &*user("admin")),
        ("REGISTRY_AUTH_RULES", RULES),
        ("REGISTRY_HTTP_TRUSTEDPROXIES", trusted),
    ];
    Pounce::with(&variables).await
}

/// A token for a client without a login, as docker asks for one.
async fn token(pounce: &Pounce) -> String {
    let reply = pounce.send(pounce.request("GET", "/v2/token")).await;
    let body: Value = serde_json::from_slice(&reply.body).unwrap();
    body["token"].as_str().unwrap().to_owned()
}

async fn get(pounce: &Pounce, path: &str, headers: &[(&str, &str)]) -> Reply {
    let request = pounce.request("GET", path).bearer_auth(token(pounce).await);
    pounce.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn nodes_pull_without_a_login_and_the_world_does_not() {
    let pounce = registry("127.0.0.0/8").await;
    let (blob, _) = push(&pounce, "admin", "team/app", 1).await;
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    let request = by("admin", pounce.request("PUT", "/v2/secret/app/manifests/v1")).header("content-type", OCI_INDEX);
    let request = request.header("x-forwarded-for", "203.0.113.9").body(index);
    assert_eq!(pounce.send(request).await.status, 201);
    let [app, secret] = ["/v2/team/app/manifests/v1", "/v2/secret/app/manifests/v1"];
    let cases: [(&[&str], &str, u16); 14] = [
        (&["10.1.2.3"], app, 200),
        (&["10.1.2.3:4567"], app, 200),
        (&["::ffff:10.1.2.3"], app, 200),
        (&["203.0.113.9"], app, 401),
        // The client made up the first one; the proxy added the second one.
        (&["10.1.2.3, 203.0.113.9"], app, 401),
        (&["10.1.2.3", "203.0.113.9"], app, 401),
        // A word in the place of the client's address, which the first of two proxies sent.
        (&["10.1.2.3, unknown"], app, 401),
        (&["unknown, 10.1.2.3"], app, 200),
        (&["unknown, 127.0.0.2"], app, 401),
        (&["10.6.1.1"], app, 200),
        (&["10.6.1.1"], secret, 401),
        (&["10.1.2.3"], secret, 200),
        // The proxy does not say for which client.
        (&[], app, 401),
        (&[], secret, 401),
    ];
    for (lines, path, status) in cases {
        let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        assert_eq!(get(&pounce, path, &headers).await.status, status, "{lines:?} {path}");
        // Also from memory.
        assert_eq!(get(&pounce, path, &headers).await.status, status, "{lines:?} {path}");
    }
    let listed = get(&pounce, "/v2/_catalog", &[("x-forwarded-for", "10.6.1.1")]).await;
    assert_eq!(&listed.body[..], br#"{"repositories":["team/app"]}"#);
    let listed = get(&pounce, "/v2/_catalog", &[("x-forwarded-for", "203.0.113.9")]).await;
    assert_eq!(&listed.body[..], br#"{"repositories":[]}"#);
    // A login counts from everywhere, but where a rule forbids.
    let ask = async |path: &str, address: &str| {
        let request = by("admin", pounce.request("GET", path)).header("x-forwarded-for", address);
        pounce.send(request).await.status
    };
    assert_eq!(ask(secret, "203.0.113.9").await, 200);
    assert_eq!(ask(secret, "10.6.1.1").await, 403);
    let mount = format!("/v2/team/app/blobs/uploads/?mount={blob}&from=team/app");
    assert_eq!(pounce.send(pounce.request("POST", &mount).header("x-forwarded-for", "10.1.2.3")).await.status, 401);
    let path = format!("/v2/team/app/blobs/{blob}");
    assert_eq!(get(&pounce, &path, &[("x-forwarded-for", "10.1.2.3")]).await.status, 307);
    assert_eq!(get(&pounce, &path, &[("x-forwarded-for", "203.0.113.9")]).await.status, 401);
}

/// Otherwise a pounce behind a proxy of its own network that is not trusted would be open to the world.
#[tokio::test]
async fn a_proxy_that_is_not_trusted_is_in_no_network() {
    let rules = "[{users: [anonymous], networks: ['127.0.0.0/8', '::1/128'], actions: [pull]}, {users: ['*'], actions: [pull, push]}]";
    let users = user("admin");
    let variables = [("REGISTRY_AUTH_HTPASSWD_USERS", &*users), ("REGISTRY_AUTH_RULES", rules)];
    let pounce = Pounce::with(&variables).await;
    push(&pounce, "admin", "team/app", 1).await;
    let path = "/v2/team/app/manifests/v1";
    assert_eq!(get(&pounce, path, &[]).await.status, 200);
    let added = ["x-forwarded-for", "forwarded", "via", "x-forwarded-proto", "x-real-ip"];
    for name in added {
        let value = if name == "x-forwarded-proto" { "http" } else { "127.0.0.1" };
        assert_eq!(get(&pounce, path, &[(name, value)]).await.status, 401, "{name}");
    }
}
