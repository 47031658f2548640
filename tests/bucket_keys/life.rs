//! How long what the bucket said is believed: of passwords, tokens and sessions of browsers.

use std::time::{Duration, Instant};

use pounce::config::BucketKeysLife;

use super::{ALL, EDITOR, LOGIN, PAIRS, READER, ask, asked, bucket, login, over, push};
use crate::support::issuer::issued;
use crate::support::{FakeS3, Pounce, Reply, borrowed};

/// Clients without a login may do something, so that clients with keys get tokens.
const RULES: &str =
    "[{users: [anonymous], repositories: ['public/**'], actions: [pull]}, {users: ['*'], actions: [pull, push]}]";

/// A registry that believes the bucket for so many seconds.
async fn short(s3: &FakeS3, seconds: u64) -> Pounce {
    let variables = s3.variables();
    let mut all = borrowed(&variables);
    all.extend([("REGISTRY_AUTH_BUCKETKEYS", "true"), ("REGISTRY_AUTH_RULES", RULES)]);
    Pounce::changed(&all, |config| config.auth.bucketkeyslife = BucketKeysLife(Duration::from_secs(seconds))).await
}

async fn with(pounce: &Pounce, token: &str, method: &str, path: &str) -> Reply {
    pounce.send(pounce.request(method, path).bearer_auth(token)).await
}

async fn log_in(pounce: &Pounce, id: &str, secret: &str) -> Reply {
    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("user", id), ("password", secret)])
        .finish();
    let request = pounce.request("POST", "/-/login").header("sec-fetch-site", "same-origin");
    pounce.send(request.header("content-type", "application/x-www-form-urlencoded").body(form)).await
}

/// Whether a session's cookie still has its user.
async fn is_known(pounce: &Pounce, cookie: &str) -> bool {
    let request = pounce.request("GET", "/").header("accept", "text/html").header("cookie", cookie);
    let reply = pounce.send(request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    String::from_utf8_lossy(&reply.body).contains("tid_all_of_it_012345")
}

/// The cookie that a login sets, and its life in seconds.
fn session(reply: &Reply) -> (String, u64) {
    let set = reply.header("set-cookie");
    let life = set.split("Max-Age=").nth(1).unwrap_or_else(|| panic!("{reply:?}"));
    (set.split(';').next().unwrap().to_owned(), life.split(';').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn a_token_says_what_the_keys_may() {
    let s3 = bucket(&[]).await;
    let secret = ("REGISTRY_HTTP_SECRET", "shared by the replicas");
    let pounce = over(&s3, &[("REGISTRY_AUTH_RULES", RULES), secret]).await;
    let hello = pounce.get("/v2/").await;
    assert!(hello.header("www-authenticate").starts_with("Bearer "), "{hello:?}");
    assert_eq!(login(&pounce, READER.id, "x").await.status, 401);
    let (of_editor, life) = issued(&ask(&pounce, &EDITOR, "GET", "/v2/token").await);
    let (of_reader, _) = issued(&ask(&pounce, &READER, "GET", "/v2/token").await);
    // Clients count on a minute.
    assert!((60..=300).contains(&life), "{life}");
    let upload = "/v2/team/app/blobs/uploads/";
    let other = over(&s3, &[("REGISTRY_AUTH_RULES", RULES), secret]).await;
    for pounce in [&pounce, &other] {
        assert_eq!(with(pounce, &of_editor, "POST", upload).await.status, 202);
        assert_eq!(with(pounce, &of_reader, "POST", upload).await.status, 403);
        assert_eq!(with(pounce, &of_reader, "GET", "/v2/team/app/tags/list").await.status, 404);
        assert_eq!(with(pounce, &of_reader, "GET", "/v2/token").await.status, 401);
    }
    assert_eq!(asked(&s3), 1 + 3 + 3);
    // Not where the keys of a bucket are no logins, and not where it is another bucket.
    let users = [
        ("REGISTRY_AUTH_BUCKETKEYS", "false"),
        ("REGISTRY_AUTH_HTPASSWD_USERS", &crate::support::users::user("alice")),
    ];
    let without = over(&s3, &[users[0], users[1], ("REGISTRY_AUTH_RULES", RULES), secret]).await;
    let folder = ("REGISTRY_STORAGE_S3_ROOTDIRECTORY", "other");
    let elsewhere = over(&s3, &[("REGISTRY_AUTH_RULES", RULES), secret, folder]).await;
    // Of the same name, at another place.
    let namesake = bucket(&[]).await;
    let namesake = over(&namesake, &[("REGISTRY_AUTH_RULES", RULES), secret]).await;
    for pounce in [&without, &elsewhere, &namesake] {
        assert_eq!(with(pounce, &of_editor, "GET", "/v2/").await.status, 401);
    }
}

#[tokio::test]
async fn keys_that_are_taken_back_end_with_all_that_was_made_of_them() {
    let s3 = bucket(&[]).await;
    let pounce = short(&s3, 5).await;
    let began = Instant::now();
    let (token, life) = issued(&ask(&pounce, &ALL, "GET", "/v2/token").await);
    let (cookie, max_age) = session(&log_in(&pounce, ALL.id, ALL.secret).await);
    assert!(life <= 5 && max_age <= 5, "{life} {max_age}");
    assert_eq!(asked(&s3), 3);
    assert!(is_known(&pounce, &cookie).await);
    s3.know(&PAIRS[1..]);
    // What is known is believed, for so long.
    let reply = login(&pounce, ALL.id, ALL.secret).await;
    assert!(reply.status == 200 || began.elapsed() > Duration::from_secs(3), "{reply:?}");
    tokio::time::sleep((began + Duration::from_secs(6)).saturating_duration_since(Instant::now())).await;
    assert_eq!(login(&pounce, ALL.id, ALL.secret).await.status, 401);
    assert_eq!(with(&pounce, &token, "GET", "/v2/").await.status, 401);
    assert!(!is_known(&pounce, &cookie).await);
}

/// Otherwise a key that was taken back would be good as long as the bucket does not answer.
#[tokio::test]
async fn what_is_too_old_is_not_believed_while_the_bucket_does_not_answer() {
    let s3 = bucket(&[]).await;
    let pounce = short(&s3, 3).await;
    assert_eq!(push(&pounce, &ALL, "team/app").await.status, 201);
    let (token, _) = issued(&ask(&pounce, &ALL, "GET", "/v2/token").await);
    s3.on("GetObject", 100, |seen| async move { seen.path.contains(LOGIN).then(|| (500, Vec::new(), "".into())) });
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ask(&pounce, &ALL, "GET", "/v2/team/app/manifests/v1").await.status, 503);
    assert_eq!(with(&pounce, &token, "GET", "/v2/team/app/manifests/v1").await.status, 401);
    let reply = log_in(&pounce, ALL.id, ALL.secret).await;
    assert_eq!((reply.status, reply.header("retry-after"), reply.header("set-cookie")), (503, "5", ""));
    s3.forget_hooks();
    assert_eq!(ask(&pounce, &ALL, "GET", "/v2/team/app/manifests/v1").await.status, 200);
}

/// A key that is new, or may do more, must not wait for minutes.
#[tokio::test]
async fn a_refusal_is_forgotten_soon() {
    let s3 = bucket(&[]).await;
    let pounce = short(&s3, 1).await;
    s3.know(&PAIRS[1..]);
    assert_eq!(login(&pounce, ALL.id, ALL.secret).await.status, 401);
    s3.know(PAIRS);
    pounce_until(&pounce, 200).await;
}

async fn pounce_until(pounce: &Pounce, status: u16) {
    for _ in 0..100 {
        // Fewer attempts than are allowed at once.
        tokio::time::sleep(Duration::from_millis(700)).await;
        if login(pounce, ALL.id, ALL.secret).await.status == status {
            return;
        }
    }
    panic!("never {status}");
}
