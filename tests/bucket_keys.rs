//! Logins with keys of the bucket: `auth.bucketkeys`.

mod life;
mod limits;
mod start;

use reqwest::RequestBuilder;

use crate::support::fake_s3::keys::{KeyPair, May};
use crate::support::image::digest;
use crate::support::users::{by, password, user};
use crate::support::{FakeS3, Image, Pounce, Reply, Rule, borrowed};

const ALL: KeyPair = KeyPair { id: "tid_all_of_it_012345", secret: "tsec_a/+=all", may: May::ALL };
const EDITOR: KeyPair =
    KeyPair { id: "AKIAEDITOR0123456789", secret: "editor", may: &[May::Read, May::List, May::Write] };
const READER: KeyPair = KeyPair { id: "tid_reader-012345678", secret: "tsec_reader", may: &[May::Read, May::List] };
/// Keys may read, and not list.
const CLOSE: KeyPair = KeyPair { id: "GK31c2f218a2e44f485b94239e", secret: "close", may: &[May::Read] };
const LISTER: KeyPair = KeyPair { id: "tid_lister_012345678", secret: "lister", may: &[May::List] };
const WRITER: KeyPair = KeyPair { id: "tid_writer_012345678", secret: "writer", may: &[May::Write, May::Delete] };
const PAIRS: &[KeyPair] = &[ALL, EDITOR, READER, CLOSE, LISTER, WRITER];

const LOGIN: &str = "docker/registry/v2/_login/read";

async fn bucket(rules: &[Rule]) -> FakeS3 {
    let s3 = FakeS3::start(rules).await;
    s3.know(PAIRS);
    s3
}

/// A registry over this bucket, whose keys log clients in, with these variables.
async fn over(s3: &FakeS3, more: &[(&str, &str)]) -> Pounce {
    let variables = s3.variables();
    let mut all = borrowed(&variables);
    all.push(("REGISTRY_AUTH_BUCKETKEYS", "true"));
    all.extend_from_slice(more);
    let pounce = Pounce::with(&all).await;
    s3.take();
    pounce
}

fn signed(pair: &KeyPair, request: RequestBuilder) -> RequestBuilder {
    request.basic_auth(pair.id, Some(pair.secret))
}

async fn ask(pounce: &Pounce, pair: &KeyPair, method: &str, path: &str) -> Reply {
    pounce.send(signed(pair, pounce.request(method, path))).await
}

async fn login(pounce: &Pounce, id: &str, secret: &str) -> Reply {
    pounce.send(pounce.request("GET", "/v2/").basic_auth(id, Some(secret))).await
}

/// How many requests of logins the bucket got.
fn asked(s3: &FakeS3) -> usize {
    s3.all_seen().iter().filter(|(_, seen)| seen.path.contains("/_login/") && is_of_client(seen)).count()
}

fn is_of_client(seen: &crate::support::upstream::Seen) -> bool {
    let signed = seen.headers.get("authorization").map_or("", |value| value.to_str().unwrap());
    let id = signed.split_once("Credential=").map_or("", |(_, rest)| rest.split('/').next().unwrap());
    // pounce's own, and the one that it makes up at start.
    id != "a" && !(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Pushes an image: its tag is `v1`.
async fn push(pounce: &Pounce, pair: &KeyPair, repository: &str) -> Reply {
    let image = Image::new(1, &[1000]);
    for blob in &image.blobs {
        let path = format!("/v2/{repository}/blobs/uploads/?digest={}", digest(blob));
        let reply = pounce.send(signed(pair, pounce.request("POST", &path)).body(blob.clone())).await;
        if reply.status != 201 {
            return reply;
        }
    }
    let request = signed(pair, pounce.request("PUT", &format!("/v2/{repository}/manifests/v1")));
    pounce.send(request.header("content-type", &image.media_type).body(image.manifest.clone())).await
}

/// What keys may do, in the order of [`May`]'s actions here: pull, push, delete.
async fn may(pounce: &Pounce, pair: &KeyPair) -> [u16; 3] {
    let pushed = push(pounce, pair, "team/app").await.status;
    let pulled = ask(pounce, pair, "GET", "/v2/team/app/manifests/v1").await.status;
    [pulled, pushed, ask(pounce, pair, "DELETE", "/v2/team/app/manifests/v1").await.status]
}

#[tokio::test]
async fn keys_do_here_what_they_may_do_in_the_bucket() {
    for rules in [
        &[][..],
        &[Rule::IgnoresConditions],
        &[Rule::NoConditions],
        &[Rule::IgnoresConditionsOfDeletes],
        &[Rule::WeakEtags],
        &[Rule::NeedsContentLength],
    ] {
        let s3 = bucket(rules).await;
        let pounce = over(&s3, &[]).await;
        let (object, hello) = (s3.object(LOGIN).unwrap(), pounce.get("/v2/").await);
        assert_eq!((hello.status, hello.header("www-authenticate")), (401, "Basic realm=\"pounce\""));
        assert_eq!(may(&pounce, &EDITOR).await, [200, 201, 403], "{rules:?}");
        assert_eq!(may(&pounce, &READER).await, [200, 403, 403], "{rules:?}");
        let denied = String::from_utf8(push(&pounce, &READER, "team/app").await.body.to_vec()).unwrap();
        assert!(denied.contains("your keys may not push team/app"), "{denied}");
        assert_eq!(may(&pounce, &CLOSE).await, [200, 403, 403], "{rules:?}");
        assert_eq!(may(&pounce, &ALL).await, [200, 201, 202], "{rules:?}");
        // Each pair was asked about once, and nothing changed. Two may write, which only a write shows where the store
        // knows no conditions.
        let again = if rules == [Rule::NoConditions] { 2 } else { 0 };
        assert_eq!(asked(&s3), 4 * 3 + again, "{rules:?}");
        assert_eq!(s3.object(LOGIN).unwrap(), object);
        assert_eq!(s3.keys().iter().filter(|key| key.contains("_login")).count(), 1);
    }
}

#[tokio::test]
async fn keys_that_may_not_read_are_as_unknown_as_others() {
    let s3 = bucket(&[]).await;
    let pounce = over(&s3, &[]).await;
    let unknown = login(&pounce, "tid_nobody_012345678", "x").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (401, "UNAUTHORIZED"));
    for (id, secret) in [(ALL.id, "tsec_a/+=al"), (LISTER.id, LISTER.secret), (WRITER.id, WRITER.secret)] {
        let reply = login(&pounce, id, secret).await;
        assert_eq!((reply.status, &reply.body), (401, &unknown.body), "{id}");
        assert_eq!(reply.header("www-authenticate"), unknown.header("www-authenticate"));
    }
    // One read for each; none wrote.
    assert_eq!(asked(&s3), 4);
    // A secret has all characters of Base64.
    assert_eq!(login(&pounce, ALL.id, ALL.secret).await.status, 200);
    // Secrets that are no texts, and of absurd lengths.
    let (long, longer) = ("x".repeat(257), "x".repeat(7000));
    for secret in ["", "with a blank", "é", "a\0b", "a\nb", &long, &longer] {
        assert_eq!(login(&pounce, READER.id, secret).await.status, 401);
    }
    assert_eq!(asked(&s3), 4 + 3);
}

#[tokio::test]
async fn only_names_that_may_be_ids_go_to_the_bucket() {
    let s3 = bucket(&[]).await;
    // A user whose name is the id of keys has a password, which is not the secret.
    let users = [user("alice"), user(READER.id), user("a-long-name-of-a-user")].join(",");
    let pounce = over(&s3, &[("REGISTRY_AUTH_HTPASSWD_USERS", &users)]).await;
    for name in ["alice", READER.id, "a-long-name-of-a-user"] {
        assert_eq!(login(&pounce, name, &password(name)).await.status, 200, "{name}");
        assert_eq!(login(&pounce, name, READER.secret).await.status, 401, "{name}");
    }
    let longest = "a".repeat(129);
    for name in
        ["bob", "fifteen-letters", "with/slash-and-more", "bucket", "anonymous", &longest, "mail@example.com.org"]
    {
        assert_eq!(login(&pounce, name, "x").await.status, 401, "{name}");
    }
    assert_eq!(asked(&s3), 0);
    assert_eq!(login(&pounce, EDITOR.id, EDITOR.secret).await.status, 200);
    assert_eq!(asked(&s3), 3);
    // Both kinds work side by side.
    assert_eq!(push(&pounce, &EDITOR, "a").await.status, 201);
    let request = pounce.request("GET", "/v2/a/manifests/v1");
    assert_eq!(pounce.send(by("alice", request)).await.status, 200);
}

#[tokio::test]
async fn rules_allow_no_more_than_the_keys_and_the_keys_no_more_than_rules() {
    let s3 = bucket(&[]).await;
    let rules = "
- {users: [anonymous], repositories: ['public/**'], actions: [pull]}
- {users: ['bucket:AKIA*', 'bucket:tid_reader*'], repositories: ['team/**'], actions: [pull, push]}
- {users: ['bucket:tid_all*'], repositories: ['**'], actions: [pull, push, delete]}";
    let pounce = over(&s3, &[("REGISTRY_AUTH_RULES", rules)]).await;
    for (pair, team, other) in [(ALL, 201, 201), (EDITOR, 201, 403), (READER, 403, 403), (CLOSE, 403, 403)] {
        assert_eq!(push(&pounce, &pair, "team/app").await.status, team, "{}", pair.id);
        assert_eq!(push(&pounce, &pair, "other/app").await.status, other, "{}", pair.id);
    }
    for (pair, expected) in [(ALL, [200, 200, 202]), (EDITOR, [200, 403, 403]), (READER, [200, 403, 403])] {
        let team = ask(&pounce, &pair, "GET", "/v2/team/app/manifests/v1").await.status;
        let other = ask(&pounce, &pair, "GET", "/v2/other/app/manifests/v1").await.status;
        let delete = ask(&pounce, &pair, "DELETE", "/v2/other/app/manifests/v1").await.status;
        assert_eq!([team, other, delete], expected, "{}", pair.id);
    }
    // Keys without a rule may do what clients without a login may.
    assert_eq!(ask(&pounce, &CLOSE, "GET", "/v2/public/x/tags/list").await.status, 404);
    assert_eq!(ask(&pounce, &CLOSE, "GET", "/v2/team/app/tags/list").await.status, 403);
    let is_named = |pounce: &Pounce| {
        let lines = std::fs::read_to_string(pounce.access_log()).unwrap();
        lines.contains("user=bucket:AKIAEDITOR0123456789")
    };
    pounce.until("the user in the access log", is_named).await;
}

/// The S3 server of another pounce verifies signatures, too, and has one key pair.
#[tokio::test]
async fn keys_of_a_real_server() {
    let pounce = Pounce::with_s3(&[("REGISTRY_AUTH_BUCKETKEYS", "true")]).await;
    let keys = std::fs::read(pounce.root().join(".pounce/credentials.json")).unwrap();
    let keys: serde_json::Value = serde_json::from_slice(&keys).unwrap();
    let (id, secret) = (keys["accesskey"].as_str().unwrap(), keys["secretkey"].as_str().unwrap());
    assert_eq!(login(&pounce, id, &format!("{secret}0")).await.status, 401);
    assert_eq!(login(&pounce, &format!("{id}0"), secret).await.status, 401);
    assert_eq!(login(&pounce, id, secret).await.status, 200);
    let image = Image::new(1, &[1000]);
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest(&image.blobs[0]));
    let request = pounce.request("POST", &path).basic_auth(id, Some(secret)).body(image.blobs[0].clone());
    assert_eq!(pounce.send(request).await.status, 201);
    let request = pounce.request("GET", &format!("/v2/a/blobs/{}", digest(&image.blobs[0])));
    let reply = pounce.send(request.basic_auth(id, Some(secret))).await;
    assert_eq!(pounce.follow(&reply).await.body, image.blobs[0]);
    let request = pounce.request("DELETE", &format!("/v2/a/blobs/{}", digest(&image.blobs[0])));
    assert_eq!(pounce.send(request.basic_auth(id, Some(secret))).await.status, 202);
}
