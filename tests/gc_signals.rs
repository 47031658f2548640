//! SIGTERM and SIGINT in the middle of a garbage collection: it ends soon, and the next one goes on.

use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::support::faults::Held;
use crate::support::{FakeS3, Image, Pounce, Process, borrowed};

const DAY: Duration = Duration::from_hours(24);
const STATE: &str = "docker/registry/v2/_gc/state";
const HISTORY: &str = "docker/registry/v2/repositories/a/gone/_manifests/tags/old/index/sha256/";

fn state(s3: &FakeS3) -> Value {
    serde_json::from_slice(&s3.object(STATE).unwrap()).unwrap()
}

/// The blobs of the image that a client deleted.
fn garbage(s3: &FakeS3) -> usize {
    let of_image = |key: &String| key.contains("a/gone/_layers/") || key.contains("/blobs/");
    // Those of the other image.
    s3.keys().iter().filter(|key| of_image(key)).count() - 3
}

/// A bucket with a batch that is due: an entry of a tag that is gone, the first to be deleted, and the links and blobs of
/// a deleted manifest.
async fn bucket() -> FakeS3 {
    let s3 = FakeS3::start(&[]).await;
    let mut pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let (kept, deleted) = (Image::new(1, &[1000]), Image::new(2, &[2000]));
    pounce.push_image("a/kept", "v1", &kept).await;
    pounce.push_image("a/gone", "v1", &deleted).await;
    let path = format!("/v2/a/gone/manifests/{}", deleted.digest());
    assert_eq!(pounce.send(pounce.request("DELETE", &path)).await.status, 202);
    pounce.end().await;
    let hex = deleted.digest().replace("sha256:", "");
    s3.put(&format!("{HISTORY}{hex}/link"), deleted.digest());
    s3.age("docker/registry/", DAY * 3);
    let first = gc(&s3).wait_with_output().unwrap();
    assert!(first.status.success(), "{first:?}");
    let mut due = state(&s3);
    for batch in due["batches"].as_array_mut().unwrap() {
        batch["published"] = (batch["published"].as_u64().unwrap() - 2 * DAY.as_secs()).into();
    }
    s3.put(STATE, due.to_string());
    // The servers think that a round is due.
    assert!(s3.remove("pounce/gc/round"));
    assert_eq!(garbage(&s3), 5);
    s3
}

/// `pounce gc`, running.
fn gc(s3: &FakeS3) -> Child {
    let mut command = Command::new(crate::support::program());
    command.arg("gc").env_clear().envs(borrowed(&s3.variables()));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Holds the DELETE of the entry of a tag.
fn hold_first_delete(s3: &FakeS3) -> Arc<Held> {
    let held = Arc::new(Held::default());
    let waits = Arc::clone(&held);
    s3.on("DeleteObject", usize::MAX, move |seen| {
        let held = Arc::clone(&waits);
        async move {
            if seen.path.contains("/tags/old/") {
                held.wait().await;
            }
            None
        }
    });
    held
}

fn send(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

async fn end(child: Child) -> (Option<i32>, String) {
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let Output { status, stdout, stderr } =
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// The next round does what the first one left.
async fn goes_on(s3: &FakeS3) {
    let (status, said) = end(gc(s3)).await;
    assert_eq!((status, garbage(s3)), (Some(0), 0), "{said}");
    assert!(state(s3)["batches"].as_array().unwrap().iter().all(|batch| batch["spent"].is_number()), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_pounce_gc_reads_the_bucket() {
    for signal in ["-TERM", "-INT"] {
        let s3 = bucket().await;
        // The bucket does not answer.
        let held = s3.hold("ListObjectsV2");
        let child = gc(&s3);
        held.came().await;
        send(signal, child.id());
        let (status, said) = end(child).await;
        assert!(status == Some(1) && said.contains("interrupted: nothing was done"), "{signal}: {said}");
        assert_eq!((garbage(&s3), &state(&s3)["holder"]), (5, &Value::Null));
        goes_on(&s3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_pounce_gc_deletes() {
    for signal in ["-TERM", "-INT"] {
        let s3 = bucket().await;
        let held = hold_first_delete(&s3);
        let child = gc(&s3);
        held.came().await;
        send(signal, child.id());
        // The signal arrives before the answer.
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.release();
        let (status, said) = end(child).await;
        assert!(status == Some(1) && said.contains("it was stopped"), "{signal}: {said}");
        // The request that was under way is done, and nothing more.
        assert_eq!(s3.keys().iter().filter(|key| key.starts_with(HISTORY)).count(), 0, "{said}");
        let left = state(&s3);
        assert_eq!((garbage(&s3), &left["holder"], &left["batches"][0]["spent"]), (5, &Value::Null, &Value::Null));
        goes_on(&s3).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_a_server_deletes() {
    let variables = |s3: &FakeS3, more: &[(&'static str, &str)]| {
        let mut variables = s3.variables();
        variables.push(("REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED", "true".into()));
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        variables
    };
    // The bucket answers, or not before the process must end.
    for answers in [true, false] {
        let s3 = bucket().await;
        let held = hold_first_delete(&s3);
        let process = Process::start(&borrowed(&variables(&s3, &[("REGISTRY_HTTP_DRAINTIMEOUT", "1s")])));
        held.came().await;
        process.terminate();
        if answers {
            tokio::time::sleep(Duration::from_millis(300)).await;
            held.release();
        }
        let (status, log) = tokio::task::spawn_blocking(|| process.end()).await.unwrap();
        assert_eq!(status, 0, "{log}");
        let left = state(&s3);
        assert_eq!((garbage(&s3), &left["batches"][0]["spent"]), (5, &Value::Null), "{log}");
        // Without an answer, the process may end before its lease; another one takes that over after a while.
        assert!(left["holder"].is_null() || !answers, "{log}");
        s3.age(STATE, Duration::from_mins(3));
        s3.forget_hooks();
        goes_on(&s3).await;
    }
}
