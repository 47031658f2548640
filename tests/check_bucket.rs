//! `pounce check` with buckets that lack a feature: one line for each, which names the consequence.

use crate::check::check;
use crate::support::front::PUT_NOTE;
use crate::support::{FakeS3, Rule};

/// The subject of each line, and words in it.
type Lines = &'static [(&'static str, &'static str)];

/// The output of `check` for a bucket with these rules.
async fn said(s3: &FakeS3, more: &[(&'static str, &str)]) -> (i32, String) {
    let mut variables = s3.variables();
    variables.push(("REGISTRY_HTTP_SECRET", "x".into()));
    if more.iter().all(|(name, _)| !name.starts_with("REGISTRY_AUTH")) {
        variables.push(("REGISTRY_AUTH_ANONYMOUS", "pull,push,delete".into()));
    }
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    variables.extend(more);
    check(&variables).await
}

fn wrong(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("failed ")).collect()
}

fn warnings(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with("warning ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_has_everything() {
    for tigris in ["false", "true"] {
        let s3 = FakeS3::start(&[Rule::EqualParts]).await;
        let (status, said) = said(&s3, &[("REGISTRY_STORAGE_S3_TIGRIS", tigris)]).await;
        assert_eq!((status, wrong(&said)), (0, vec![]), "{said}");
        let mut lines = vec![
            "ok list",
            "ok presigned GET with a login",
            "ok multipart",
            "ok list of parts",
            "ok list of uploads",
            "ok conditional write",
            "ok conditional delete",
            "ok lifecycle",
            "ok delete",
        ];
        if tigris == "true" {
            lines.push("ok rename");
        } else {
            lines.extend(["ok copy: ", "ok copy in parts"]);
        }
        for line in lines {
            assert!(said.contains(line), "{line}: {said}");
        }
        assert_eq!(s3.keys(), [""; 0]);
        assert_eq!(s3.open_uploads(), [""; 0]);
        // The copied part is as large as a push's parts.
        if tigris == "false" {
            assert_eq!(s3.completed()[1][0], 5 << 20);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bucket_lacks_is_said_with_what_will_not_work() {
    let cases: [(&[Rule], Lines); 7] = [
        (&[Rule::NoDelimiter], &[("list", "cannot be listed")]),
        (&[Rule::IgnoresDelimiter], &[("list", "cannot be listed")]),
        (&[Rule::NoListParts], &[("list of parts", "in chunks")]),
        (&[Rule::NoUploadPartCopy], &[("copy in parts", "multipartcopythresholdsize")]),
        (
            &[Rule::FullDisk(507)],
            &[("write", "make room"), ("multipart", "make room"), ("conditional write", "make room")],
        ),
        (&[Rule::Clock(3600)], &[("bucket", "60 minutes behind")]),
        (&[Rule::Clock(-3600)], &[("bucket", "60 minutes ahead of")]),
    ];
    for (rules, expected) in cases {
        let s3 = FakeS3::start(rules).await;
        let (status, said) = said(&s3, &[]).await;
        let lines = wrong(&said);
        assert_eq!((status, lines.len()), (2, expected.len()), "{said}");
        for (line, (name, words)) in lines.iter().zip(expected) {
            let fits = line.starts_with(&format!("failed {name}: ")) && line.contains(words);
            assert!(fits, "{rules:?}: {line}");
        }
        assert_eq!(s3.keys(), [""; 0], "{rules:?}");
        assert_eq!(s3.open_uploads(), [""; 0], "{rules:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_conditions_is_a_warning() {
    let s3 = FakeS3::start(&[Rule::IgnoresConditions]).await;
    let (status, said) = said(&s3, &[]).await;
    let (failed, warnings) = (wrong(&said), warnings(&said));
    assert_eq!((status, failed.len(), warnings.len()), (1, 0, 2), "{said}");
    for (line, (name, words)) in warnings
        .iter()
        .zip([("conditional write", "If-None-Match and If-Match"), ("conditional delete", "can be lost")])
    {
        assert!(line.starts_with(&format!("warning {name}: ")) && line.contains(words), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_beside_a_presigned_url_matters_where_clients_send_it_on() {
    let s3 = FakeS3::start(&[Rule::RefusesAuthorization]).await;
    let (status, told) = said(&s3, &[]).await;
    assert_eq!((status, wrong(&told)), (0, vec![]), "{told}");
    let note = told.lines().find(|line| line.contains("with a login"));
    let note = note.unwrap();
    assert!(note.starts_with("ok ") && note.contains("400"), "{note}");
    // With the embedded bucket's URLs, clients send the login to the registry's own host.
    let users = "a:$2b$04$abcdefghijklmnopqrstuv";
    let variables = [("REGISTRY_HTTP_HOST", "https://127.0.0.1"), ("REGISTRY_AUTH_HTPASSWD_USERS", users)];
    let (_, told) = said(&s3, &variables).await;
    let lines = wrong(&told);
    let found = lines.iter().find(|line| line.contains("with a login"));
    assert!(found.is_some_and(|line| line.contains("redirectendpoint")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifecycle_that_puts_objects_out_of_reach() {
    let rule = |filter: &str, status: &str, class: &str| {
        format!(
            "<LifecycleConfiguration><Rule><ID>cold</ID>{filter}<Status>{status}</Status><Transition><Days>30</Days>\
             <StorageClass>{class}</StorageClass></Transition></Rule></LifecycleConfiguration>"
        )
    };
    let prefix = |prefix: &str| format!("<Filter><Prefix>{prefix}</Prefix></Filter>");
    let tag = "<Filter><Tag><Key>a</Key><Value>b</Value></Tag></Filter>";
    let and = "<Filter><And><Prefix>docker/</Prefix><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan></And></Filter>";
    let old = "<Prefix>docker/registry</Prefix>";
    let cases = [
        (200, rule(&prefix(""), "Enabled", "GLACIER"), 1),
        (200, rule("<Filter></Filter>", "Enabled", "DEEP_ARCHIVE"), 1),
        (200, rule(&prefix("docker/registry/v2/blobs/"), "Enabled", "GLACIER"), 1),
        (200, rule(and, "Enabled", "GLACIER"), 1),
        (200, rule(old, "Enabled", "GLACIER"), 1),
        (200, rule(&prefix("logs/"), "Enabled", "GLACIER"), 0),
        (200, rule(&prefix(""), "Disabled", "GLACIER"), 0),
        (200, rule(&prefix(""), "Enabled", "GLACIER_IR"), 0),
        (200, rule(tag, "Enabled", "GLACIER"), 0),
        (403, "<Error><Code>AccessDenied</Code></Error>".to_owned(), 0),
        (501, "<Error><Code>NotImplemented</Code></Error>".to_owned(), 0),
        (405, String::new(), 0),
    ];
    for (status, body, expected) in cases {
        let s3 = FakeS3::start(&[]).await;
        let answer = body.clone();
        s3.on("GetBucketLifecycle", 10, move |_| {
            let said = (status, Vec::new(), answer.clone().into());
            async move { Some(said) }
        });
        let (ended, said) = said(&s3, &[]).await;
        let lines = wrong(&said);
        assert_eq!((ended, lines.len()), (2 * expected, usize::from(expected > 0)), "{body}: {said}");
        assert!(lines.iter().all(|line| line.starts_with("failed lifecycle: ")), "{said}");
        assert!(status == 200 || said.contains("ok lifecycle: not tried"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_not_advised_as_a_bucket_is() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let root = file.join("data");
    let variables = [
        ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root.display().to_string()),
        ("REGISTRY_HTTP_SECRET", "x".into()),
    ];
    let (status, said) = check(&variables).await;
    assert_eq!(status, 2);
    let lines = wrong(&said);
    let named = lines[0].contains(&root.display().to_string());
    assert!(named && !said.contains("check storage.s3"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_allow_to_collect_garbage() {
    let gc = ("REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED", "true");
    let s3 = FakeS3::start(&[Rule::EqualParts]).await;
    let (_, told) = said(&s3, &[gc]).await;
    assert!(told.contains("ok garbage collection") && s3.keys().is_empty(), "{told}");
    for (operation, permission) in [
        ("PutObject", "s3:PutObject"),
        ("GetObject", "s3:GetObject"),
        ("ListObjectsV2", "s3:ListBucket"),
        ("DeleteObject", "s3:DeleteObject"),
    ] {
        for (prefix, others) in [("pounce/pulled/", "pounce/gc/"), ("pounce/gc/", "pounce/pulled/")] {
            let s3 = FakeS3::start(&[Rule::EqualParts]).await;
            for named in [operation, PUT_NOTE] {
                s3.on(named, usize::MAX, move |seen| async move {
                    let is_there = seen.path.contains(prefix) || seen.path.contains(&prefix.replace('/', "%2F"));
                    let is_it = named != PUT_NOTE || operation == "PutObject";
                    (is_there && is_it).then(|| (403, Vec::new(), "<Error><Code>AccessDenied</Code></Error>".into()))
                });
            }
            let (status, told) = said(&s3, &[gc]).await;
            let line = told.lines().find(|line| line.starts_with("failed garbage collection: ")).unwrap_or_default();
            let next = format!("allow {permission} for {prefix}*");
            assert!(status == 2 && line.contains(&next) && !told.contains(others), "{next}: {told}");
        }
        // Without it, nothing is asked of these prefixes.
        assert!(!said(&s3, &[]).await.1.contains("garbage collection"));
    }
}
