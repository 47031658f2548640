//! Anonymous clients, and the tokens that pounce itself issues to them and to users.

use pounce::auth;
use tempfile::TempDir;

use crate::support::users::{ask, by, push, until, user, with_rules, with_users};
use crate::support::{Image, Pounce, Reply, Upstream};

/// Fetches the token that a Bearer challenge names, as clients do.
async fn token(pounce: &Pounce, challenge: &Reply, name: Option<&str>) -> Reply {
    let text = challenge.header("www-authenticate");
    let parameter = |key: &str| {
        let (_, rest) = text.split_once(&format!("{key}=\"")).unwrap_or(("", "\""));
        rest.split('"').next().unwrap().to_owned()
    };
    let realm = parameter("realm");
    let path = realm.strip_prefix(&pounce.url("")).unwrap();
    let query = format!("?service={}&scope={}", parameter("service"), parameter("scope"));
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

    // docker sends this request first, and then obeys its challenge for every request.
    let hello = pounce.get("/v2/").await;
    assert_eq!(hello.status, 401);
    assert!(hello.header("www-authenticate").starts_with("Bearer realm=\"http://"));
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
        assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
        assert!(challenge.contains("scope=\"repository:"), "{challenge}");
        // Clients that get the anonymous token by themselves show the message to a user that has not logged in.
        assert!(String::from_utf8_lossy(&refused.body).contains("log in first"));
        let alices = value(&token(&pounce, &refused, Some("alice")).await);
        assert!(with(&alices, method, path).await.status < 300);
        // bob is logged in, but has no right to this.
        let bobs = value(&token(&pounce, &refused, Some("bob")).await);
        assert_eq!(with(&bobs, method, path).await.status, 403);
        assert_eq!(with(&bobs, "GET", public).await.status, 200);
    }
    // A right password works in place of its token; a wrong one gets no token.
    assert_eq!(ask(&pounce, "alice", "GET", private).await.status, 200);
    let wrong = pounce.request("GET", "/v2/token").basic_auth("alice", Some("x"));
    let reply = pounce.send(wrong).await;
    assert_eq!(reply.status, 401);
    assert!(reply.header("www-authenticate").starts_with("Basic "));
    // A token cannot buy another one, because a stolen token would never expire.
    let again = with(&anonymous, "GET", "/v2/token").await;
    assert_eq!(again.status, 401);
    // containerd tries POST first.
    assert_eq!(ask(&pounce, "alice", "POST", "/v2/token").await.status, 405);
    for token in ["", "a.b.c", &format!("{anonymous}x"), &anonymous[..anonymous.len() - 2]] {
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
        ("REGISTRY_AUTH_RULES", "[{users: [anonymous], actions: [pull]}]"),
        ("REGISTRY_HTTP_SECRET", "shared"),
    ];
    let (one, other) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    let stranger = Pounce::with(&[variables[0], variables[1]]).await;
    let issued = value(&ask(&one, "alice", "GET", "/v2/token").await);
    let status = |pounce: &Pounce| {
        let request = pounce.request("GET", "/v2/").bearer_auth(&issued);
        let sent = request.send();
        async move { sent.await.unwrap().status().as_u16() }
    };
    assert_eq!((status(&one).await, status(&other).await, status(&stranger).await), (200, 200, 401));
    std::fs::write(&path, auth::htpasswd_line("alice", "new", 4).unwrap()).unwrap();
    until(&one, "alice", 401).await;
    assert_eq!(status(&one).await, 401);
    // A registry that issues no tokens has no token endpoint.
    let plain = with_users(&["alice"]).await;
    assert_eq!(ask(&plain, "alice", "GET", "/v2/token").await.status, 404);
    let open = Pounce::with(&[]).await;
    assert_eq!(open.get("/v2/token").await.status, 404);
}

/// Every request that could add or delete something without a login, and its name in the refusal.
fn changes() -> [(&'static str, String, &'static str); 9] {
    let digest = format!("sha256:{}", "0".repeat(64));
    let upload = "/v2/a/blobs/uploads/0c0ffee0-0000-4000-8000-000000000000";
    [
        ("POST", "/v2/a/blobs/uploads/".to_owned(), "pushes"),
        ("POST", format!("/v2/a/blobs/uploads/?digest={digest}"), "pushes"),
        ("POST", format!("/v2/a/blobs/uploads/?mount={digest}&from=b"), "pushes"),
        ("PATCH", upload.to_owned(), "pushes"),
        ("GET", upload.to_owned(), "pushes"),
        ("DELETE", upload.to_owned(), "pushes"),
        ("PUT", "/v2/a/manifests/v1".to_owned(), "pushes"),
        ("DELETE", "/v2/a/manifests/v1".to_owned(), "deletes"),
        ("DELETE", format!("/v2/a/blobs/{digest}"), "deletes"),
    ]
}

#[tokio::test]
async fn a_registry_with_an_upstream_takes_no_anonymous_pushes_unless_it_says_so() {
    let (upstream, image) = (Upstream::start().await, Image::new(1, &[1000]));
    upstream.add("a", "v1", &image);
    let url = upstream.url();
    // An explicit scheme replaces the test support's own setting.
    let plain = ("REGISTRY_AUTH", "none");
    let default = [plain, ("REGISTRY_PROXY_REMOTEURL", &url)];
    let further =
        [plain, ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "r.example"), ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &url)];
    for variables in [&default[..], &further] {
        let pounce = Pounce::with(variables).await;
        for (method, path, what) in changes() {
            let refused = pounce.send(pounce.request(method, &path).body("x")).await;
            assert_eq!((refused.status, refused.code().as_str()), (403, "DENIED"), "{method} {path}");
            let said = String::from_utf8(refused.body.to_vec()).unwrap();
            assert!(
                said.contains(&format!("no anonymous {what}"))
                    && said.contains("pounce htpasswd USER")
                    && said.contains("auth.anonymous"),
                "{said}"
            );
        }
        assert_eq!(pounce.get("/v2/").await.status, 200);
        assert_eq!(pounce.get("/v2/_catalog").await.status, 200);
        let path = if variables.len() == 2 { "a" } else { "r.example/a" };
        let pulled = pounce.get(&format!("/v2/{path}/manifests/v1")).await;
        assert_eq!(pulled.status, 200, "{pulled:?}");
        assert!(!pounce.objects().iter().any(|key| key.contains("_uploads")));
    }

    let begin = "/v2/a/blobs/uploads/";
    for (more, upstreamed, status) in [
        (None, false, 202),
        (Some("pull"), false, 403),
        (Some("[pull, push, delete]"), true, 202),
        (Some("push,pull"), true, 202),
    ] {
        let mut variables = vec![plain];
        variables.extend(more.map(|actions| ("REGISTRY_AUTH_ANONYMOUS", actions)));
        variables.extend(upstreamed.then_some(("REGISTRY_PROXY_REMOTEURL", &url[..])));
        let pounce = Pounce::with(&variables).await;
        let reply = pounce.send(pounce.request("POST", begin)).await;
        assert_eq!(reply.status, status, "{variables:?}");
    }
    // A client without the right to pull may not list either.
    let pounce = Pounce::with(&[plain, ("REGISTRY_AUTH_ANONYMOUS", "push")]).await;
    for path in ["/v2/a/manifests/v1", "/v2/_catalog", "/v2/a/tags/list"] {
        assert_eq!(pounce.get(path).await.status, 403, "{path}");
    }
}
