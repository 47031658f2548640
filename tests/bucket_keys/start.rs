//! What keeps pounce from starting, what `pounce check` says, and a configuration that changes.

use pounce::Server;
use pounce::config::{Config, Environment};

use super::{PAIRS, READER, bucket};
use crate::check::check;
use crate::support::{FakeS3, borrowed};

/// Why pounce does not start over this bucket.
async fn refusal(s3: &FakeS3) -> String {
    let mut variables = s3.variables();
    variables.push(("REGISTRY_AUTH_BUCKETKEYS", "true".into()));
    variables.push(("REGISTRY_HTTP_ADDR", "127.0.0.1:0".into()));
    let environment: Environment = borrowed(&variables).into_iter().collect();
    let config = Config::load(None, &environment).unwrap().config;
    Server::bind(&config).await.unwrap_err().to_string()
}

/// A proxy that signs requests anew would let every client in.
#[tokio::test]
async fn a_bucket_that_takes_any_keys_vouches_for_no_client() {
    let said = refusal(&FakeS3::start(&[]).await).await;
    assert!(said.starts_with("auth.bucketkeys: the bucket takes any keys"), "{said}");
}

#[tokio::test]
async fn a_bucket_to_which_pounce_may_not_write_has_no_object_for_logins() {
    let s3 = bucket(&[]).await;
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    s3.on("PutObject", 1000, move |_| async move { Some((403, Vec::new(), denied.into())) });
    let said = refusal(&s3).await;
    assert!(said.starts_with("auth.bucketkeys: ") && said.contains("AccessDenied"), "{said}");
}

#[test]
fn settings_that_do_not_go_together() {
    let s3 = "storage: {s3: {bucket: b, region: auto, accesskey: a, secretkey: b}}\n";
    let oidc = "oidc: [{name: bucket, issuer: 'https://x', audience: y, claims: {a: [b]}, user: '{a}'}]";
    for (text, named) in [
        ("auth: {bucketkeys: true}".to_owned(), ["auth.bucketkeys (", ": need storage.s3"]),
        (format!("{s3}auth: {{bucketkeys: true, {oidc}}}"), ["auth.oidc.0.name (", ": is what the names"]),
        (
            format!("{s3}auth: {{bucketkeys: true, token: {{realm: 'https://x', service: s, issuer: i, jwks: /x}}}}"),
            ["auth.bucketkeys (", ": are beside"],
        ),
        (format!("{s3}auth: {{bucketkeys: true, anonymous: [pull]}}"), ["auth.anonymous (", ": is for"]),
        (
            format!("{s3}auth: {{htpasswd: {{path: /x}}, rules: [{{users: ['bucket:*'], actions: [pull]}}]}}"),
            ["auth.rules.0.users (", ": auth.bucketkeys is not true"],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yml");
        std::fs::write(&path, &text).unwrap();
        let error = Config::load(Some(&path), &Environment::default()).unwrap_err().to_string();
        assert!(named.iter().all(|words| error.contains(words)), "{text}: {error}");
    }
    // `none` in a variable means that no client logs in.
    let none = [
        ("REGISTRY_AUTH", "none"),
        ("REGISTRY_AUTH_BUCKETKEYS", "true"),
        ("REGISTRY_STORAGE_S3_BUCKET", "b"),
        ("REGISTRY_STORAGE_S3_REGION", "auto"),
    ];
    let environment: Environment = none.into_iter().collect();
    let error = Config::load(None, &environment).unwrap_err().to_string();
    assert!(error.contains("auth.bucketkeys"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_whether_the_bucket_tells_what_keys_may() {
    let said = async |s3: &FakeS3| {
        let mut variables = s3.variables();
        variables.push(("REGISTRY_HTTP_SECRET", "x".into()));
        variables.push(("REGISTRY_AUTH_BUCKETKEYS", "true".into()));
        check(&variables).await
    };
    let s3 = bucket(&[]).await;
    let (status, output) = said(&s3).await;
    assert_eq!(status, 0, "{output}");
    assert!(output.contains("ok auth: users log in with keys of the bucket"), "{output}");
    assert!(output.contains("ok keys as logins: "), "{output}");
    let (status, output) = said(&FakeS3::start(&[]).await).await;
    assert!(status == 2 && output.contains("failed keys as logins: "), "{output}");
    s3.know(PAIRS);
    s3.on("DeleteObject", 1000, |seen| async move {
        let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        seen.path.contains("_login").then(|| (403, Vec::new(), denied.into()))
    });
    let (status, output) = said(&s3).await;
    assert!(status == 1 && output.contains("may not delete"), "{output}");
    assert!(!output.contains(READER.id));
}
