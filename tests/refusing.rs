//! A bucket that refuses, and pounce's reports of it: to the operator at start, to probes, and to clients.

use std::time::{Duration, Instant};

use crate::check::run;
use crate::support::image::{digest, noise};
use crate::support::{FakeS3, Pounce, Process, Rule, Scripted, borrowed};

/// The variables without credentials.
fn bare(s3: &FakeS3) -> Vec<(&'static str, String)> {
    let mut variables = s3.variables();
    variables.retain(|(name, _)| !name.ends_with("KEY"));
    variables.push(("REGISTRY_HTTP_ADDR", "127.0.0.1:0".into()));
    variables.push(("REGISTRY_HTTP_SECRET", "x".into()));
    variables
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_are_one_sentence() {
    let s3 = FakeS3::start(&[]).await;
    // A machine outside any cloud: the metadata address does not answer.
    let silent = Scripted::start(|_| async {
        tokio::time::sleep(Duration::from_mins(5)).await;
        (500, Vec::new(), "".into())
    })
    .await;
    let role = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent.url());
    let none = ("AWS_EC2_METADATA_DISABLED", "true".to_owned());
    for more in [role, none] {
        for (command, failure) in [("serve", 1), ("check", 2)] {
            let mut variables = bare(&s3);
            variables.push(more.clone());
            let (status, said, errors) = run(&[command], &borrowed(&variables), "").await;
            assert_eq!(status, failure, "{said}{errors}");
            let all = format!("{said}{errors}");
            let line = all.lines().find(|line| line.contains("no credentials"));
            let line = line.unwrap_or_else(|| panic!("{all}"));
            for name in ["storage.s3.accesskey", "secretkey", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
                assert!(line.contains(name), "{line}");
            }
            assert!(line.len() < 400 && !line.contains("regionendpoint"), "{line}");
        }
    }
    assert_eq!(s3.total(), 0);
    // Invalid credentials are reported with their source.
    let folder = tempfile::TempDir::new().unwrap();
    let profiles = folder.path().join("credentials");
    std::fs::write(&profiles, "[default\nnonsense").unwrap();
    let mut variables = bare(&s3);
    variables.push(("AWS_EC2_METADATA_DISABLED", "true".into()));
    let path = profiles.display().to_string();
    variables.push(("AWS_SHARED_CREDENTIALS_FILE", path));
    let (status, _, errors) = run(&["serve"], &borrowed(&variables), "").await;
    assert_eq!(status, 1);
    let line = errors.lines().last().unwrap();
    assert!(line.contains("AWS_ACCESS_KEY_ID") && line.contains("profile"), "{line}");
}

/// As AWS answers (301 and 400 with the region), and Garage (400 without).
#[tokio::test(flavor = "multi_thread")]
async fn another_region_is_not_taken_for_a_bucket_that_cannot_be_reached() {
    for (status, told) in [(301, Some("eu-west-1")), (400, Some("eu-west-1")), (400, None)] {
        let s3 = FakeS3::start(&[]).await;
        s3.on("HeadBucket", 10, move |_| async move {
            let told = told.map(|region| ("x-amz-bucket-region", region.to_owned()));
            Some((status, told.into_iter().collect(), "".into()))
        });
        let mut variables = s3.variables();
        variables.push(("REGISTRY_HTTP_ADDR", "127.0.0.1:0".into()));
        for command in ["serve", "check"] {
            let (_, said, errors) = run(&[command], &borrowed(&variables), "").await;
            let all = format!("{said}{errors}");
            assert!(all.contains("storage.s3.region:"), "{all}");
            assert_eq!(all.contains("it is in eu-west-1"), told.is_some(), "{all}");
            assert!(!all.contains("check storage.s3.regionendpoint"), "{all}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_not_taken_for_wrong_credentials() {
    for (skew, words) in [(3600, "60 minutes behind"), (-1200, "20 minutes ahead of")] {
        let s3 = FakeS3::start(&[Rule::Clock(skew)]).await;
        let mut variables = s3.variables();
        variables.push(("REGISTRY_HTTP_ADDR", "127.0.0.1:0".into()));
        let (status, _, errors) = run(&["serve"], &borrowed(&variables), "").await;
        assert_eq!(status, 1);
        let line = errors.lines().last().unwrap();
        assert!(line.contains(words) && line.contains("NTP"), "{line}");
        assert!(!line.contains("credentials"), "{line}");
    }
    // A smaller skew is accepted, with a warning.
    let s3 = FakeS3::start(&[Rule::Clock(480)]).await;
    let process = Process::start(&borrowed(&s3.variables()));
    process.terminate();
    let (_, log) = process.end();
    assert!(log.contains("8 minutes behind"), "{log}");
    // A refusal by a bucket with the right clock gets another reason.
    let s3 = FakeS3::start(&[]).await;
    s3.on("HeadBucket", 10, |_| async { Some((403, Vec::new(), "".into())) });
    let (_, _, errors) = run(&["serve"], &borrowed(&s3.variables()), "").await;
    assert!(errors.contains("refuses these credentials"), "{errors}");
}

async fn until_ready(pounce: &Pounce, status: u16) -> String {
    let began = Instant::now();
    loop {
        let reply = pounce.get("/readyz").await;
        if reply.status == status {
            return String::from_utf8(reply.body.to_vec()).unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{reply:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_bucket_is_said_to_clients_and_to_probes_until_there_is_room() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let stored = noise(1, 1000);
    pounce.push("a/b", stored.clone()).await;
    until_ready(&pounce, 200).await;

    s3.rules(&[Rule::FullDisk(507)]);
    s3.take();
    let blob = noise(2, 1000);
    let location = pounce.begin("a/b").await;
    let reply = pounce.close(&location, &digest(&blob), blob.clone()).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"));
    let told = String::from_utf8(reply.body.to_vec()).unwrap();
    assert!(told.contains("full"), "{told}");
    // The blob, and its link unless that one had failed before it left. A retry does not help, so there is none.
    assert!((1..=2).contains(&s3.take()["PutObject"]));
    let why = until_ready(&pounce, 503).await;
    assert!(why.contains("takes no writes"), "{why}");
    assert_eq!(pounce.pull("a/b", &digest(&stored)).await, stored);

    s3.rules(&[]);
    until_ready(&pounce, 200).await;
    pounce.push("a/b", blob).await;
    assert!(!s3.keys().iter().any(|key| key.contains("_check")));
    // A write that succeeded tells enough: further probes only look whether the bucket is there.
    pounce.until_quiet().await;
    s3.take();
    let (began, probes) = (Instant::now(), s3.seen("HeadBucket").len());
    while s3.seen("HeadBucket").len() < probes + 2 {
        until_ready(&pounce, 200).await;
        assert!(began.elapsed() < Duration::from_secs(20), "the bucket is not asked again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(s3.take().get("PutObject"), None);
}

#[tokio::test]
async fn a_folder_is_tried_once_before_it_is_ready_and_nothing_stays() {
    let pounce = Pounce::with(&[]).await;
    until_ready(&pounce, 200).await;
    assert_eq!(pounce.objects(), [""; 0]);
}
