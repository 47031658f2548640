//! Rules, and what follows from them for every endpoint; anonymous clients, and the tokens that they get.

use pounce::auth;
use tempfile::TempDir;

use crate::support::image::digest;
use crate::support::users::{ask, by, push, until, user, with_rules, with_users};
use crate::support::{Image, Pounce, Reply, Upstream};

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
        // To be somebody takes no right.
        ("stranger", "GET", "/v2/", 200),
        ("mallory", "GET", "/v2/team/app/tags/list", 403),
        ("reader", "GET", "/v2/team/app/tags/list", 200),
    ];
    for (name, method, path, status) in cases {
        let reply = ask(&pounce, name, method, path).await;
        assert_eq!(reply.status, status, "{name} {method} {path}");
        if status == 403 {
            assert_eq!(reply.code(), "DENIED");
            // Another password would not help.
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
    // Knowing a digest is no right to it: another repository does not have it.
    for path in [
        format!("/v2/other/blobs/{blob}"),
        format!("/v2/other/manifests/{manifest}"),
    ] {
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
    // A page has as many as were asked for, of those that are shown.
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
    // As if the blob were not there: an upload begins, and its bytes have to come.
    for from in ["&from=secret", "&from=no/such", ""] {
        let reply = mount("bob", from).await;
        assert_eq!(reply.status, 202, "{from} {reply:?}");
        assert!(
            reply
                .header("location")
                .starts_with("/v2/bob/blobs/uploads/")
        );
    }
    let path = format!("/v2/bob/blobs/{blob}");
    assert_eq!(ask(&pounce, "bob", "GET", &path).await.status, 404);
    // Nor does a manifest that names it help.
    let stolen = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": blob, "size": 1000},
        "layers": [],
    });
    let request = pounce.request("PUT", "/v2/bob/manifests/v1");
    let request = request.header("content-type", "application/vnd.oci.image.manifest.v1+json");
    let reply = pounce
        .send(by("bob", request.body(stolen.to_string())))
        .await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "MANIFEST_BLOB_UNKNOWN")
    );
    assert_eq!(mount("alice", "&from=secret").await.status, 201);
    assert_eq!(mount("alice", "").await.status, 202);

    // Without rules, every user may pull everything.
    let pounce = with_users(&["alice", "bob"]).await;
    let (blob, _) = push(&pounce, "alice", "secret", 4).await;
    let path = format!("/v2/bob/blobs/uploads/?mount={blob}");
    assert_eq!(ask(&pounce, "bob", "POST", &path).await.status, 201);
}

/// What clients do with a Bearer challenge: they fetch the token that it names.
async fn token(pounce: &Pounce, challenge: &Reply, name: Option<&str>) -> Reply {
    let text = challenge.header("www-authenticate");
    let parameter = |key: &str| {
        let (_, rest) = text.split_once(&format!("{key}=\"")).unwrap_or(("", "\""));
        rest.split('"').next().unwrap().to_owned()
    };
    let realm = parameter("realm");
    let path = realm.strip_prefix(&pounce.url("")).unwrap();
    let query = format!(
        "?service={}&scope={}",
        parameter("service"),
        parameter("scope")
    );
    let request = pounce.request("GET", &format!("{path}{query}"));
    pounce
        .send(match name {
            Some(name) => by(name, request),
            None => request,
        })
        .await
}

fn value(reply: &Reply) -> String {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert!(body["expires_in"].as_u64().unwrap() >= 60);
    assert_eq!(body["token"], body["access_token"]);
    body["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn anybody_may_pull_where_the_rules_say_so_and_users_push_all_the_same() {
    let rules = "
- {users: [anonymous], repositories: ['public/**'], actions: [pull]}
- {users: [alice], actions: [pull, push]}";
    let pounce = with_rules(&["alice", "bob"], rules).await;
    push(&pounce, "alice", "public/app", 5).await;
    push(&pounce, "alice", "private", 6).await;
    let (public, private) = ("/v2/public/app/manifests/v1", "/v2/private/manifests/v1");
    assert_eq!(pounce.get(public).await.status, 200);
    let catalog = pounce.get("/v2/_catalog").await;
    assert_eq!(&catalog.body[..], br#"{"repositories":["public/app"]}"#);

    // docker asks here first, and then does for every request what it was told.
    let hello = pounce.get("/v2/").await;
    assert_eq!(hello.status, 401);
    assert!(
        hello
            .header("www-authenticate")
            .starts_with("Bearer realm=\"http://")
    );
    let anonymous = value(&token(&pounce, &hello, None).await);
    let with = |token: &str, method: &str, path: &str| {
        let request = pounce.request(method, path).bearer_auth(token);
        pounce.send(request)
    };
    assert_eq!(with(&anonymous, "GET", "/v2/").await.status, 200);
    assert_eq!(with(&anonymous, "GET", public).await.status, 200);
    for (method, path) in [("GET", private), ("POST", "/v2/public/app/blobs/uploads/")] {
        let refused = with(&anonymous, method, path).await;
        assert_eq!(refused.status, 401);
        let challenge = refused.header("www-authenticate");
        assert!(
            challenge.contains("error=\"insufficient_scope\""),
            "{challenge}"
        );
        assert!(challenge.contains("scope=\"repository:"), "{challenge}");
        let alices = value(&token(&pounce, &refused, Some("alice")).await);
        assert!(with(&alices, method, path).await.status < 300);
        // bob is somebody, and may not.
        let bobs = value(&token(&pounce, &refused, Some("bob")).await);
        assert_eq!(with(&bobs, method, path).await.status, 403);
        assert_eq!(with(&bobs, "GET", public).await.status, 200);
    }
    // A password is as good as the token for it, and a wrong one is neither.
    assert_eq!(ask(&pounce, "alice", "GET", private).await.status, 200);
    let wrong = pounce
        .request("GET", "/v2/token")
        .basic_auth("alice", Some("x"));
    let reply = pounce.send(wrong).await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").starts_with("Basic "));
    // Nor is a token one for another: a stolen one would never die.
    let again = with(&anonymous, "GET", "/v2/token").await;
    assert_eq!(again.status, 401);
    // containerd tries the other way first.
    assert_eq!(ask(&pounce, "alice", "POST", "/v2/token").await.status, 405);
    for token in [
        "",
        "a.b.c",
        &format!("{anonymous}x"),
        &anonymous[..anonymous.len() - 2],
    ] {
        assert_eq!(with(token, "GET", "/v2/").await.status, 401, "{token}");
    }
}

#[tokio::test]
async fn tokens_die_with_the_password_and_are_good_at_every_replica() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, user("alice")).unwrap();
    let variables = [
        ("REGISTRY_AUTH_HTPASSWD_PATH", path.to_str().unwrap()),
        (
            "REGISTRY_AUTH_RULES",
            "[{users: [anonymous], actions: [pull]}]",
        ),
        ("REGISTRY_HTTP_SECRET", "shared"),
    ];
    let (one, other) = (
        Pounce::with(&variables).await,
        Pounce::with(&variables).await,
    );
    let stranger = Pounce::with(&[variables[0], variables[1]]).await;
    let issued = value(&ask(&one, "alice", "GET", "/v2/token").await);
    let status = |pounce: &Pounce| {
        let request = pounce.request("GET", "/v2/").bearer_auth(&issued);
        let sent = request.send();
        async move { sent.await.unwrap().status().as_u16() }
    };
    assert_eq!(
        (
            status(&one).await,
            status(&other).await,
            status(&stranger).await
        ),
        (200, 200, 401)
    );
    std::fs::write(&path, auth::line("alice", "new", 4).unwrap()).unwrap();
    until(&one, "alice", 401).await;
    assert_eq!(status(&one).await, 401);
    // Where nobody gets tokens, there is no such endpoint.
    let plain = with_users(&["alice"]).await;
    assert_eq!(ask(&plain, "alice", "GET", "/v2/token").await.status, 404);
    let open = Pounce::with(&[]).await;
    assert_eq!(open.get("/v2/token").await.status, 404);
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
        assert_eq!(
            ask(&pounce, "alice", "GET", &path).await.status,
            status,
            "{path}"
        );
    }
    // Which hosts there are is not for everybody to know.
    for ns in ["quay.io", "docker.io", "ghcr.io", "169.254.169.254"] {
        let reply = pounce.get(&format!("/v2/a/b/manifests/v1?ns={ns}")).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (401, "UNAUTHORIZED"),
            "{ns}"
        );
    }
    assert_eq!(
        ask(&pounce, "alice", "GET", "/v2/a/b/manifests/v1?ns=ghcr.io")
            .await
            .status,
        404
    );
}

/// An index has no layers, whatever it says: a blob does not become a repository's because somebody could
/// push a list to its upstream.
#[tokio::test]
async fn an_upstreams_index_gives_away_nothing() {
    let upstream = Upstream::start().await;
    let pounce = Pounce::before(&upstream).await;
    let secret = pounce
        .push("secret", bytes::Bytes::from_static(b"secret"))
        .await;
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
        (
            "REGISTRY_AUTH_RULES",
            "[{users: [alice], repositories: [org/app], actions: [pull]}]",
        ),
    ])
    .await;
    let before = upstream.seen().len();
    assert_eq!(pounce.get("/v2/org/app/manifests/v1").await.status, 401);
    assert_eq!(
        ask(&pounce, "alice", "GET", "/v2/org/secret/manifests/v1")
            .await
            .status,
        403
    );
    // Nobody asks upstream on behalf of those who may not.
    assert_eq!(upstream.seen().len(), before);
    assert_eq!(
        ask(&pounce, "alice", "GET", "/v2/org/app/manifests/v1")
            .await
            .status,
        200
    );
    let blob = format!("/v2/org/app/blobs/{}", digest(&image.blobs[0]));
    assert_eq!(ask(&pounce, "alice", "GET", &blob).await.status, 200);
    // The client's password is its own affair.
    for seen in upstream.seen() {
        assert!(!seen.headers.contains_key("authorization"), "{seen:?}");
    }
}
