//! Several credentials for one upstream (`credentials`): the rate of each, and what happens when one is used up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::support::scripted::{by_digest, manifest, refusal};
use crate::support::{Image, Pounce, Scripted};

/// What the upstream says to a user: the requests that are left, or the status of a refusal.
type Left = Arc<Mutex<BTreeMap<&'static str, Result<u32, u16>>>>;

/// An upstream that lets users read its image as `v1` to `v9` of any repository, each so often.
async fn upstream(image: &Image, left: &Left) -> Scripted {
    let (image, left) = (image.clone(), Arc::clone(left));
    Scripted::start(move |seen| {
        let (image, left) = (image.clone(), Arc::clone(&left));
        async move {
            let Some(user) = user(seen.headers.get("authorization").and_then(|it| it.to_str().ok())) else {
                let mut said = refusal(401, "UNAUTHORIZED");
                said.1.push(("www-authenticate", "Basic realm=\"r\"".to_owned()));
                return said;
            };
            let mut left = left.lock().unwrap();
            match left.get_mut(&*user) {
                Some(Ok(left)) if *left > 0 => {
                    *left -= 1;
                    let mut said = match seen.path.split_once("/manifests/v") {
                        Some(_) => manifest(&image),
                        None => by_digest(&image, &seen.path).unwrap_or_else(|| refusal(404, "MANIFEST_UNKNOWN")),
                    };
                    said.1.push(("ratelimit-limit", "100;w=21600".to_owned()));
                    said.1.push(("ratelimit-remaining", format!("{left};w=21600")));
                    said
                }
                Some(Ok(_)) => refusal(429, "TOOMANYREQUESTS"),
                Some(Err(status)) => refusal(*status, "DENIED"),
                None => refusal(401, "UNAUTHORIZED"),
            }
        }
    })
    .await
}

fn user(authorization: Option<&str>) -> Option<String> {
    let decoded = STANDARD.decode(authorization?.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.strip_suffix(":secret").map(str::to_owned)
}

/// The users of the requests since the last call, without those that had no credentials.
fn users(upstream: &Scripted) -> Vec<String> {
    let seen = upstream.seen();
    upstream.forget();
    seen.iter().filter_map(|seen| user(seen.headers.get("authorization")?.to_str().ok())).collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

const CREDENTIALS: &str = "[{username: alice, password: secret}, {username: bob, password: secret}]";

async fn registry(upstream: &Scripted) -> Pounce {
    let variables = [("REGISTRY_PROXY_REMOTEURL", &*upstream.url()), ("REGISTRY_PROXY_CREDENTIALS", CREDENTIALS)];
    Pounce::with(&variables).await
}

async fn pull(pounce: &Pounce, number: usize) -> u16 {
    pounce.get(&format!("/v2/a/manifests/v{number}")).await.status
}

#[tokio::test]
async fn the_one_with_the_most_left_is_used_and_a_429_moves_to_the_next() {
    let image = Image::new(1, &[100]);
    let left: Left = Arc::new(Mutex::new(BTreeMap::from([("alice", Ok(5)), ("bob", Ok(50))])));
    let set = |user, said| left.lock().unwrap().insert(user, said);
    let upstream = upstream(&image, &left).await;
    let pounce = registry(&upstream).await;
    // Nothing is known of either, and then nothing of one.
    assert_eq!(
        (pull(&pounce, 8).await, pull(&pounce, 9).await, users(&upstream)),
        (200, 200, names(&["alice", "bob"]))
    );
    assert_eq!((pull(&pounce, 1).await, users(&upstream)), (200, names(&["bob"])));
    // What it still allowed is used up by another program.
    set("bob", Ok(0));
    assert_eq!((pull(&pounce, 2).await, users(&upstream)), (200, names(&["bob", "alice"])));
    assert_eq!((pull(&pounce, 3).await, users(&upstream)), (200, names(&["alice"])));
    // With none left, one is asked, once for each client: a 429 may be over.
    set("alice", Ok(0));
    assert_eq!((pull(&pounce, 4).await, users(&upstream).len()), (429, 1));
    let again = (pull(&pounce, 5).await, users(&upstream).len());
    assert_eq!(again, (429, 1));
    let host = upstream.addr.to_string();
    let page = pounce.metrics().await;
    for user in ["alice", "bob"] {
        let series = format!("pounce_upstream_ratelimit_limit{{upstream=\"{host}\",credentials=\"{user}\"}} 100");
        assert!(page.contains(&series), "{series}");
    }
    assert!(!page.contains("secret"));
}

#[tokio::test]
async fn one_that_is_refused_is_passed_by() {
    let image = Image::new(1, &[100]);
    for status in [401, 403] {
        let left: Left = Arc::new(Mutex::new(BTreeMap::from([("alice", Err(status)), ("bob", Ok(50))])));
        let upstream = upstream(&image, &left).await;
        let pounce = registry(&upstream).await;
        for number in 1..4 {
            assert_eq!(pull(&pounce, number).await, 200, "{status}");
        }
        assert!(users(&upstream).iter().filter(|user| *user == "bob").count() >= 3);
        left.lock().unwrap().insert("bob", Err(status));
        assert_eq!(pull(&pounce, 5).await, 403, "{status}");
    }
}

#[tokio::test]
async fn a_private_repository_of_one_account_is_found() {
    let image = Image::new(1, &[100]);
    let left: Left = Arc::new(Mutex::new(BTreeMap::from([("alice", Err(403)), ("bob", Ok(50))])));
    let upstream = upstream(&image, &left).await;
    let pounce = registry(&upstream).await;
    let blob = crate::support::image::digest(image.layer());
    assert_eq!(pounce.get(&format!("/v2/a/blobs/{blob}")).await.body, image.layer());
}
