//! Rules, and their effect on every endpoint.

use crate::support::image::digest;
use crate::support::users::{ask, by, push, user, with_rules, with_users};
use crate::support::{Image, Pounce, Upstream};

#[tokio::test]
async fn rules_say_who_may_do_what() {
    let rules = "
- {users: [mallory], actions: []}
- {users: ['ci-*'], repositories: ['team/**'], actions: [pull, push]}
- {users: [reader], actions: [pull]}
- {users: [admin], actions: [pull, push, delete]}";
    let users = ["admin", "reader", "ci-1", "mallory", "stranger"];
    let pounce = with_rules(&users, rules).await;
    let (blob, manifest) = push(&pounce, "ci-1", "team/app", 2).await;
    push(&pounce, "admin", "other", 3).await;
    let pull = "/v2/team/app/manifests/v1";
    let other = "/v2/other/manifests/v1";
    let begin = "/v2/team/app/blobs/uploads/";
    let cases = [
        ("admin", "GET", pull, 200),
        ("reader", "GET", pull, 200),
        ("ci-1", "GET", pull, 200),
        ("ci-1", "POST", begin, 202),
        ("ci-1", "GET", other, 403),
        ("ci-1", "POST", "/v2/other/blobs/uploads/", 403),
        ("ci-1", "DELETE", pull, 403),
        ("reader", "POST", begin, 403),
        ("reader", "DELETE", pull, 403),
        ("reader", "PUT", pull, 403),
        ("mallory", "GET", pull, 403),
        ("mallory", "GET", "/v2/no/such/manifests/v1", 403),
        ("stranger", "GET", pull, 403),
        // A login alone needs no rule.
        ("stranger", "GET", "/v2/", 200),
        ("mallory", "GET", "/v2/team/app/tags/list", 403),
        ("reader", "GET", "/v2/team/app/tags/list", 200),
    ];
    for (name, method, path, status) in cases {
        let reply = ask(&pounce, name, method, path).await;
        assert_eq!(reply.status, status, "{name} {method} {path}");
        if status == 403 {
            assert_eq!(reply.code(), "DENIED");
            // There is no challenge, because another password would not help.
            assert_eq!(reply.header("www-authenticate"), "");
        }
    }
    let paths = [
        format!("/v2/team/app/blobs/{blob}"),
        format!("/v2/team/app/manifests/{manifest}"),
        format!("/v2/team/app/referrers/{manifest}"),
    ];
    for path in &paths {
        assert_eq!(ask(&pounce, "stranger", "GET", path).await.status, 403);
        assert_eq!(ask(&pounce, "stranger", "HEAD", path).await.status, 403);
    }
    // A digest alone gives no access: another repository does not have the content.
    for path in [format!("/v2/other/blobs/{blob}"), format!("/v2/other/manifests/{manifest}")] {
        assert_eq!(ask(&pounce, "admin", "GET", &path).await.status, 404);
    }
    let listed = |name: &'static str| {
        let pounce = &pounce;
        async move {
            let reply = ask(pounce, name, "GET", "/v2/_catalog").await;
            let list: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
            list["repositories"].to_string()
        }
    };
    assert_eq!(listed("admin").await, r#"["other","team/app"]"#);
    assert_eq!(listed("ci-1").await, r#"["team/app"]"#);
    assert_eq!(listed("stranger").await, "[]");
    // A page holds as many of the visible repositories as the client asks for.
    let page = ask(&pounce, "ci-1", "GET", "/v2/_catalog?n=1").await;
    assert_eq!((page.status, page.header("link")), (200, ""));
    assert_eq!(ask(&pounce, "admin", "DELETE", pull).await.status, 202);
}

#[tokio::test]
async fn a_mount_takes_the_right_to_pull() {
    let rules = "
- {users: [alice], repositories: [secret, alice], actions: [pull, push]}
- {users: [bob], repositories: [bob], actions: [pull, push]}";
    let pounce = with_rules(&["alice", "bob"], rules).await;
    let (blob, _) = push(&pounce, "alice", "secret", 4).await;
    let mount = |name: &'static str, from: &str| {
        let path = format!("/v2/{name}/blobs/uploads/?mount={blob}{from}");
        let pounce = &pounce;
        async move { ask(pounce, name, "POST", &path).await }
    };
    // As if the blob did not exist: an upload begins, and the client has to send the bytes.
    for from in ["&from=secret", "&from=no/such", ""] {
        let reply = mount("bob", from).await;
        assert_eq!(reply.status, 202, "{from} {reply:?}");
        assert!(reply.header("location").starts_with("/v2/bob/blobs/uploads/"));
    }
    let path = format!("/v2/bob/blobs/{blob}");
    assert_eq!(ask(&pounce, "bob", "GET", &path).await.status, 404);
    // Nor does a manifest that names the blob help.
    let stolen = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": blob, "size": 1000},
        "layers": [],
    });
    let request = pounce.request("PUT", "/v2/bob/manifests/v1");
    let request = request.header("content-type", "application/vnd.oci.image.manifest.v1+json");
    let reply = pounce.send(by("bob", request.body(stolen.to_string()))).await;
    assert_eq!((reply.status, reply.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
    assert_eq!(mount("alice", "&from=secret").await.status, 201);
    assert_eq!(mount("alice", "").await.status, 202);

    // Without rules, every user may pull everything.
    let pounce = with_users(&["alice", "bob"]).await;
    let (blob, _) = push(&pounce, "alice", "secret", 4).await;
    let path = format!("/v2/bob/blobs/uploads/?mount={blob}");
    assert_eq!(ask(&pounce, "bob", "POST", &path).await.status, 201);
}

#[tokio::test]
async fn rules_know_the_default_upstreams_host() {
    let rules = "
- {users: [alice], repositories: ['docker.io/private/**'], actions: []}
- {users: [alice], repositories: ['docker.io/**', 'quay.io/**'], actions: [pull]}";
    let upstream = Upstream::start().await;
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "quay.io"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &upstream.url()),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &user("alice")),
        ("REGISTRY_AUTH_RULES", rules),
    ])
    .await;
    let cases = [
        ("private/app", "", 403),
        ("docker.io/private/app", "", 403),
        ("private/app", "?ns=docker.io", 403),
        ("private/app", "?ns=quay.io", 404),
        ("quay.io/private/app", "", 404),
    ];
    for (name, ns, status) in cases {
        let path = format!("/v2/{name}/manifests/v1{ns}");
        assert_eq!(ask(&pounce, "alice", "GET", &path).await.status, status, "{path}");
    }
    // Anonymous clients must not learn the upstreams' hosts.
    for ns in ["quay.io", "docker.io", "ghcr.io", "169.254.169.254"] {
        let reply = pounce.get(&format!("/v2/a/b/manifests/v1?ns={ns}")).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "UNAUTHORIZED"), "{ns}");
    }
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/a/b/manifests/v1?ns=ghcr.io").await.status, 404);
}

/// An index has no layers, even if it lists some: otherwise a client that can push an index to the upstream could take
/// any blob into its repository.
#[tokio::test]
async fn an_upstreams_index_gives_away_nothing() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let secret = pounce.push("secret", bytes::Bytes::from_static(b"secret")).await;
    let index = "application/vnd.oci.image.index.v1+json";
    let layer = serde_json::json!({
        "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": secret, "size": 6,
    });
    let forged = serde_json::json!({
        "schemaVersion": 2, "mediaType": index, "manifests": [], "layers": [layer], "config": layer,
    });
    upstream.add_manifest("mine", "v1", index, forged.to_string().into_bytes());
    assert_eq!(pounce.get("/v2/mine/manifests/v1").await.status, 200);
    let path = format!("/v2/mine/blobs/{secret}");
    assert_eq!(pounce.get(&path).await.status, 404);
    assert_eq!(pounce.head(&path).await.status, 404);
}

#[tokio::test]
async fn users_pull_through_with_pounces_credentials_and_rules_restrict_it() {
    let upstream = Upstream::start().await;
    let image = Image::new(7, &[1000]);
    upstream.add("org/app", "v1", &image);
    upstream.add("org/secret", "v1", &image);
    let lines = user("alice");
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &lines),
        ("REGISTRY_AUTH_RULES", "[{users: [alice], repositories: [org/app], actions: [pull]}]"),
    ])
    .await;
    let before = upstream.seen().len();
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 401);
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/org/secret/manifests/v1").await.status, 403);
    // A refused request causes no request upstream.
    assert_eq!(upstream.seen().len(), before);
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/org/app/manifests/v1").await.status, 200);
    let blob = format!("/v2/org/app/blobs/{}", digest(&image.blobs[0]));
    assert_eq!(ask(&pounce, "alice", "GET", &blob).await.status, 200);
    // pounce does not send the client's password upstream.
    for seen in upstream.seen() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
}
