//! Rules that name an upstream's host, and clients that want more than its content.

use serde_json::Value;

use crate::support::front::Front;
use crate::support::image::digest;
use crate::support::users::{ask, push, user};
use crate::support::{Image, Pounce, Reply, Upstream, borrowed};

/// The example in `docs/security.md`.
const RULES: &str = "
- { users: [anonymous], repositories: ['docker.io/**', 'public/**'], actions: [pull] }
- { users: ['ci-*'], repositories: ['team/**'], actions: [pull, push] }
- { users: [admin], actions: [pull, push, delete] }";

/// Two upstreams with an image each, and the variables of a registry in front of them.
pub(super) async fn upstream() -> (Upstream, Vec<(&'static str, String)>) {
    let upstream = Upstream::start().await;
    upstream.add("library/alpine", "v1", &Image::new(1, &[1000]));
    upstream.add("org/other", "v1", &Image::new(2, &[1000]));
    let url = upstream.url();
    let variables = vec![
        ("REGISTRY_PROXY_REMOTEURL", url.clone()),
        ("REGISTRY_PROXY_HOST", "docker.io".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io".to_owned()),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", url),
        ("REGISTRY_AUTH_HTPASSWD_USERS", [user("admin"), user("ci-1")].join(",")),
        ("REGISTRY_AUTH_RULES", RULES.to_owned()),
    ];
    (upstream, variables)
}

/// Asks as docker does without a login: with an anonymous token, if it can get one.
pub(super) async fn anonymous(pounce: &Pounce, method: &str, path: &str) -> Reply {
    let reply = pounce.send(pounce.request(method, path)).await;
    if reply.status != 401 {
        return reply;
    }
    let token = pounce.get("/v2/token").await;
    let token: Value = serde_json::from_slice(&token.body).unwrap();
    let token = token["token"].as_str().unwrap().to_owned();
    pounce.send(pounce.request(method, path).bearer_auth(token)).await
}

/// Every endpoint that shows something of a repository with an image.
pub(super) fn ways(name: &str, (blob, manifest): &(String, String)) -> Vec<(&'static str, String)> {
    let paths = ["manifests/v1".to_owned(), format!("manifests/{manifest}"), format!("blobs/{blob}")];
    let lists = ["tags/list".to_owned(), format!("referrers/{manifest}")];
    let get = paths.iter().chain(&lists).map(|path| ("GET", path));
    let head = paths.iter().map(|path| ("HEAD", path));
    get.chain(head).map(|(method, path)| (method, format!("/v2/{name}/{path}"))).collect()
}

pub(super) async fn assert_hidden(pounce: &Pounce, name: &str, image: &(String, String)) {
    for (method, path) in ways(name, image) {
        let reply = anonymous(pounce, method, &path).await;
        assert_eq!(reply.status, 401, "{method} {path} {reply:?}");
        assert_eq!(
            ask(pounce, "admin", method, &path).await.status / 100,
            if path.contains("/blobs/") && method == "GET" { 3 } else { 2 },
            "{method} {path}"
        );
    }
    let listed = catalog(pounce).await;
    assert!(!listed.iter().any(|listed| listed == name), "{listed:?}");
}

async fn assert_shown(pounce: &Pounce, name: &str, image: &(String, String)) {
    for (method, path) in ways(name, image) {
        let reply = anonymous(pounce, method, &path).await;
        let expected = if path.contains("/blobs/") && method == "GET" { 307 } else { 200 };
        // With an upstream, the first answer streams.
        assert!(reply.status == expected || reply.status == 200, "{method} {path} {reply:?}");
    }
    pounce.until_quiet().await;
}

pub(super) async fn catalog(pounce: &Pounce) -> Vec<String> {
    let listed = anonymous(pounce, "GET", "/v2/_catalog").await;
    assert_eq!(listed.status, 200);
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    serde_json::from_value(listed["repositories"].clone()).unwrap()
}

pub(super) fn digests(image: &Image) -> (String, String) {
    (digest(&image.blobs[0]), image.digest())
}

#[tokio::test]
async fn a_rule_on_a_host_gives_nothing_that_was_pushed() {
    let (_upstream, variables) = upstream().await;
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let (alpine, other) = (digests(&Image::new(1, &[1000])), digests(&Image::new(2, &[1000])));
    assert_shown(&pounce, "library/alpine", &alpine).await;
    // Rules hide other upstreams' content, under any spelling.
    for (name, query) in [("ghcr.io/org/other", ""), ("org/other", "?ns=ghcr.io"), ("ghcr.io/org/other", "?ns=ghcr.io")]
    {
        let path = format!("/v2/{name}/manifests/v1{query}");
        assert_eq!(anonymous(&pounce, "GET", &path).await.status, 401, "{path}");
    }
    assert_shown(&pounce, "org/other", &other).await;

    let secret = push(&pounce, "ci-1", "team/secret", 3).await;
    assert_hidden(&pounce, "team/secret", &secret).await;
    for spelling in ["docker.io/team/secret", "docker.io/docker.io/team/secret", "index.docker.io/team/secret"] {
        let path = format!("/v2/{spelling}/manifests/v1");
        assert_eq!(anonymous(&pounce, "GET", &path).await.status, 401, "{path}");
    }
    for spelling in ["team/secret", "docker.io/team/secret"] {
        let path = format!("/v2/{spelling}/manifests/v1?ns=docker.io");
        assert_eq!(anonymous(&pounce, "GET", &path).await.status, 401, "{path}");
    }
    // Public repositories are public, whichever user pushed there.
    let public = push(&pounce, "admin", "public/app", 4).await;
    assert_shown(&pounce, "public/app", &public).await;
    // Pushes, deletes and mounts are refused, too.
    for (method, path) in [
        ("POST", "/v2/library/new/blobs/uploads/".to_owned()),
        ("POST", format!("/v2/public/app/blobs/uploads/?mount={}&from=team/secret", secret.0)),
        ("DELETE", "/v2/library/alpine/manifests/v1".to_owned()),
    ] {
        assert_eq!(anonymous(&pounce, method, &path).await.status, 401, "{method} {path}");
    }
    let mount = format!("/v2/team/app/blobs/uploads/?mount={}&from=public/app", public.0);
    assert_eq!(ask(&pounce, "ci-1", "POST", &mount).await.status, 201);

    // As soon as a client pushes beside the pulled content.
    push(&pounce, "admin", "library/alpine", 5).await;
    assert_hidden(&pounce, "library/alpine", &alpine).await;

    let pounce = pounce.restart(&borrowed(&variables)).await;
    assert_hidden(&pounce, "team/secret", &secret).await;
    assert_hidden(&pounce, "library/alpine", &alpine).await;
    assert_eq!(catalog(&pounce).await, ["org/other", "public/app"]);
    assert_shown(&pounce, "org/other", &other).await;
    assert_shown(&pounce, "public/app", &public).await;
}

#[tokio::test]
async fn a_push_at_another_replica_counts_at_once() {
    let (upstream, variables) = upstream().await;
    let s3 = Pounce::with(&[]).await;
    let front = Front::before(s3.addr).await;
    let start = async |addr| {
        let mut all = s3.as_s3_behind(addr);
        all.extend(variables.clone());
        Pounce::with(&borrowed(&all)).await
    };
    let (first, second) = (start(s3.addr).await, start(front.addr).await);
    let image = Image::new(1, &[1000]);
    assert_shown(&second, "library/alpine", &digests(&image)).await;
    second.until_quiet().await;
    // Answers from memory cost no request.
    let pull = "/v2/library/alpine/manifests/v1";
    assert_eq!(anonymous(&second, "GET", pull).await.status, 200);
    front.take();
    assert_eq!(anonymous(&second, "GET", pull).await.status, 200);
    assert_eq!(front.total(), 0);
    // The upstream has no such repository, and the second replica knows that.
    for path in ["/v2/team/app/manifests/v1", "/v2/team/app/tags/list"] {
        assert_eq!(anonymous(&second, "GET", path).await.status, 404);
    }
    let pushed = push(&first, "ci-1", "team/app", 6).await;
    assert_hidden(&second, "team/app", &pushed).await;
    drop(upstream);
}

/// A bucket from before there was a marker, or from distribution: its links do not name their origin.
#[tokio::test]
async fn what_other_programs_pushed_counts_as_pushed() {
    let (_upstream, variables) = upstream().await;
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let tagged = push(&pounce, "admin", "old/tagged", 7).await;
    let untagged = push(&pounce, "admin", "old/untagged", 8).await;
    let alpine = digests(&Image::new(1, &[1000]));
    assert_shown(&pounce, "library/alpine", &alpine).await;
    pounce.until_quiet().await;
    let repositories = pounce.root().join("docker/registry/v2/repositories");
    for name in ["old/tagged", "old/untagged"] {
        std::fs::remove_dir_all(repositories.join(name).join("_pushed")).unwrap();
    }
    std::fs::remove_dir_all(repositories.join("old/untagged/_manifests/tags")).unwrap();
    assert!(!repositories.join("library/alpine/_pushed").exists());
    let pounce = pounce.restart(&borrowed(&variables)).await;
    assert_hidden(&pounce, "old/tagged", &tagged).await;
    let (blob, manifest) = &untagged;
    for path in [format!("manifests/{manifest}"), format!("blobs/{blob}"), format!("referrers/{manifest}")] {
        let path = format!("/v2/old/untagged/{path}");
        assert_eq!(anonymous(&pounce, "GET", &path).await.status, 401, "{path}");
    }
    assert_shown(&pounce, "library/alpine", &alpine).await;
}

#[tokio::test]
async fn a_repository_has_one_name() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1000]);
    upstream.add("private/app", "v1", &image);
    let rules = "
- { users: [anonymous], repositories: ['docker.io/private/**'], actions: [] }
- { users: [anonymous], repositories: ['ghcr.io/private/**'], actions: [] }
- { users: [anonymous], repositories: ['**'], actions: [pull] }";
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_HOST", "docker.io"),
        ("REGISTRY_PROXY_UPSTREAMS_0_HOST", "ghcr.io"),
        ("REGISTRY_PROXY_UPSTREAMS_0_REMOTEURL", &upstream.url()),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &user("admin")),
        ("REGISTRY_AUTH_RULES", rules),
    ])
    .await;
    let names = [
        "private/app",
        "docker.io/private/app",
        "docker.io/docker.io/private/app",
        "index.docker.io/private/app",
        "docker.io/registry-1.docker.io/private/app",
        "private/app?ns=docker.io",
        "private/app?ns=DOCKER.IO",
        "private/app?ns=index.docker.io",
        "docker.io/private/app?ns=docker.io",
        "docker.io/docker.io/private/app?ns=registry-1.docker.io",
        "ghcr.io/private/app",
        "ghcr.io/ghcr.io/private/app",
        "private/app?ns=ghcr.io",
        "ghcr.io/private/app?ns=ghcr.io",
        "ghcr.io/ghcr.io/private/app?ns=ghcr.io",
    ];
    let refused = [
        "docker.io/ghcr.io/private/app",
        "ghcr.io/private/app?ns=docker.io",
        "private/app?ns=docker.io.",
        "private/app?ns=quay.io",
    ];
    for (names, statuses) in [(&names[..], [401, 403]), (&refused[..], [404, 404])] {
        for name in names {
            let (name, query) =
                name.split_once('?').map_or((*name, String::new()), |(name, query)| (name, format!("?{query}")));
            let path = format!("/v2/{name}/manifests/v1{query}");
            let reply = anonymous(&pounce, "GET", &path).await;
            assert!(statuses.contains(&reply.status), "{path} {reply:?}");
            // The same limit applies to users as to anonymous clients.
            let reply = ask(&pounce, "admin", "GET", &path).await;
            assert!(statuses.contains(&reply.status), "{path} {reply:?}");
        }
    }
    assert_eq!(upstream.requests(), 0);
}

#[tokio::test]
async fn a_client_that_may_see_nothing_walks_nothing() {
    let s3 = Pounce::with(&[]).await;
    let front = Front::before(s3.addr).await;
    let mut all = s3.as_s3_behind(front.addr);
    let users = [user("admin"), user("guest")].join(",");
    let rules = "
- { users: [anonymous], repositories: [nothing], actions: [push] }
- { users: [admin], actions: [pull, push] }";
    all.push(("REGISTRY_AUTH_HTPASSWD_USERS", users));
    all.push(("REGISTRY_AUTH_RULES", rules.to_owned()));
    let pounce = Pounce::with(&borrowed(&all)).await;
    push(&pounce, "admin", "a/b", 1).await;
    front.take();
    for _ in 0..20 {
        assert!(catalog(&pounce).await.is_empty());
        let listed = ask(&pounce, "guest", "GET", "/v2/_catalog").await;
        assert_eq!(listed.body, r#"{"repositories":[]}"#);
    }
    assert_eq!(front.total(), 0);
    // Clients that may see something share one walk; it includes new pushes at once.
    for _ in 0..20 {
        assert_eq!(ask(&pounce, "admin", "GET", "/v2/_catalog").await.status, 200);
    }
    let walked = front.take();
    assert!(walked["ListObjectsV2"] <= 4, "{walked:?}");
    push(&pounce, "admin", "new", 2).await;
    let listed = ask(&pounce, "admin", "GET", "/v2/_catalog").await;
    assert_eq!(listed.body, r#"{"repositories":["a/b","new"]}"#);
}

/// Spellings that try to evade the rules.
#[tokio::test]
async fn no_spelling_of_a_request_is_past_the_rules() {
    let (_upstream, variables) = upstream().await;
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let (_, manifest) = push(&pounce, "ci-1", "team/secret", 3).await;
    for name in [
        "team%2Fsecret",
        "team/%73ecret",
        "docker.io%2Fteam/secret",
        "docker%2Eio/team/secret",
        "DOCKER.IO/team/secret",
        "docker.io./team/secret",
        "docker.io:443/team/secret",
        "docker.io//team/secret",
        "./team/secret",
        "library/../team/secret",
        "library/%2e%2e/team/secret",
        "team/secret/",
        "registry.hub.docker.com/team/secret",
        "docker.io/index.docker.io/registry-1.docker.io/team/secret",
    ] {
        for reference in ["v1", &manifest] {
            for query in [
                "",
                "?ns=docker.io",
                "?ns=ghcr.io&ns=docker.io",
                "?NS=docker.io",
                "?%6es=docker.io",
                "?ns=docker.io:443",
                "?ns=docker.io%00",
                "?ns=",
            ] {
                let path = format!("/v2/{name}/manifests/{reference}{query}");
                let reply = anonymous(&pounce, "GET", &path).await;
                assert!([400, 401, 404].contains(&reply.status), "{path} {reply:?}");
            }
        }
    }
}
