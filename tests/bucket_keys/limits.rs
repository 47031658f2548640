//! Many logins, guesses, and a bucket that does not answer.

use std::time::Duration;

use futures_util::future::join_all;

use super::{ALL, EDITOR, LOGIN, READER, ask, asked, bucket, login, over};
use crate::support::process::command;
use crate::support::{Process, Rule, borrowed};

#[tokio::test]
async fn equal_logins_at_the_same_time_ask_once() {
    let s3 = bucket(&[]).await;
    let pounce = over(&s3, &[]).await;
    let replies = join_all((0..50).map(|_| login(&pounce, ALL.id, ALL.secret))).await;
    assert!(replies.iter().all(|reply| reply.status == 200));
    assert_eq!((asked(&s3), pounce.metric("bucket_key_checks").await), (3, 1));
    // Refused ones, too.
    let replies = join_all((0..50).map(|_| login(&pounce, ALL.id, "x"))).await;
    assert!(replies.iter().all(|reply| reply.status == 401));
    assert_eq!((asked(&s3), pounce.metric("bucket_key_checks").await), (4, 2));
}

#[tokio::test]
async fn a_thousand_guesses_are_a_few_requests_to_the_bucket() {
    let s3 = bucket(&[]).await;
    let pounce = over(&s3, &[]).await;
    assert_eq!(login(&pounce, EDITOR.id, EDITOR.secret).await.status, 200);
    let (before, mut refused) = (asked(&s3), 0);
    for guess in 0..500 {
        let reply = login(&pounce, READER.id, &format!("guess-{guess}")).await;
        if reply.status == 429 {
            assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
            refused += 1;
        } else {
            assert_eq!(reply.status, 401);
        }
    }
    // Other ids from the same address.
    for guess in 0..500 {
        let reply = login(&pounce, &format!("tid_made_up_{guess:08}"), "x").await;
        assert!([401, 429].contains(&reply.status));
        refused += usize::from(reply.status == 429);
    }
    let sent = asked(&s3) - before;
    assert_eq!(sent, 1000 - refused);
    assert!(sent < 100, "{sent}");
    // Known keys go on.
    assert_eq!(login(&pounce, EDITOR.id, EDITOR.secret).await.status, 200);
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_makes_no_keys_wrong() {
    let s3 = bucket(&[]).await;
    let pounce = over(&s3, &[]).await;
    for operation in ["GetObject", "PutObject", "DeleteObject"] {
        s3.on(operation, 100, |_| async { Some((500, Vec::new(), "".into())) });
        let reply = login(&pounce, ALL.id, ALL.secret).await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{operation}");
        assert_eq!(reply.header("retry-after"), "5");
        s3.forget_hooks();
    }
    // More often than keys may be guessed.
    s3.on("GetObject", 100, |_| async { Some((500, Vec::new(), "".into())) });
    for _ in 0..12 {
        assert_eq!(login(&pounce, ALL.id, ALL.secret).await.status, 503);
    }
    s3.forget_hooks();
    assert_eq!(login(&pounce, ALL.id, ALL.secret).await.status, 200);
    // While it does not answer, keys that it named go on, and others are neither right nor wrong.
    s3.on("GetObject", 100, |_| async {
        tokio::time::sleep(Duration::from_mins(1)).await;
        None
    });
    assert_eq!(ask(&pounce, &ALL, "GET", "/v2/a/tags/list").await.status, 404);
    assert_eq!(login(&pounce, READER.id, READER.secret).await.status, 503);
    let results = pounce.metrics().await;
    for line in ["{result=\"accepted\"} 1", "{result=\"refused\"} 0", "{result=\"unavailable\"} 16"] {
        assert!(results.contains(&format!("pounce_bucket_key_checks_total{line}")), "{line}");
    }
    // What clients' keys get is no sign of how the bucket answers pounce.
    assert!(results.lines().any(|line| line.starts_with("pounce_bucket_failing_seconds 0")), "{results}");
}

/// An object that is deleted, by another program or a rule of the bucket's lifecycle, is written again.
#[tokio::test]
async fn the_object_that_keys_read_comes_back() {
    let s3 = bucket(&[]).await;
    let pounce = over(&s3, &[]).await;
    assert!(s3.remove(LOGIN));
    assert_eq!(login(&pounce, "tid_nobody_012345678", "x").await.status, 401);
    assert_eq!(s3.object(LOGIN), None, "a guess makes pounce write");
    assert_eq!(login(&pounce, READER.id, READER.secret).await.status, 200);
    assert!(s3.object(LOGIN).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_no_keys_and_says_once_that_a_clock_is_wrong() {
    let s3 = bucket(&[]).await;
    let variables = s3.variables();
    let folder = tempfile::TempDir::new().unwrap();
    let mut program = command(folder.path());
    program.envs(borrowed(&variables)).env("REGISTRY_AUTH_BUCKETKEYS", "true").env("REGISTRY_LOG_LEVEL", "debug");
    let process = Process::of(program, folder);
    let client = reqwest::Client::new();
    let login = async |id: &str, secret: &str| {
        let request = client.get(process.url("/v2/")).basic_auth(id, Some(secret));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(login(READER.id, READER.secret).await, 200);
    assert_eq!(login(READER.id, "wrong-secret").await, 401);
    // Fields that were mistaken for each other.
    assert_eq!(login("wJalrXUtnFEMI/K7MDENG", READER.id).await, 401);
    assert_eq!(login("tsec_taken_for_an_id_1", READER.id).await, 401);
    // The SDK signs once more by the bucket's clock, which is enough.
    s3.rules(&[Rule::Clock(3600)]);
    assert_eq!(login(EDITOR.id, EDITOR.secret).await, 200);
    s3.on("GetObject", 100, |seen| async move {
        let code = "<Error><Code>RequestTimeTooSkewed</Code><Message>Too far apart.</Message></Error>";
        seen.path.contains(LOGIN).then(|| (403, Vec::new(), code.into()))
    });
    for _ in 0..3 {
        assert_eq!(login(ALL.id, ALL.secret).await, 503);
    }
    process.terminate();
    let (status, log) = process.end();
    assert_eq!(status, 0);
    for secret in [READER.secret, "wrong-secret", "wJalrXUtnFEMI", "tsec_taken", ALL.secret, ALL.id, "Credential="] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    // The access log names a user that has logged in.
    assert_eq!(log.matches(READER.id).count(), log.matches("bucket:tid_reader-012345678").count(), "{log}");
    assert_eq!(log.matches("clock is 60 minutes behind the bucket's").count(), 1, "{log}");
    assert_eq!(log.matches("keys of the bucket were refused").count(), 2, "{log}");
}
