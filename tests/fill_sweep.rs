//! What fills of processes that are gone left in the bucket, and how pounce sweeps it.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use crate::support::image::Image;
use crate::support::scripted::Said;
use crate::support::{FakeS3, Pounce, borrowed};

const SECRET: &str = "shared";
const MIB: u64 = 1 << 20;
/// Older than a lease without an owner.
const TWO_HOURS: Duration = Duration::from_hours(2);
/// Older than a stray.
const TWO_DAYS: Duration = Duration::from_hours(48);

/// The name of a generation, or of a process.
fn id(n: u8) -> String {
    format!("{n:02x}e55044-10b1-426f-9247-bb680e5fe0c8")
}

/// An object of the fills of the `n`th blob.
fn key(n: usize, name: &str) -> String {
    format!("pounce/fills/sha256/{n:064x}/{:016x}/{name}", 7)
}

fn chunk(n: usize, generation: u8) -> String {
    key(n, &format!("{}/{:016x}", id(generation), 0))
}

/// A lease that names these generations, as a replica with this secret writes it.
fn lease(n: usize, generations: &[u8], secret: &str) -> Vec<u8> {
    let generations: Vec<_> = generations.iter().map(|n| id(*n)).collect();
    let lease = json!({
        "write": 1, "state": "filling", "generations": generations, "size": 64 * MIB, "chunk": 16 * MIB,
        "stored": [[0, 1, 0]], "heads": [], "hashed": 0, "midstate": "", "chain": "0".repeat(64),
    })
    .to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for bytes in [&b"pounce fill lease 1\0"[..], key(n, "lease").as_bytes(), b"\0", lease.as_bytes()] {
        mac.update(bytes);
    }
    let tag = const_hex::encode(mac.finalize().into_bytes());
    [tag.as_bytes(), b"\n", lease.as_bytes()].concat()
}

/// A replica that sweeps all the time.
async fn sweeper(s3: &FakeS3, more: &[(&'static str, &str)]) -> Pounce {
    let mut variables = s3.variables();
    variables.extend([
        ("REGISTRY_HTTP_SECRET", SECRET.to_owned()),
        ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "20ms".to_owned()),
    ]);
    variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Pounce::with(&borrowed(&variables)).await
}

/// How many sweeps have begun.
fn sweeps(s3: &FakeS3) -> usize {
    let lists = s3.seen("ListObjectsV2");
    let fits = |path: &str| path.contains("prefix=pounce%2Ffills%2F&") || path.ends_with("prefix=pounce%2Ffills%2F");
    lists.iter().filter(|seen| fits(&seen.path) && !seen.path.contains("start-after")).count()
}

/// Waits for a whole sweep that begins from now on.
async fn swept(pounce: &Pounce, s3: &FakeS3) {
    let before = sweeps(s3);
    pounce.until("there was a sweep", |_| sweeps(s3) >= before + 2).await;
}

/// Swept are, out of these objects of one blob, all but those that are `left`.
async fn leaves(s3: &FakeS3, left: &[String]) {
    let pounce = sweeper(s3, &[]).await;
    swept(&pounce, s3).await;
    let mut left = left.to_vec();
    left.sort();
    let mut keys = s3.keys();
    keys.retain(|key| key.starts_with("pounce/"));
    assert_eq!(keys, left);
}

#[tokio::test]
async fn a_lease_without_an_owner_goes_with_what_it_names() {
    let s3 = FakeS3::start(&[]).await;
    s3.put(&key(1, "lease"), lease(1, &[1, 2], SECRET));
    for name in [chunk(1, 1), chunk(1, 2), key(1, &format!("{}/head-{:016x}", id(2), 0))] {
        s3.put(&name, "bytes");
    }
    s3.put(&key(1, &format!("wants-{}", id(9))), "[1]");
    s3.age("/lease", TWO_HOURS);
    // Of a process that has begun anew since.
    s3.put(&chunk(1, 3), "bytes");
    // Another blob's, which is being filled.
    let others = [key(2, "lease"), chunk(2, 1), key(2, &format!("wants-{}", id(9)))];
    s3.put(&others[0], lease(2, &[1], SECRET));
    s3.put(&others[1], "bytes");
    s3.put(&others[2], "[1]");
    s3.age(&others[1], TWO_DAYS);
    s3.age(&others[2], TWO_DAYS);
    leaves(&s3, &[&[chunk(1, 3)], &others[..]].concat()).await;
}

/// What cannot be deleted, because of a retention, does not keep what comes after it.
#[tokio::test]
async fn a_directory_that_is_denied() {
    let s3 = FakeS3::start(&[]).await;
    for n in [1, 2] {
        s3.put(&key(n, "lease"), lease(n, &[1], SECRET));
        s3.put(&chunk(n, 1), "bytes");
    }
    s3.age("/lease", TWO_HOURS);
    let denied = chunk(1, 1);
    s3.on("DeleteObject", usize::MAX, move |seen| {
        let is_denied = seen.path.contains(&denied);
        let said = "<Error><Code>AccessDenied</Code></Error>";
        async move { is_denied.then(|| (403, Vec::new(), said.into())) }
    });
    leaves(&s3, &[key(1, "lease"), chunk(1, 1)]).await;
}

#[tokio::test]
async fn stray_generations() {
    let s3 = FakeS3::start(&[]).await;
    // The lease of the first blob is alive; the second one has none.
    s3.put(&key(1, "lease"), lease(1, &[1], SECRET));
    for n in [1, 2] {
        for generation in [1, 2, 3] {
            s3.put(&chunk(n, generation), "bytes");
        }
        s3.put(&key(n, &format!("{}/{:016x}", id(3), 16 * MIB)), "bytes");
        s3.age(&chunk(n, 1), TWO_DAYS);
        s3.age(&chunk(n, 2), TWO_DAYS);
        // Its youngest object counts.
        s3.age(&chunk(n, 3), TWO_DAYS);
    }
    s3.put(&key(2, &format!("wants-{}", id(9))), "[1]");
    s3.age("wants-", TWO_DAYS);
    let kept = |n| [chunk(n, 3), key(n, &format!("{}/{:016x}", id(3), 16 * MIB))];
    leaves(&s3, &[&[key(1, "lease"), chunk(1, 1)][..], &kept(1), &kept(2)].concat()).await;
}

#[tokio::test]
async fn leases_of_others_get_a_day() {
    let bodies = |n| [lease(n, &[1], "another"), b"hello".to_vec(), vec![b'x'; 65 << 10], Vec::new()];
    for age in [TWO_HOURS, TWO_DAYS] {
        let s3 = FakeS3::start(&[]).await;
        for (n, body) in bodies(0).into_iter().enumerate() {
            s3.put(&key(n, "lease"), body);
            s3.put(&chunk(n, 1), "bytes");
        }
        s3.age("/lease", age);
        s3.age(&id(1), TWO_DAYS);
        let left = if age == TWO_DAYS { Vec::new() } else { s3.keys() };
        leaves(&s3, &left).await;
        // What pounce cannot read, it does not rewrite.
        assert_eq!(s3.seen("PutObject").iter().filter(|seen| seen.path.contains("/lease")).count(), 0);
    }
}

#[tokio::test]
async fn an_owner_that_wakes_up_keeps_its_lease() {
    let s3 = FakeS3::start(&[]).await;
    s3.put(&key(1, "lease"), lease(1, &[1], SECRET));
    s3.put(&chunk(1, 1), "bytes");
    s3.age("pounce/", TWO_DAYS);
    // It writes between the sweep's read and its write.
    s3.on("PutObject", usize::MAX, |seen| async move {
        let unmet: Said = (412, Vec::new(), "<Error><Code>PreconditionFailed</Code></Error>".into());
        seen.path.contains("/lease").then_some(unmet)
    });
    leaves(&s3, &[key(1, "lease"), chunk(1, 1)]).await;
    assert_eq!(s3.seen("DeleteObject").iter().filter(|seen| seen.path.contains("/lease")).count(), 0);
}

#[tokio::test]
async fn nothing_else_is_touched_and_a_dry_run_touches_nothing() {
    let s3 = FakeS3::start(&[]).await;
    let names = ["lease2", "notes", "x/y"].map(|name| key(1, name));
    for name in &names {
        s3.put(name, "mine");
    }
    s3.put("pounce/fills/readme", "mine");
    s3.put(&key(2, "lease"), lease(2, &[1], SECRET));
    s3.put(&key(3, "lease"), "hello");
    for n in [2, 3, 4] {
        s3.put(&chunk(n, 1), "bytes");
    }
    s3.age("pounce/", TWO_DAYS);
    let before = s3.keys();
    let pounce = sweeper(&s3, &[("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN", "true")]).await;
    swept(&pounce, &s3).await;
    drop(pounce);
    let mut keys = s3.keys();
    keys.retain(|key| key.starts_with("pounce/"));
    assert_eq!(keys, before);
    leaves(&s3, &[&names[..], &["pounce/fills/readme".to_owned()]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_leases_left_over() {
    const ALL: usize = 10_000;
    // Every fiftieth is an hour old, and is claimed; the list alone says of the others that they are young.
    const OLD: usize = ALL / 50;
    let s3 = FakeS3::start(&[]).await;
    for n in 0..ALL {
        s3.put(&key(n, "lease"), lease(n, &[1], SECRET));
        if n < OLD {
            s3.put(&chunk(n, 1), "bytes");
            s3.put(&key(n, &format!("{}/{:016x}", id(1), 16 * MIB)), "bytes");
            s3.age(&key(n, "lease"), TWO_HOURS);
        }
    }
    // Two replicas at once cost a read and a write that is refused, and do no harm.
    let (one, two) = tokio::join!(sweeper(&s3, &[]), sweeper(&s3, &[]));
    let left = |s3: &FakeS3| s3.keys().iter().filter(|key| key.starts_with("pounce/")).count();
    one.until("all are swept", |_| left(&s3) == ALL - OLD).await;
    swept(&one, &s3).await;
    drop((one, two));
    assert_eq!(left(&s3), ALL - OLD);
    let count = |operation: &str, part: &str| {
        s3.seen(operation).iter().filter(|seen| seen.path.contains("fills") && seen.path.contains(part)).count()
    };
    // One is claimed once; a replica that read it at the same time loses.
    let claims = count("PutObject", "/lease");
    assert!((OLD..=2 * OLD).contains(&claims), "{claims}");
    assert!((claims..=2 * OLD).contains(&count("GetObject", "/lease")));
    assert_eq!((count("PutObject", ""), count("HeadObject", "")), (claims, 0));
    // A request that deletes the chunks of each, and one for the lease.
    let batches = s3.seen("DeleteObjects").len();
    assert_eq!((batches, count("DeleteObject", "/lease"), count("DeleteObject", "")), (OLD, OLD, OLD));
    assert_eq!(count("ListObjectsV2", &id(1)), 0);
}

/// A replica that serves meanwhile is not disturbed.
#[tokio::test]
async fn a_running_fill_is_not_swept() {
    let s3 = FakeS3::start(&[]).await;
    let upstream = crate::support::Upstream::start().await;
    let image = Image::new(3, &[20 << 20]);
    upstream.add("a", "v1", &image);
    let url = upstream.url();
    let more = [("REGISTRY_PROXY_REMOTEURL", url.as_str()), ("REGISTRY_PROXY_FILL_SHAREDSIZE", "1048576")];
    let pounce = sweeper(&s3, &more).await;
    let digest = crate::support::image::digest(image.layer());
    assert_eq!(pounce.get("/v2/a/manifests/v1").await.status, 200);
    assert!(pounce.pull("a", &digest).await == image.layer());
    let is_stored = || s3.keys().iter().any(|key| key.ends_with("/data") && key.contains(&digest[7..]));
    pounce.until("the blob is stored", |_| is_stored()).await;
}
