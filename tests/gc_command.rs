//! `pounce gc` and `pounce du`: what they say, what they leave alone, and their exit status.

use std::time::{Duration, Instant};

use pounce::config::Config;
use serde_json::Value;

use crate::check::run;
use crate::support::image::digest;
use crate::support::{FakeS3, Image, Pounce, Process, Rule, borrowed};

const DAY: Duration = Duration::from_hours(24);

/// A bucket with an image, and the blobs of another one that nothing names any more.
async fn bucket(rules: &[Rule]) -> (FakeS3, Image, Image) {
    let s3 = FakeS3::start(rules).await;
    let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let (kept, deleted) = (Image::new(1, &[1000]), Image::new(2, &[2000]));
    pounce.push_image("a/kept", "v1", &kept).await;
    pounce.push_image("a/gone", "v1", &deleted).await;
    let path = format!("/v2/a/gone/manifests/{}", deleted.digest());
    assert_eq!(pounce.send(pounce.request("DELETE", &path)).await.status, 202);
    // It notes what was pulled at its end.
    pounce.end().await;
    s3.age("docker/registry/", DAY * 3);
    (s3, kept, deleted)
}

async fn gc(s3: &FakeS3, arguments: &[&str]) -> (i32, String, String) {
    run(&[&["gc"], arguments].concat(), &borrowed(&s3.variables()), "").await
}

fn has(s3: &FakeS3, bytes: &[u8]) -> bool {
    let hex = digest(bytes).replace("sha256:", "");
    s3.object(&format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])).is_some()
}

/// The batches were published so long ago.
fn published(s3: &FakeS3, before: Duration) {
    let mut state: Value = serde_json::from_slice(&s3.object("docker/registry/v2/_gc/state").unwrap()).unwrap();
    for batch in state["batches"].as_array_mut().unwrap() {
        batch["published"] = (batch["published"].as_u64().unwrap() - before.as_secs()).into();
    }
    s3.put("docker/registry/v2/_gc/state", state.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_and_writes_nothing() {
    let (s3, _, deleted) = bucket(&[]).await;
    let before = s3.keys();
    let (status, text, errors) = gc(&s3, &["--dry-run"]).await;
    assert_eq!((status, &errors[..]), (0, ""));
    for word in ["before     ", "goes       0 tags, 0 manifests, 3 blobs, ", ": unneeded", "requests   "] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("deleted") && !text.contains("condemned"), "{text}");
    let (status, text, _) = gc(&s3, &["--dry-run", "--json"]).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, keys) = lines.split_last().unwrap();
    assert_eq!((status, &report["dry_run"], &report["goes"]["blobs"]["count"]), (0, &true.into(), &3.into()));
    let blobs: Vec<_> = keys.iter().filter(|key| key["kind"] == "blob").map(|key| key["digest"].clone()).collect();
    assert!(blobs.contains(&deleted.digest().into()) && blobs.len() == 3, "{text}");
    assert!(keys.iter().all(|key| key["reason"] == "unneeded" && key["key"].is_string()), "{text}");
    assert_eq!(s3.keys(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nothing_needs_goes_in_the_second_round() {
    let (s3, kept, deleted) = bucket(&[]).await;
    s3.put("docker/registry/v2/repositories/a/kept/_other/thing", "a stranger's");
    let (status, text, errors) = gc(&s3, &[]).await;
    assert_eq!((status, &errors[..]), (0, ""));
    assert!(text.contains("deleted    0 keys") && text.contains("strangers  1 keys"), "{text}");
    // Too early.
    let (_, text, _) = gc(&s3, &[]).await;
    assert!(text.contains("deleted    0 keys") && text.contains("condemned  0 keys now, "), "{text}");
    assert!(has(&s3, &deleted.manifest));
    published(&s3, DAY * 2);
    let (status, text, _) = gc(&s3, &[]).await;
    assert!(status == 0 && text.contains(": 3 blobs, "), "{text}");
    let all = |image: &Image| std::iter::once(&image.manifest).chain(&image.blobs).filter(|it| has(&s3, it)).count();
    assert_eq!((all(&kept), all(&deleted)), (3, 0));
    assert!(s3.object("docker/registry/v2/repositories/a/kept/_other/thing").is_some());
    let (_, text, _) = gc(&s3, &["--dry-run"]).await;
    assert!(text.contains("goes       nothing"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_conditions_needs_an_operator_that_says_so() {
    let (s3, _, deleted) = bucket(&[Rule::IgnoresConditions]).await;
    let before = s3.keys();
    let (status, _, errors) = gc(&s3, &[]).await;
    assert!(status == 2 && errors.contains("--exclusive"), "{errors}");
    assert_eq!(s3.keys(), before);
    let (status, text, errors) = gc(&s3, &["--exclusive"]).await;
    assert_eq!((status, &errors[..]), (0, ""), "{text}");
    published(&s3, DAY * 2);
    assert_eq!(gc(&s3, &["--exclusive"]).await.0, 0);
    assert!(!has(&s3, &deleted.manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_registry_collects_nothing() {
    let (s3, _, deleted) = bucket(&[]).await;
    assert_eq!(gc(&s3, &[]).await.0, 0);
    published(&s3, DAY * 2);
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true".into()));
    let (status, _, errors) = run(&["gc"], &borrowed(&variables), "").await;
    assert!(status == 2 && errors.contains("read-only"), "{errors}");
    let (status, text, _) = run(&["gc", "--dry-run"], &borrowed(&variables), "").await;
    assert!(status == 0 && text.contains("3 blobs"), "{text}");
    let lists = s3.seen("ListObjectsV2").len();
    let change = |config: &mut Config| {
        let gc = &mut config.storage.maintenance.gc;
        (gc.enabled, gc.interval) = (true, Duration::from_millis(50));
    };
    let pounce = Pounce::changed(&borrowed(&variables), change).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    pounce.until_quiet().await;
    assert_eq!(s3.seen("ListObjectsV2").len(), lists);
    assert!(has(&s3, &deleted.manifest));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_collector_and_corrupt_content_are_told() {
    let (s3, kept, deleted) = bucket(&[]).await;
    let hex = kept.digest().replace("sha256:", "");
    let key = format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
    s3.put(&key, "garbage");
    s3.age(&key, DAY * 3);
    let (status, _, errors) = gc(&s3, &[]).await;
    assert!(status == 1 && errors.contains("cannot be read"), "{errors}");
    let mut state: Value = serde_json::from_slice(&s3.object("docker/registry/v2/_gc/state").unwrap()).unwrap();
    state["holder"] = uuid::Uuid::new_v4().to_string().into();
    s3.put("docker/registry/v2/_gc/state", state.to_string());
    let (status, _, errors) = gc(&s3, &[]).await;
    assert!(status == 1 && errors.contains("another process collects garbage"), "{errors}");
    // It died.
    published(&s3, DAY * 2);
    s3.age("docker/registry/v2/_gc/state", Duration::from_mins(3));
    let (status, _, errors) = gc(&s3, &[]).await;
    assert!(status == 1 && errors.contains("cannot be read"), "{errors}");
    // What it named is not known.
    assert!(has(&s3, deleted.layer()) && has(&s3, kept.layer()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_bucket_denies_is_told_with_what_to_allow() {
    let (s3, _, deleted) = bucket(&[]).await;
    assert_eq!(gc(&s3, &[]).await.0, 0);
    published(&s3, DAY * 2);
    let denied = "<Error><Code>AccessDenied</Code></Error>";
    s3.on("DeleteObject", usize::MAX, move |seen| async move {
        seen.path.contains("sha256").then(|| (403, Vec::new(), denied.into()))
    });
    let (status, text, errors) = gc(&s3, &[]).await;
    assert!(status == 1 && text.contains("deleted    0 keys"), "{text}");
    assert!(
        errors.contains("5 keys could not be deleted, as ") && errors.contains("allow s3:DeleteObject"),
        "{errors}"
    );
    assert!(has(&s3, &deleted.manifest));
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED", "true".into()));
    s3.on("GetObject", usize::MAX, move |seen| async move {
        seen.path.contains("pounce/gc/round").then(|| (403, Vec::new(), denied.into()))
    });
    let mut serving = Process::start(&borrowed(&variables));
    let line = serving.until("garbage is not collected");
    assert!(line.contains("pounce/gc/*") && line.contains("WARN"), "{line}");
}

/// A batch costs writers something: it goes when it may, not at the next round.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_retired_between_rounds() {
    let (s3, ..) = bucket(&[]).await;
    assert_eq!(gc(&s3, &[]).await.0, 0);
    published(&s3, DAY * 2);
    let mut state: Value = serde_json::from_slice(&s3.object("docker/registry/v2/_gc/state").unwrap()).unwrap();
    state["batches"][0]["spent"] = (state["batches"][0]["published"].as_u64().unwrap() + 5).into();
    s3.put("docker/registry/v2/_gc/state", state.to_string());
    s3.age("/_gc/batches/", DAY);
    let batches = || s3.keys().into_iter().filter(|key| key.contains("/_gc/batches/")).count();
    assert_eq!(batches(), 1);
    let change = |config: &mut Config| {
        let gc = &mut config.storage.maintenance.gc;
        // A round was a moment ago.
        (gc.enabled, gc.interval) = (true, Duration::from_hours(24));
    };
    let pounce = Pounce::changed(&borrowed(&s3.variables()), change).await;
    let lists = s3.seen("ListObjectsV2").len();
    pounce.until("the batch is retired", |_| batches() == 0).await;
    let state: Value = serde_json::from_slice(&s3.object("docker/registry/v2/_gc/state").unwrap()).unwrap();
    assert_eq!(state["batches"], serde_json::json!([]));
    let lists: Vec<_> = s3.seen("ListObjectsV2").into_iter().skip(lists).map(|seen| seen.path).collect();
    assert!(lists.iter().all(|path| !path.contains("repositories")), "no survey: {lists:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn du_tells_what_a_repository_has_for_itself() {
    let (s3, kept, deleted) = bucket(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    // The same layers under another name, and something of its own.
    pounce.push_image("b/copy", "v1", &kept).await;
    let own = Image::new(5, &[500]);
    pounce.push_image("b/copy", "v2", &own).await;
    let before = s3.keys();
    let (status, text, errors) = run(&["du", "--json"], &borrowed(&s3.variables()), "").await;
    assert_eq!((status, &errors[..]), (0, ""));
    let usage: Value = serde_json::from_str(&text).unwrap();
    let bytes =
        |image: &Image| (image.manifest.len() + image.blobs.iter().map(bytes::Bytes::len).sum::<usize>()) as u64;
    let of = |name: &str| {
        let all = usage["repositories"].as_array().unwrap();
        let found = all.iter().find(|it| it["repository"] == name).unwrap();
        (found["own"]["bytes"].as_u64().unwrap(), found["shared"]["bytes"].as_u64().unwrap())
    };
    assert_eq!((of("a/kept"), of("b/copy")), ((0, bytes(&kept)), (bytes(&own), bytes(&kept))));
    assert_eq!(usage["unneeded"]["bytes"].as_u64().unwrap(), bytes(&deleted), "{usage}");
    assert_eq!(usage["repositories"][0]["repository"], "b/copy");
    let (status, text, _) = run(&["du"], &borrowed(&s3.variables()), "").await;
    assert!(status == 0 && text.lines().nth(1).unwrap().ends_with("b/copy"), "{text}");
    assert_eq!(s3.keys(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_processes_collect_one_at_a_time() {
    let s3 = FakeS3::start(&[]).await;
    let change = |config: &mut Config| {
        let gc = &mut config.storage.maintenance.gc;
        (gc.enabled, gc.interval, gc.delay) = (true, Duration::from_millis(300), Some(Duration::from_secs(1)));
        let timing = &mut config.storage.gc_timing;
        (timing.knowledge, timing.belief) = (Duration::from_millis(100), Duration::from_millis(100));
    };
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(Pounce::changed(&borrowed(&s3.variables()), change).await);
    }
    let (kept, deleted) = (Image::new(1, &[1000]), Image::new(2, &[2000]));
    replicas[0].push_image("a/kept", "v1", &kept).await;
    replicas[0].push_image("a/gone", "v1", &deleted).await;
    let path = format!("/v2/a/gone/manifests/{}", deleted.digest());
    assert_eq!(replicas[0].send(replicas[0].request("DELETE", &path)).await.status, 202);
    let all = |image: &Image| std::iter::once(&image.manifest).chain(&image.blobs).filter(|it| has(&s3, it)).count();
    replicas[0].until("what nothing needs is gone", |_| all(&deleted) == 0).await;
    assert_eq!(all(&kept), 3);
    // Blobs, and their links; figures come at the end of a round.
    let began = Instant::now();
    let mut deletions = 0;
    while deletions < 5 {
        assert!(began.elapsed() < Duration::from_secs(20), "{deletions}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        deletions = 0;
        for replica in &replicas {
            deletions += replica.metric("gc_deleted_keys").await;
        }
    }
    for mut replica in replicas {
        replica.end().await;
    }
    // Ended in order: no process has the lease.
    let state: Value = serde_json::from_slice(&s3.object("docker/registry/v2/_gc/state").unwrap()).unwrap();
    assert_eq!(state["holder"], Value::Null);
    let round: Value = serde_json::from_slice(&s3.object("pounce/gc/round").unwrap()).unwrap();
    assert_eq!(round["dry_run"], false);
}
