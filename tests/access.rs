//! Who may do what: htpasswd, rules, and what follows from them for every endpoint.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pounce::auth;
use reqwest::RequestBuilder;
use tempfile::TempDir;

use crate::support::image::digest;
use crate::support::{Image, Pounce, Process, Reply, Upstream};

/// A line of an htpasswd file, of the least cost.
fn user(name: &str) -> String {
    auth::line(name, &password(name), 4).unwrap()
}

fn password(name: &str) -> String {
    format!("{name}'s")
}

/// Some users, who may do everything.
async fn with_users(names: &[&str]) -> Pounce {
    let lines: Vec<String> = names.iter().map(|name| user(name)).collect();
    Pounce::with(&[("REGISTRY_AUTH_HTPASSWD_USERS", &lines.join(","))]).await
}

/// Some users, and rules for them.
async fn with_rules(names: &[&str], rules: &str) -> Pounce {
    let lines: Vec<String> = names.iter().map(|name| user(name)).collect();
    Pounce::with(&[
        ("REGISTRY_AUTH_HTPASSWD_USERS", &lines.join(",")),
        ("REGISTRY_AUTH_RULES", rules),
    ])
    .await
}

fn by(name: &str, request: RequestBuilder) -> RequestBuilder {
    request.basic_auth(name, Some(password(name)))
}

async fn ask(pounce: &Pounce, name: &str, method: &str, path: &str) -> Reply {
    let request = pounce.request(method, path);
    pounce.send(by(name, request)).await
}

/// Pushes a blob and a manifest, and tells the digests of both.
async fn push(pounce: &Pounce, name: &str, repository: &str, seed: u64) -> (String, String) {
    let image = Image::new(seed, &[1000]);
    for blob in &image.blobs {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
        let request = pounce.request("POST", &path).body(blob.clone());
        assert_eq!(pounce.send(by(name, request)).await.status, 201);
    }
    let path = format!("/v2/{repository}/manifests/v1");
    let request = pounce.request("PUT", &path);
    let request = request.header("content-type", &image.media_type);
    let reply = pounce
        .send(by(name, request.body(image.manifest.clone())))
        .await;
    assert_eq!(reply.status, 201, "{reply:?}");
    (digest(&image.blobs[0]), digest(&image.manifest))
}

#[tokio::test]
async fn whoever_knows_the_password_is_let_in() {
    let pounce = with_users(&["alice"]).await;
    let (blob, _) = push(&pounce, "alice", "a/b", 1).await;
    let paths = [
        ("GET", "/v2/".to_owned()),
        ("HEAD", format!("/v2/a/b/blobs/{blob}")),
        ("GET", format!("/v2/a/b/blobs/{blob}")),
        ("GET", "/v2/a/b/manifests/v1".to_owned()),
        ("PUT", "/v2/a/b/manifests/v1".to_owned()),
        ("DELETE", "/v2/a/b/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/b/blobs/{blob}")),
        ("GET", "/v2/a/b/tags/list".to_owned()),
        ("GET", format!("/v2/a/b/referrers/{blob}")),
        ("POST", "/v2/a/b/blobs/uploads/".to_owned()),
        (
            "POST",
            format!("/v2/a/b/blobs/uploads/?mount={blob}&from=c/d"),
        ),
        (
            "PATCH",
            "/v2/a/b/blobs/uploads/0c0ffee0-0000-4000-8000-000000000000".to_owned(),
        ),
        ("GET", "/v2/_catalog".to_owned()),
        // Nothing is said about what there is, or about which hosts are known.
        ("GET", "/v2/no/such/manifests/v1".to_owned()),
        ("GET", "/v2/a/b/manifests/v1?ns=169.254.169.254".to_owned()),
    ];
    for (method, path) in &paths {
        let nobody = pounce.request(method, path);
        let wrong = pounce
            .request(method, path)
            .basic_auth("alice", Some("bob's"));
        let unknown = pounce
            .request(method, path)
            .basic_auth("bob", Some("bob's"));
        for request in [nobody, wrong, unknown] {
            let reply = pounce.send(request).await;
            assert_eq!(reply.status, 401, "{method} {path} {reply:?}");
            assert_eq!(reply.header("www-authenticate"), "Basic realm=\"pounce\"");
            assert_eq!(
                reply.header("docker-distribution-api-version"),
                "registry/2.0"
            );
            if *method != "HEAD" {
                assert_eq!(reply.code(), "UNAUTHORIZED");
            }
        }
    }
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    let reply = ask(&pounce, "alice", "GET", &format!("/v2/a/b/blobs/{blob}")).await;
    assert_eq!(pounce.follow(&reply).await.status, 200);
    // Who only watches over pounce needs no password.
    assert_eq!(pounce.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn what_is_no_password_is_refused() {
    let pounce = with_users(&["alice"]).await;
    let encoded = |bytes: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let headers = [
        "Basic".to_owned(),
        "Basic ".to_owned(),
        "Basic !!!".to_owned(),
        format!("Basic {}", encoded(b"alice")),
        format!("Basic {}", encoded(b"al\xffice:alice's")),
        format!("Basic {}", encoded(b"alice:\xff\xfe")),
        format!("Basic {}", encoded(b"alice:alice's\0")),
        format!("Basic {}", encoded(b":alice's")),
        format!("Basic {}", encoded(b"alice:")),
        format!("Basic {}", encoded(&b"a".repeat(20_000))),
        format!("Digest {}", encoded(b"alice:alice's")),
        format!("Bearer {}", encoded(b"alice:alice's")),
        "Bearer a.b.c".to_owned(),
    ];
    for header in headers {
        let request = pounce
            .request("GET", "/v2/")
            .header("authorization", &header);
        assert_eq!(pounce.send(request).await.status, 401, "{header:.40}");
    }
    // What podman sends that has no password is not a wrong one.
    let request = pounce.request("GET", "/v2/");
    let reply = pounce
        .send(request.header("authorization", "Basic Og=="))
        .await;
    assert_eq!(reply.status, 401);
    assert!(String::from_utf8_lossy(&reply.body).contains("log in first"));
    // Two of them: which one counts?
    let twice = by("alice", by("alice", pounce.request("GET", "/v2/")));
    assert_eq!(pounce.send(twice).await.status, 401);
    // Without padding, and in another case.
    let bare = encoded(b"alice:alice's").replace('=', "");
    let request = pounce.request("GET", "/v2/");
    let request = request.header("authorization", format!("bAsIc {bare}"));
    assert_eq!(pounce.send(request).await.status, 200);
}

#[tokio::test]
async fn a_password_is_compared_once() {
    let pounce = with_users(&["alice"]).await;
    let asking = (0..50).map(|_| ask(&pounce, "alice", "GET", "/v2/"));
    let replies = futures_util::future::join_all(asking).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!(pounce.metric("password_checks").await, 1);
    // A wrong one, too.
    for _ in 0..5 {
        let request = pounce.request("GET", "/v2/").basic_auth("alice", Some("x"));
        assert_eq!(pounce.send(request).await.status, 401);
    }
    assert_eq!(pounce.metric("password_checks").await, 2);
}

#[tokio::test]
async fn guessing_is_limited_by_user_and_address() {
    let pounce = with_users(&["alice", "bob"]).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);
    let mut refused = 0;
    for guess in 0..40 {
        let guess = pounce
            .request("GET", "/v2/")
            .basic_auth("alice", Some(guess));
        let reply = pounce.send(guess).await;
        if reply.status == 429 {
            assert_eq!(reply.code(), "TOOMANYREQUESTS");
            assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
            refused += 1;
        } else {
            assert_eq!(reply.status, 401);
        }
    }
    // Ten at once, and one more every six seconds.
    assert!(refused >= 20, "{refused}");
    // The right guess must not stand out: nobody at that address is told anything about alice for a while.
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 429);
    // Another user is not concerned.
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 200);
    // Many names from one address do not help either.
    let mut compared = 0;
    for guess in 0..120 {
        let user = format!("user-{guess}");
        let guess = pounce.request("GET", "/v2/").basic_auth(user, Some("x"));
        compared += usize::from(pounce.send(guess).await.status == 401);
    }
    assert!(compared < 60, "{compared}");
}

#[tokio::test]
async fn a_changed_file_counts_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, user("alice")).unwrap();
    let pounce = Pounce::with(&[
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_REALM", "some realm"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", path.to_str().unwrap()),
    ])
    .await;
    let refused = pounce.get("/v2/").await;
    assert_eq!(
        refused.header("www-authenticate"),
        "Basic realm=\"some realm\""
    );
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 200);

    // Somebody is locked out, and somebody else let in.
    std::fs::write(&path, user("bob")).unwrap();
    until(&pounce, "bob", 200).await;
    assert_eq!(ask(&pounce, "alice", "GET", "/v2/").await.status, 401);
    // A file that cannot be read leaves everything as it is.
    std::fs::write(&path, "what is this\n").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 200);
    // As Kubernetes does it: another file in its place.
    std::fs::write(folder.path().join("new"), user("alice")).unwrap();
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    until(&pounce, "alice", 200).await;
    assert_eq!(ask(&pounce, "bob", "GET", "/v2/").await.status, 401);
}

/// Waits until a user gets this status.
async fn until(pounce: &Pounce, name: &str, status: u16) {
    for _ in 0..200 {
        if ask(pounce, name, "GET", "/v2/").await.status == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{name} never gets {status}");
}

#[tokio::test]
async fn a_missing_file_is_made_with_a_first_user() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("new/htpasswd");
    let variables = [
        ("REGISTRY_AUTH", "htpasswd"),
        ("REGISTRY_AUTH_HTPASSWD_PATH", path.to_str().unwrap()),
    ];
    let mut process = Process::start(&variables);
    let line = process
        .seen
        .lines()
        .find(|line| line.contains("\"password\""))
        .unwrap();
    let said: serde_json::Value = serde_json::from_str(line).unwrap();
    let password = said["password"].as_str().unwrap();
    let client = reqwest::Client::new();
    let request = client
        .get(process.url("/v2/"))
        .basic_auth("docker", Some(password));
    assert_eq!(request.send().await.unwrap().status(), 200);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // It is in the log once, and the file stays as it is.
    let before = std::fs::read(&path).unwrap();
    process.terminate();
    process.until("ended");
    let (status, log) = process.end();
    assert_eq!((status, log.matches(password).count()), (0, 1));
    let (_, log) = {
        let again = Process::start(&variables);
        again.terminate();
        again.end()
    };
    assert!(!log.contains("\"password\""), "{log}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

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
