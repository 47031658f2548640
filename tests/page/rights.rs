//! What the page shows to whom: what the API gives them.

use super::{as_browser, document, post, text, view};
use crate::support::users::{push, user, with_rules};
use crate::support::{Image, Pounce, Reply, Upstream};

async fn session(pounce: &Pounce, name: &str) -> String {
    let reply = pounce.send(post(pounce, "/-/login", &[("user", name), ("password", &format!("{name}'s"))])).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    reply.header("set-cookie").split(';').next().unwrap().to_owned()
}

async fn seen(pounce: &Pounce, session: &str, path: &str) -> Reply {
    pounce.send(as_browser(pounce.request("GET", path)).header("cookie", session)).await
}

#[tokio::test]
async fn users_see_what_they_may_pull_and_anonymous_clients_their_part() {
    let rules = "
- {users: [anonymous], repositories: ['public/**'], actions: [pull]}
- {users: [bob], repositories: ['team/**', 'public/**'], actions: [pull]}
- {users: [alice], actions: [pull, push, delete]}";
    let pounce = with_rules(&["alice", "bob"], rules).await;
    for (seed, name) in ["public/app", "team/app", "private"].into_iter().enumerate() {
        push(&pounce, "alice", name, seed as u64).await;
    }
    let shown =
        |page: &str| ["public/app", "team/app", "private"].map(|name| page.contains(&format!("repositories/{name}\"")));
    assert_eq!(shown(&document(&pounce, "/").await), [true, false, false]);
    assert_eq!(shown(&document(&pounce, "/?q=p").await), [true, false, false]);
    document(&pounce, "/-/repositories/public/app/-/v1").await;
    for path in ["/-/repositories/private", "/-/repositories/private/-/v1", "/-/repositories/absent"] {
        assert_eq!(view(&pounce, path).await.status, 303, "{path}");
    }
    let (alice, bob) = (session(&pounce, "alice").await, session(&pounce, "bob").await);
    assert_eq!(shown(&text(&seen(&pounce, &alice, "/").await)), [true; 3]);
    assert_eq!(shown(&text(&seen(&pounce, &bob, "/").await)), [true, true, false]);
    // What is there and what is not look the same.
    let denied = seen(&pounce, &bob, "/-/repositories/private/-/v1").await;
    let absent = seen(&pounce, &bob, "/-/repositories/absent0/-/v1").await;
    assert_eq!((denied.status, absent.status), (403, 403));
    assert_eq!(text(&denied).replace("private", ""), text(&absent).replace("absent0", ""));
    let path = "/-/repositories/team/app/-/v1/delete";
    assert!(!text(&seen(&pounce, &bob, "/-/repositories/team/app/-/v1").await).contains(path));
    assert!(text(&seen(&pounce, &alice, "/-/repositories/team/app/-/v1").await).contains(path));
    let digest = Image::new(1, &[1000]).digest();
    let delete = |session: &str| post(&pounce, path, &[("digest", &digest)]).header("cookie", session);
    assert_eq!(pounce.send(delete(&bob)).await.status, 403);
    assert_eq!(pounce.send(delete("")).await.status, 401);
    assert_eq!(pounce.send(delete(&alice)).await.status, 303);
}

#[tokio::test]
async fn rules_by_origin_count() {
    let upstream = Upstream::start().await;
    upstream.add("org/fetched", "v1", &Image::new(1, &[10]));
    let rules = "
- {users: [anonymous], repositories: ['docker.io/**'], actions: [pull]}
- {users: [alice], actions: [pull, push]}";
    let line = user("alice");
    let pounce = Pounce::with(&[
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()),
        ("REGISTRY_PROXY_HOST", "docker.io"),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &line),
        ("REGISTRY_AUTH_RULES", rules),
    ])
    .await;
    push(&pounce, "alice", "org/pushed", 2).await;
    let pull = pounce.request("GET", "/v2/org/fetched/manifests/v1").basic_auth("alice", Some("alice's"));
    assert_eq!(pounce.send(pull).await.status, 200);
    pounce.until_quiet().await;
    let page = document(&pounce, "/").await;
    assert!(page.contains("repositories/org/fetched\"") && !page.contains("org/pushed"), "{page}");
    document(&pounce, "/-/repositories/org/fetched").await;
    assert_eq!(view(&pounce, "/-/repositories/org/pushed").await.status, 303);
}

#[tokio::test]
async fn without_users_all_see_what_all_may_pull() {
    let pounce = Pounce::with(&[("REGISTRY_AUTH_ANONYMOUS", "[pull]")]).await;
    assert!(!document(&pounce, "/").await.contains("Log in"));
    let login = document(&pounce, "/-/login").await;
    assert!(login.contains("has no users") && !login.contains("<input type=\"password\""), "{login}");
}
