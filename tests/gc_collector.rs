//! A collector of garbage beside pushes: what goes, what is kept, and who may collect.

use std::time::{Duration, SystemTime};

use pounce::config::{Config, Environment, GcTiming};
use pounce::internals::gc_round;
use pounce::store::{Key, Store};

use crate::support::{FakeS3, Image, Pounce, Rule, borrowed};

/// A spent batch binds writers for a minute.
const TIMING: fn() -> GcTiming = || GcTiming { retire: Duration::from_mins(1), ..GcTiming::default() };

async fn store(variables: &[(&'static str, String)]) -> Store {
    let environment: Environment = borrowed(variables).into_iter().collect();
    let config = Config::load(None, &environment).unwrap().config;
    Store::connect(&config.storage).await.unwrap()
}

async fn round(store: &Store, delay: u64, keys: &[String]) -> String {
    let keys: Vec<_> =
        keys.iter().map(|key| (key.contains("/blobs/") || key.contains("/_layers/"), key.clone())).collect();
    gc_round(store, (TIMING(), Duration::from_secs(delay)), false, &keys).await.unwrap()
}

/// Without the notes of pulls, which a process writes at its end.
fn registry_keys(s3: &FakeS3) -> Vec<String> {
    s3.keys().into_iter().filter(|key| key.starts_with("docker/") && !key.contains("/_gc/")).collect()
}

/// A bucket with an image, and a clock that the test moves.
async fn site() -> (FakeS3, Image, Vec<String>, Store) {
    let (s3, image) = (FakeS3::start(&[Rule::Clock(0)]).await, Image::new(1, &[100, 200]));
    Pounce::with(&borrowed(&s3.variables())).await.push_image("a/b", "1", &image).await;
    let (keys, store) = (registry_keys(&s3), store(&s3.variables()).await);
    (s3, image, keys, store)
}

#[tokio::test]
async fn a_key_goes_a_delay_after_it_was_condemned_if_nothing_needs_it_still() {
    let (s3, _, keys, store) = site().await;
    let first = round(&store, 600, &keys).await;
    assert!(first.contains(&format!("Published {{ batches: 1, keys: {}", keys.len())), "{first}");
    s3.rules(&[Rule::Clock(500)]);
    let early = round(&store, 600, &keys).await;
    assert!(early.contains("Swept { batches: 0"), "{early}");
    assert_eq!(registry_keys(&s3), keys);
    s3.rules(&[Rule::Clock(700)]);
    s3.take();
    let due = round(&store, 600, &keys[1..]).await;
    assert!(due.contains("Swept { batches: 1") && due.contains("failed: 0, denied: None, stopped: None"), "{due}");
    assert_eq!(registry_keys(&s3), keys[..1], "{due}");
    let calls = s3.take();
    // Four of the tests of the bucket.
    assert_eq!(calls["DeleteObject"], keys.len() - 1 + 4);
    // Decisions, renewals for two kinds of keys, the marks and the release; and five of the tests.
    assert!(calls["PutObject"] <= keys.len() - 1 + 12, "{calls:?}");
    // The batch binds writers a little longer.
    s3.rules(&[Rule::Clock(850)]);
    round(&store, 600, &[]).await;
    assert!(!s3.keys().iter().any(|key| key.contains("/batches/")), "{:?}", s3.keys());
}

#[tokio::test]
async fn the_keys_of_a_lost_batch_are_condemned_anew() {
    let (s3, _, keys, store) = site().await;
    round(&store, 600, &keys).await;
    let batch = s3.keys().into_iter().find(|key| key.ends_with("/condemned")).unwrap();
    for broken in [None, Some("no keys")] {
        s3.remove(&batch);
        if let Some(broken) = broken {
            s3.put(&batch, broken);
        }
        // Long before it is due.
        let next = round(&store, 600, &keys[1..]).await;
        assert!(next.contains("Published { batches: ") && s3.object(&batch).unwrap().is_empty(), "{next}");
    }
    s3.rules(&[Rule::Clock(700)]);
    round(&store, 600, &keys[1..]).await;
    assert_eq!(registry_keys(&s3), keys[..1]);
}

#[tokio::test]
async fn a_push_after_the_publication_keeps_its_keys() {
    let (s3, image, keys, store) = site().await;
    round(&store, 600, &keys).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let reply = pounce.put_manifest("a/b", "1", &image.media_type, image.manifest.clone()).await;
    assert_eq!(reply.status, 201);
    s3.rules(&[Rule::Clock(700)]);
    let due = round(&store, 600, &keys).await;
    assert!(due.contains(&format!("rescued: {}", keys.len())), "{due}");
    assert_eq!(registry_keys(&s3), keys);
}

#[tokio::test]
async fn a_delete_that_comes_late_is_refused_and_the_push_after_it_stays() {
    let (s3, image, all, store) = site().await;
    let keys: Vec<_> = all.iter().filter(|key| key.contains("/blobs/") || key.contains("/_layers/")).cloned().collect();
    round(&store, 600, &keys).await;
    s3.rules(&[Rule::Clock(700)]);
    // The decisions are written, and the process is paused.
    let clock = std::sync::Arc::new(s3);
    let bucket = std::sync::Arc::downgrade(&clock);
    clock.on("DeleteObject", usize::MAX, move |seen| {
        if !seen.path.contains("/_check/") {
            bucket.upgrade().unwrap().rules(&[Rule::Clock(700 + 130)]);
        }
        async { None }
    });
    let due = round(&store, 600, &keys).await;
    assert!(due.contains("deleted: {}") && !due.contains("failed: 0"), "{due}");
    assert_eq!(registry_keys(&clock), all);
    let pounce = Pounce::with(&borrowed(&clock.variables())).await;
    let reply = pounce.put_manifest("a/b", "1", &image.media_type, image.manifest.clone()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
}

#[tokio::test]
async fn one_process_collects_at_a_time() {
    let (s3, _, _, store) = site().await;
    let state = |holder: &str| format!(r#"{{"version":1,"holder":{holder},"write":5,"batches":[]}}"#);
    s3.put("docker/registry/v2/_gc/state", state(r#""00000000-0000-0000-0000-000000000009""#));
    assert!(round(&store, 600, &[]).await.starts_with("Busy"));
    s3.age("docker/registry/v2/_gc/state", Duration::from_secs(125));
    assert!(round(&store, 600, &[]).await.starts_with("Swept"));
    let found = String::from_utf8(s3.object("docker/registry/v2/_gc/state").unwrap().to_vec()).unwrap();
    assert!(found.contains(r#""holder":null"#), "{found}");
}

#[tokio::test]
async fn a_store_without_conditions_is_refused_unless_nothing_else_writes() {
    for rule in [Rule::IgnoresConditions, Rule::NoConditions] {
        let s3 = FakeS3::start(&[rule, Rule::Clock(0)]).await;
        s3.put("docker/registry/v2/blobs/sha256/aa/aa/data", "garbage");
        let (keys, store) = (registry_keys(&s3), store(&s3.variables()).await);
        let refused = round(&store, 600, &keys).await;
        assert!(refused.starts_with("Refused") && refused.contains("--exclusive"), "{refused}");
        assert!(!s3.keys().iter().any(|key| key.starts_with("docker/registry/v2/_gc")), "{:?}", s3.keys());
        let keys: Vec<_> = keys.into_iter().map(|key| (true, key)).collect();
        for clock in [0, 700] {
            s3.rules(&[rule, Rule::Clock(clock)]);
            gc_round(&store, (TIMING(), Duration::from_mins(10)), true, &keys).await.unwrap();
        }
        assert!(registry_keys(&s3).is_empty(), "{rule:?}");
    }
}

/// A bucket that moved behind something else while the process runs, too.
#[tokio::test]
async fn a_bucket_without_the_guards_of_a_collector_is_refused() {
    let (s3, _, keys, store) = site().await;
    let cases = [
        (Rule::IgnoresExpiry, "does a presigned DELETE whose time is over"),
        (Rule::IgnoresConditions, "ignores If-None-Match and If-Match"),
        (Rule::WeakEtags, "takes an object's own ETag for another one"),
    ];
    for (rule, why) in cases {
        s3.rules(&[Rule::Clock(0)]);
        let fine = round(&store, 600, &[]).await;
        assert!(fine.starts_with("Swept"), "{fine}");
        let before = s3.object("docker/registry/v2/_gc/state");
        s3.rules(&[rule, Rule::Clock(0)]);
        let refused = round(&store, 600, &keys).await;
        assert!(refused.starts_with("Refused") && refused.contains(why), "{refused}");
        assert!(refused.contains("--exclusive"), "{refused}");
        assert_eq!(s3.object("docker/registry/v2/_gc/state"), before, "{rule:?}");
        assert!(!s3.keys().iter().any(|key| key.contains("/_check/")), "{:?}", s3.keys());
    }
}

#[tokio::test]
async fn a_bucket_of_two_clocks_is_refused() {
    let (s3, _, _, store) = site().await;
    let s3 = std::sync::Arc::new(s3);
    let bucket = std::sync::Arc::downgrade(&s3);
    s3.on("GetObject", 2, move |_| {
        bucket.upgrade().unwrap().dated_ahead("/_gc/state", Duration::from_mins(5));
        async { None }
    });
    let refused = round(&store, 600, &[]).await;
    assert!(refused.starts_with("Refused") && refused.contains("another clock"), "{refused}");
}

#[tokio::test]
async fn a_bucket_that_fails_in_the_middle_stops_the_sweep_and_the_next_round_goes_on() {
    let (s3, _, keys, store) = site().await;
    round(&store, 600, &keys).await;
    s3.rules(&[Rule::Clock(700)]);
    s3.on("PutObject", usize::MAX, |seen| async move {
        seen.path.contains("/decisions/").then(|| (503, Vec::new(), bytes::Bytes::new()))
    });
    let failed = round(&store, 600, &keys).await;
    assert!(failed.contains("Swept { batches: 0") && failed.contains("stopped: Some"), "{failed}");
    assert_eq!(registry_keys(&s3), keys);
    s3.forget_hooks();
    let due = round(&store, 600, &keys).await;
    assert!(due.contains("Swept { batches: 1"), "{due}");
    assert!(registry_keys(&s3).is_empty());
}

/// An object lock, or a policy: what the bucket denies is left, the rest goes, and the batch ends.
#[tokio::test]
async fn keys_that_may_not_be_deleted_do_not_stay_condemned() {
    let (s3, _, _, store) = site().await;
    for n in 0..60 {
        s3.put(&format!("docker/registry/v2/blobs/sha256/{n:02x}/{n:064x}/data"), "garbage");
    }
    let keys = registry_keys(&s3);
    let locked = |path: &str| path.contains("/blobs/sha256/0") || path.contains("/blobs/sha256/1");
    let left: Vec<_> = keys.iter().filter(|key| locked(key)).cloned().collect();
    assert!(left.len() > 30);
    round(&store, 600, &keys).await;
    s3.rules(&[Rule::Clock(700)]);
    let denied = "<Error><Code>AccessDenied</Code><Message>locked</Message></Error>";
    s3.on("DeleteObject", usize::MAX, move |seen| async move {
        locked(&seen.path).then(|| (403, Vec::new(), denied.into()))
    });
    let due = round(&store, 600, &keys).await;
    assert!(due.contains("Swept { batches: 1") && due.contains("stopped: None"), "{due}");
    assert!(due.contains(&format!("failed: {}", left.len())) && due.contains("AccessDenied: locked"), "{due}");
    let found = registry_keys(&s3);
    assert!(found == left, "{:?}", found.iter().filter(|key| !left.contains(key)).collect::<Vec<_>>());
    // No writer pays for the batch any more, until the keys are condemned anew.
    s3.rules(&[Rule::Clock(850)]);
    round(&store, 600, &[]).await;
    assert!(!s3.keys().iter().any(|key| key.contains("/batches/")), "{:?}", s3.keys());
    let again = round(&store, 600, &left).await;
    assert!(again.contains(&format!("Published {{ batches: 1, keys: {}", left.len())), "{again}");
}

#[tokio::test]
async fn a_bucket_that_denies_to_remove_old_batches_is_collected_from() {
    let (s3, _, keys, store) = site().await;
    round(&store, 600, &keys).await;
    s3.rules(&[Rule::Clock(700)]);
    round(&store, 600, &[]).await;
    s3.rules(&[Rule::Clock(850)]);
    let denied = || (403, Vec::new(), "<Error><Code>AccessDenied</Code></Error>".into());
    s3.on("DeleteObjects", usize::MAX, move |_| async move { Some(denied()) });
    s3.on("DeleteObject", usize::MAX, move |seen| async move { seen.path.contains("/batches/").then(denied) });
    let retired = round(&store, 600, &[]).await;
    assert!(retired.starts_with("Swept"), "{retired}");
    let state = String::from_utf8(s3.object("docker/registry/v2/_gc/state").unwrap().to_vec()).unwrap();
    assert!(state.contains(r#""batches":[]"#), "{state}");
    assert_eq!(registry_keys(&s3), keys);
}

/// Over the embedded S3, which verifies signatures.
#[tokio::test]
async fn a_signed_delete_does_its_work_until_it_expires() {
    let bucket = Pounce::with(&[]).await;
    let image = Image::new(1, &[100]);
    bucket.push_image("a/b", "1", &image).await;
    let store = store(&bucket.as_s3()).await;
    let named = crate::support::image::digest(&image.blobs[0]).parse().unwrap();
    let path = Key::Blob(&named).to_string();
    let key = Key::Path(&path);
    let minute = Duration::from_mins(1);
    let late = store.sign_delete(key, SystemTime::now() - 2 * minute, minute).await.unwrap();
    let refused = store.send_signed_delete(late).await.unwrap_err();
    assert!(refused.to_string().contains("expired"), "{refused}");
    assert!(store.exists(key).await.unwrap());
    let signed = store.sign_delete(key, SystemTime::now(), minute).await.unwrap();
    store.send_signed_delete(signed).await.unwrap();
    assert!(!store.exists(key).await.unwrap());
}
