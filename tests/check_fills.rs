//! `pounce check` of what fills of large blobs need: their prefix, and how chunks become a blob.

use crate::check::check;
use crate::support::scripted::Said;
use crate::support::{FakeS3, Rule, Upstream};

const PREFIX: &str = "pounce/fills/";

/// The output of `check` for a pull-through registry over this bucket, in which it leaves nothing.
async fn said(s3: &FakeS3, more: &[(&'static str, &str)]) -> (i32, String) {
    let upstream = Upstream::start().await;
    let mut variables = s3.variables();
    variables.extend([("REGISTRY_HTTP_SECRET", "x".into()), ("REGISTRY_PROXY_REMOTEURL", upstream.url())]);
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let said = check(&variables).await;
    assert_eq!(s3.open_uploads(), [""; 0], "{}", said.1);
    said
}

fn line<'a>(said: &'a str, start: &str) -> &'a str {
    said.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {said}"))
}

/// The bucket's keys allow nothing of this below the prefix.
fn deny(s3: &FakeS3, operation: &'static str) {
    s3.on(operation, usize::MAX, |seen| async move {
        let denied: Said = (403, Vec::new(), "<Error><Code>AccessDenied</Code></Error>".into());
        let is_fill =
            seen.path.contains(PREFIX) || seen.path.contains("prefix=pounce%2Ffills") || seen.method == "POST";
        is_fill.then_some(denied)
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_shares_fills() {
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let (status, said) = said(&s3, &[]).await;
    assert!(!said.contains("\nfailed "), "{said}");
    assert!(line(&said, "ok fills: ").ends_with("deleted by one request"), "{said}");
    // Which of both is faster is not for a test to say.
    let compared = said.lines().find(|line| line.contains(" compose: ") && line.contains("copied in")).unwrap();
    let is_slower = compared.contains("set proxy.fill.compose: send");
    assert_eq!(compared.starts_with("warning "), is_slower, "{compared}");
    assert_eq!(status, i32::from(is_slower), "{said}");
    assert_eq!(s3.keys(), [""; 0]);
    // Chunks are copied whole, and sent as often.
    let copied: Vec<_> = s3.seen("UploadPartCopy");
    let whole = copied.iter().filter(|seen| !seen.headers.contains_key("x-amz-copy-source-range")).count();
    assert!([2, 3].contains(&whole), "{whole}");
    let puts = s3.seen("PutObject");
    // A chunk and a head first.
    assert_eq!(puts.iter().filter(|seen| seen.path.contains(PREFIX)).count(), 2 + whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fills_lack_is_said_with_what_follows() {
    let cases: [(&str, &[&str]); 3] = [
        ("PutObject", &["pounce/fills/*", "(proxy.fill.memory) has no room for cannot be pulled"]),
        ("GetObject", &["pounce/fills/*", "(proxy.fill.memory) has no room for cannot be pulled"]),
        ("DeleteObjects", &["stay in the bucket"]),
    ];
    for (operation, words) in cases {
        let s3 = FakeS3::start(&[]).await;
        deny(&s3, operation);
        let (status, said) = said(&s3, &[]).await;
        let wrong: Vec<_> = said.lines().filter(|line| line.starts_with("failed ")).collect();
        assert_eq!((status, wrong.len()), (2, 1), "{operation}: {said}");
        let fits = wrong[0].starts_with("failed fills: ") && words.iter().all(|word| wrong[0].contains(word));
        assert!(fits, "{operation}: {}", wrong[0]);
    }
    let s3 = FakeS3::start(&[Rule::IgnoresConditions]).await;
    let (_, said) = said(&s3, &[]).await;
    assert!(line(&said, "warning conditional write: ").contains("replicas do not share"), "{said}");
    assert!(line(&said, "ok fills: ").contains("deleted"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pounce_does_without_is_no_failure() {
    let s3 = FakeS3::start(&[Rule::NoUploadPartCopy, Rule::NeedsContentMd5]).await;
    let (_, told) = said(&s3, &[]).await;
    assert!(line(&told, "warning compose: ").contains("UploadPartCopy"), "{told}");
    assert!(line(&told, "ok fills: ").ends_with("deleted one by one"), "{told}");
    assert_eq!(s3.keys(), [""; 0]);
    // What is set is not measured.
    let s3 = FakeS3::start(&[]).await;
    let (status, told) = said(&s3, &[("REGISTRY_PROXY_FILL_COMPOSE", "send")]).await;
    assert!(status == 0 && !told.contains(" compose: "), "{told}");
    // A registry without an upstream fills nothing.
    let s3 = FakeS3::start(&[]).await;
    let mut variables = s3.variables();
    variables.push(("REGISTRY_HTTP_SECRET", "x".into()));
    check(&variables).await;
    assert!(!s3.all_seen().iter().any(|(_, seen)| seen.path.contains("pounce")));
}
