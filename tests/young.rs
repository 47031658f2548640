//! Blobs that were stored a moment ago, in a bucket with lagging regions (`storage.redirect.minage`).
//!
//! The bucket hides new objects from requests without the leader's header, and so from clients.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::support::faults::{Fault, Faulty};
use crate::support::image::{digest, noise};
use crate::support::{FakeS3, Image, Pounce, Reply, Rule, Upstream, borrowed};

const LAG: Duration = Duration::from_secs(2);

/// A lagging bucket, and variables for replicas on it, with some more.
async fn lagging(more: &[(&'static str, &str)]) -> (FakeS3, Vec<(&'static str, String)>) {
    let s3 = FakeS3::start(&[Rule::Lags(LAG)]).await;
    let mut variables = s3.variables();
    variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    variables.extend(more);
    (s3, variables)
}

fn path(blob: &[u8]) -> String {
    format!("/v2/a/b/blobs/{}", digest(blob))
}

/// Asks again until clients are redirected to the bucket.
async fn until_redirected(pounce: &Pounce, path: &str) -> Reply {
    let began = Instant::now();
    loop {
        let reply = pounce.get(path).await;
        if reply.status == 307 {
            return reply;
        }
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "never redirected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The GETs for objects, and whether each went to the leader; without those for what is condemned.
fn reads(s3: &FakeS3) -> Vec<(String, bool)> {
    let reads = s3.seen("GetObject");
    let leader = |it: &crate::support::upstream::Seen| {
        let asks = it.headers.contains_key("x-tigris-consistent");
        (it.path.clone(), asks)
    };
    reads.iter().map(leader).filter(|(path, _)| !path.contains("/_gc/")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_takes_twenty_clients_get_from_another_one_at_once() {
    let (s3, variables) = lagging(&[("REGISTRY_STORAGE_REDIRECT_MINAGE", "3s")]).await;
    let variables = borrowed(&variables);
    let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    // One blob is written straight to its key, another one is renamed.
    let image = Image::new(1, &[1000, 6 << 20]);
    one.push_image("a/b", "v1", &image).await;
    let streamed = noise(7, 11 << 20);
    let uploaded = one.patch(&one.begin("a/b").await, streamed.clone()).await;
    let location = uploaded.header("location");
    let closed = one.close(location, &digest(&streamed), Bytes::new()).await;
    assert_eq!(closed.status, 201, "{closed:?}");

    let blobs: Vec<_> = image.blobs.iter().chain([&streamed]).collect();
    let pulls = (0..20).map(|_| async {
        let manifest = two.get("/v2/a/b/manifests/v1").await;
        assert_eq!(manifest.body, image.manifest);
        for blob in &blobs {
            assert_eq!(two.pull("a/b", &digest(blob)).await, **blob);
        }
    });
    futures_util::future::join_all(pulls).await;
    // The replica that stored the blobs knows their age itself.
    for blob in &blobs {
        assert_eq!(one.pull("a/b", &digest(blob)).await, **blob);
    }
    let of_blobs = |(path, _): &(String, bool)| !path.contains("Signature");
    let streamed: Vec<_> = reads(&s3).into_iter().filter(of_blobs).collect();
    assert!(streamed.iter().any(|(_, leader)| *leader), "{streamed:?}");

    for (replica, blob) in [(&one, blobs[0]), (&two, blobs[1]), (&two, blobs[2])] {
        let redirected = until_redirected(replica, &path(blob)).await;
        assert_eq!(replica.follow(&redirected).await.body, *blob);
        // Further requests are redirected, too.
        assert_eq!(replica.get(&path(blob)).await.status, 307);
    }
}

#[tokio::test]
async fn a_fill_elsewhere_is_streamed_too_whole_and_in_ranges() {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[300_000]);
    upstream.add("a/b", "v1", &image);
    let (s3, mut variables) = lagging(&[]).await;
    variables.push(("REGISTRY_PROXY_REMOTEURL", upstream.url()));
    let variables = borrowed(&variables);
    let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    let layer = path(image.layer());
    assert_eq!(one.get("/v2/a/b/manifests/v1").await.status, 200);
    assert_eq!(one.get(&layer).await.body, image.layer());
    one.until_quiet().await;
    upstream.forget();

    assert_eq!(two.get("/v2/a/b/manifests/v1").await.body, image.manifest);
    two.until_quiet().await;
    let whole = two.get(&layer).await;
    assert_eq!((whole.status, &whole.body), (200, image.layer()));
    let part = two.range(&layer, "bytes=10-19").await;
    assert_eq!((part.status, &part.body[..]), (206, &image.layer()[10..20]));
    assert_eq!(part.header("content-range"), "bytes 10-19/300000");
    assert_eq!(two.range(&layer, "bytes=300000-").await.status, 416);
    let head = two.head(&layer).await;
    assert_eq!((head.status, head.header("content-length")), (200, "300000"));
    let hex = digest(image.layer());
    let hex = hex.strip_prefix("sha256:").unwrap();
    let streams: Vec<_> = reads(&s3).into_iter().filter(|(path, _)| path.contains(hex)).collect();
    assert_eq!(streams.len(), 2, "{streams:?}");
    assert!(streams.iter().all(|(_, leader)| *leader), "{streams:?}");
    assert_eq!(upstream.requests(), 0);

    // The object becomes old: a replica that sees it for the first time redirects at once.
    s3.age("", Duration::from_mins(1));
    tokio::time::sleep(LAG).await;
    let three = Pounce::with(&variables).await;
    assert_eq!(three.get(&layer).await.status, 307);
    // A replica that saw it young keeps streaming until the deadline that it computed then.
    assert_eq!(two.get(&layer).await.status, 200);
}

#[tokio::test]
async fn a_blob_that_another_replica_took_is_seen_with_its_link() {
    let (_s3, variables) = lagging(&[]).await;
    let variables = borrowed(&variables);
    let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    // Neither an upstream nor a manifest could vouch for the blob.
    let blob = noise(1, 1000);
    one.push("a/b", blob.clone()).await;
    assert_eq!(two.head(&path(&blob)).await.status, 200);
    assert_eq!(two.get(&path(&blob)).await.body, blob);
    let mount = format!("/v2/c/d/blobs/uploads/?mount={}&from=a/b", digest(&blob));
    let mounted = two.send(two.request("POST", &mount)).await;
    assert_eq!(mounted.status, 201, "{mounted:?}");
}

#[tokio::test]
async fn what_is_pushed_again_or_mounted_does_not_become_young() {
    let (s3, variables) = lagging(&[]).await;
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let blob = noise(1, 1000);
    s3.rules(&[]);
    pounce.push("c/d", blob.clone()).await;
    s3.age("", Duration::from_mins(1));
    let other = Pounce::with(&borrowed(&variables)).await;
    other.push("a/b", blob.clone()).await;
    assert_eq!(other.get(&path(&blob)).await.status, 307);
}

#[tokio::test]
async fn ages_are_by_the_buckets_clock() {
    // Skews that the store accepts.
    for apart in [-600, 600] {
        let (s3, variables) = lagging(&[]).await;
        let rules = |lag| [Rule::Lags(lag), Rule::Clock(apart)];
        s3.rules(&rules(Duration::from_millis(1)));
        let variables = borrowed(&variables);
        let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
        let (new, old) = (noise(1, 1000), noise(2, 1000));
        one.push("a/b", old.clone()).await;
        s3.age("", Duration::from_secs(20));
        one.push("a/b", new.clone()).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(two.get(&path(&new)).await.status, 200, "{apart}");
        assert_eq!(two.get(&path(&old)).await.status, 307, "{apart}");
    }
}

#[tokio::test]
async fn a_date_in_the_future_makes_a_blob_young_once() {
    let (s3, variables) = lagging(&[("REGISTRY_STORAGE_REDIRECT_MINAGE", "1s")]).await;
    s3.rules(&[]);
    let variables = borrowed(&variables);
    let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
    let blob = noise(1, 1000);
    one.push("a/b", blob.clone()).await;
    let hour = Duration::from_hours(1);
    s3.dated_ahead("", hour);
    until_redirected(&two, &path(&blob)).await;
    // A push of an existing blob does not change that either.
    two.push("c/d", blob.clone()).await;
    assert_eq!(two.get(&path(&blob)).await.status, 307);
}

#[tokio::test]
async fn where_nothing_lags_or_it_is_switched_off_clients_are_redirected_at_once() {
    let blob = noise(1, 1000);
    for (lags, minage, status) in
        [("false", None, 307), ("true", Some("0"), 307), ("true", None, 200), ("false", Some("1h"), 200)]
    {
        let s3 = FakeS3::start(&[]).await;
        let mut variables = s3.variables();
        variables.push(("REGISTRY_STORAGE_S3_TIGRIS", lags.into()));
        let set = minage.map(|it| ("REGISTRY_STORAGE_REDIRECT_MINAGE", it.to_owned()));
        variables.extend(set);
        let variables = borrowed(&variables);
        let (one, two) = (Pounce::with(&variables).await, Pounce::with(&variables).await);
        one.push("a/b", blob.clone()).await;
        for replica in [&one, &two] {
            let reply = replica.get(&path(&blob)).await;
            assert_eq!(reply.status, status, "{lags} {minage:?}");
        }
        // pounce does not ask the leader of a bucket without lag.
        let leader = reads(&s3).iter().any(|(_, leader)| *leader);
        assert_eq!(leader, lags == "true" && status == 200);
    }
}

#[tokio::test]
async fn a_folder_has_nothing_that_is_young() {
    let pounce = Pounce::with(&[]).await;
    let blob = noise(1, 1000);
    pounce.push("a/b", blob.clone()).await;
    assert_eq!(pounce.get(&path(&blob)).await.status, 307);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_the_bucket_breaks_goes_on_where_it_broke() {
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let mut variables = bucket.as_s3_behind(front.addr);
    variables.push(("REGISTRY_STORAGE_REDIRECT_DISABLE", "true".into()));
    let pounce = Pounce::with(&borrowed(&variables)).await;
    let blob = noise(1, 3 << 20);
    pounce.push("a/b", blob.clone()).await;
    front.inject_few(Fault::Cut, 3);
    assert_eq!(pounce.pull("a/b", &digest(&blob)).await, blob);
    assert_eq!(front.take(), [(Fault::Cut, 3)].into());
    front.inject_few(Fault::Cut, 1);
    let part = pounce.range(&path(&blob), "bytes=1000-1999999").await;
    assert_eq!((part.status, part.whole), (206, true));
    assert_eq!(part.body, blob.slice(1000..2_000_000));
    assert_eq!(front.take(), [(Fault::Cut, 1)].into());
    // If the reads keep failing, the client's answer breaks, too.
    front.inject_few(Fault::Cut, 1_000);
    let broken = pounce.get(&path(&blob)).await;
    assert!(broken.status == 503 || !broken.whole, "{broken:?}");
}
