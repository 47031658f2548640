//! Leases and chunks that are not as pounce writes them, and buckets that do not keep them: the blob is right, or the
//! client is told.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::image::{digest, noise};
use crate::support::scripted::Said;
use crate::support::sharing::{CHUNK, GENERATION, SECRET, is_by};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Reply, Rule, Sharing};

/// The layer from a new replica, redirected or streamed.
async fn pull(sharing: &Sharing, name: &str) -> Reply {
    let replica = sharing.replica(name).await;
    let reply = replica.get(&sharing.path()).await;
    let reply = if reply.status == 307 { replica.follow(&reply).await } else { reply };
    replica.until_quiet().await;
    reply
}

/// A client comes to this object in place of a lease, and gets its blob, which costs the upstream one copy.
async fn is_survived(bytes: impl Fn(&Sharing, &str) -> Vec<u8>) {
    let sharing = Sharing::start(4).await;
    let key = sharing.lease_key().await;
    let bytes = bytes(&sharing, &key);
    sharing.s3.put(&key, bytes);
    sharing.upstream.behave(Manners { ranges: true, ..Manners::default() });
    let reply = pull(&sharing, "one").await;
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until("the blob is stored", Sharing::is_stored).await;
    assert!(sharing.s3.object(&sharing.blob_key()).unwrap() == sharing.layer());
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    assert_eq!(sharing.chunks(), Vec::<String>::new());
}

/// The same for a signed lease of a silent owner with some fields changed.
async fn signed_is_survived(change: impl Fn(&mut Value)) {
    is_survived(|sharing, key| {
        let mut lease = sharing.silent();
        change(&mut lease);
        sharing.plant(key, &lease, SECRET);
        sharing.s3.object(key).unwrap().to_vec()
    })
    .await;
}

#[tokio::test]
async fn not_json() {
    is_survived(|_, _| b"hello".to_vec()).await;
    is_survived(|_, _| Vec::new()).await;
}

#[tokio::test]
async fn another_secret() {
    is_survived(|sharing, key| {
        sharing.plant(key, &sharing.silent(), "another");
        sharing.s3.object(key).unwrap().to_vec()
    })
    .await;
}

#[tokio::test]
async fn larger_than_64_kib() {
    is_survived(|_, _| vec![b' '; (64 << 10) + 1]).await;
    is_survived(|_, _| vec![b'0'; 3 << 20]).await;
}

#[tokio::test]
async fn runs_beyond_the_size() {
    signed_is_survived(|lease| lease["stored"] = json!([[0, 5, 0]])).await;
    signed_is_survived(|lease| lease["stored"] = json!([[0, 1, 1]])).await;
}

#[tokio::test]
async fn hashed_without_chunks() {
    signed_is_survived(|lease| lease["hashed"] = json!(2)).await;
    // Its chunks are named, and are not there.
    signed_is_survived(|lease| (lease["hashed"], lease["stored"]) = (json!(2), json!([[0, 2, 0]]))).await;
}

#[tokio::test]
async fn seventeen_generations() {
    let ids = |count: u8| -> Vec<String> { (0..count).map(|id| format!("{}{id:02x}", &GENERATION[..34])).collect() };
    signed_is_survived(|lease| lease["generations"] = json!(ids(16))).await;
    signed_is_survived(|lease| lease["generations"] = json!(ids(17))).await;
}

#[tokio::test]
async fn another_size_than_the_manifests() {
    for size in [3 * CHUNK, 4 * CHUNK - 1, 9 * CHUNK] {
        signed_is_survived(|lease| lease["size"] = json!(size)).await;
    }
}

#[tokio::test]
async fn from_the_future() {
    let sharing = Sharing::start(4).await;
    let key = sharing.lease_key().await;
    sharing.plant(&key, &sharing.silent(), SECRET);
    sharing.s3.dated_ahead("/lease", Duration::from_hours(1));
    let reply = pull(&sharing, "one").await;
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until_done().await;
}

/// A silent owner left all chunks but for what `change` does to them; returns how many bytes the upstream sent.
async fn adopted(change: impl Fn(&Sharing, &dyn Fn(&str, usize) -> String)) -> usize {
    let sharing = Sharing::start(4).await;
    let key = sharing.lease_key().await;
    let directory = key.strip_suffix("lease").unwrap();
    let chunk = |generation: &str, number: usize| format!("{directory}{generation}/{:016x}", number * CHUNK);
    for number in 0..4 {
        let bytes = sharing.layer().slice(number * CHUNK..(number + 1) * CHUNK);
        sharing.s3.put(&chunk(GENERATION, number), bytes);
    }
    let mut lease = sharing.silent();
    lease["stored"] = json!([[0, 4, 0]]);
    sharing.plant(&key, &lease, SECRET);
    change(&sharing, &chunk);
    sharing.upstream.behave(Manners { ranges: true, ..Manners::default() });
    let reply = pull(&sharing, "one").await;
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until("the blob is stored", Sharing::is_stored).await;
    assert!(sharing.s3.object(&sharing.blob_key()).unwrap() == sharing.layer());
    sharing.upstream.blob_bytes()
}

#[tokio::test]
async fn a_chunk_missing_in_the_middle() {
    assert_eq!(adopted(|_, _| {}).await, 0);
    let missing = adopted(|sharing, chunk| assert!(sharing.s3.remove(&chunk(GENERATION, 2)))).await;
    assert_eq!(missing, CHUNK);
}

/// The list of chunks is tried again, and the lease is written meanwhile.
#[tokio::test]
async fn chunks_that_cannot_be_listed_at_first() {
    let failed = adopted(|sharing, _| {
        let left = Arc::new(AtomicUsize::new(5));
        sharing.s3.on("ListObjectsV2", usize::MAX, move |seen| {
            let is_its = seen.path.contains(GENERATION) && is_by(&seen, "one");
            let fails = is_its && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            async move { fails.then(|| refused(500, "InternalError")) }
        });
    });
    assert_eq!(failed.await, 0);
}

#[tokio::test]
async fn a_chunk_of_wrong_length() {
    for length in [0, CHUNK - 1, CHUNK + 1] {
        let other = adopted(|sharing, chunk| sharing.s3.put(&chunk(GENERATION, 1), vec![0; length])).await;
        assert_eq!(other, CHUNK);
    }
}

#[tokio::test]
async fn a_chunk_of_another_generation() {
    let stray = "11111111-1111-4111-8111-111111111111";
    // One that no lease names, with other bytes, and in the place of a chunk.
    let beside = adopted(|sharing, chunk| sharing.s3.put(&chunk(stray, 1), vec![0; CHUNK])).await;
    assert_eq!(beside, 0);
    let instead = adopted(|sharing, chunk| {
        assert!(sharing.s3.remove(&chunk(GENERATION, 1)));
        sharing.s3.put(&chunk(stray, 1), vec![0; CHUNK]);
    });
    assert_eq!(instead.await, CHUNK);
}

#[tokio::test]
async fn a_chunk_with_other_bytes() {
    let sharing = Sharing::start(4).await;
    let key = sharing.lease_key().await;
    let mut lease = sharing.silent();
    lease["stored"] = json!([[0, 1, 0]]);
    sharing.plant(&key, &lease, SECRET);
    let chunk = key.replace("/lease", &format!("/{GENERATION}/{:016x}", 0));
    sharing.s3.put(&chunk, noise(77, CHUNK));
    // The digest of the whole is wrong, and no chunk of it is used again.
    let first = pull(&sharing, "one").await;
    assert!(!first.whole || first.body == sharing.layer(), "{}", first.status);
    let second = pull(&sharing, "two").await;
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    sharing.until("the blob is stored", Sharing::is_stored).await;
    assert!(sharing.s3.object(&sharing.blob_key()).unwrap() == sharing.layer());
}

#[tokio::test]
async fn a_404_for_a_second() {
    let mut sharing = Sharing::with(&[Rule::Lags(Duration::from_secs(1))], 6 * CHUNK).await;
    sharing.variables.push(("REGISTRY_STORAGE_S3_TIGRIS", "true".into()));
    sharing.hold_at(3 * CHUNK);
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let follower = async {
        sharing.until("one owns the lease", |it| it.lease().is_some()).await;
        let released = async {
            sharing.until_followed("two").await;
            sharing.upstream.release();
        };
        tokio::join!(two.get(&path), released).0
    };
    let (first, second) = tokio::join!(one.get(&path), follower);
    assert!(first.whole && first.body == sharing.layer());
    assert!(second.whole && second.body == sharing.layer(), "{}", second.status);
    assert_eq!(sharing.upstream.blob_bytes(), sharing.layer().len());
    // Leases and chunks are read at the leader.
    let reads = sharing.s3.seen("GetObject").into_iter().filter(|seen| seen.path.contains("pounce/fills/"));
    assert!(reads.into_iter().all(|seen| seen.headers.contains_key("x-tigris-consistent")));
}

#[tokio::test]
async fn a_404_for_ever() {
    let sharing = Sharing::start(4).await;
    let key = sharing.lease_key().await;
    let mut lease = sharing.silent();
    lease["stored"] = json!([[0, 4, 0]]);
    // An owner that lives and names chunks that are not there.
    let owner = async {
        for write in 1.. {
            lease["write"] = json!(write);
            sharing.plant(&key, &lease, SECRET);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let replica = sharing.replica("one").await;
    let path = sharing.path();
    let client = tokio::time::timeout(Duration::from_mins(1), replica.get(&path));
    let reply = tokio::select! {
        reply = client => reply.expect("the client waits for ever"),
        () = owner => unreachable!("it writes without end"),
    };
    assert!(!reply.whole || reply.status >= 500 || reply.body == sharing.layer(), "{}", reply.status);
}

#[tokio::test]
async fn two_upstreams_of_which_one_lies() {
    let sharing = Sharing::start(5).await;
    let liar = crate::support::Upstream::start().await;
    liar.add("a", "v1", &sharing.image);
    let (honest, lied) = (sharing.replica("one").await, sharing.replica_of("two", &liar.url()).await);
    liar.behave(Manners { ranges: true, corrupts: true, ..Manners::default() });
    let path = sharing.path();
    let (right, wrong) = tokio::join!(honest.get(&path), lied.get(&path));
    assert!(right.whole && right.body == sharing.layer(), "{}", right.status);
    // Unless it came when the blob was already stored.
    let stored = wrong.status == 307 || wrong.body == sharing.layer();
    assert!(stored || !wrong.whole || wrong.status >= 500, "{}", wrong.status);
    sharing.until_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_leases_left_over() {
    const LEASES: usize = 2000;
    let mut sharing = Sharing::start(2).await;
    let key = sharing.lease_key().await;
    let hex = sharing.digest()[7..].to_owned();
    for number in 0..LEASES {
        let other = digest(&number.to_le_bytes())[7..].to_owned();
        let key = key.replace(&hex, &other);
        sharing.plant(&key, &sharing.silent(), SECRET);
        sharing.s3.put(&key.replace("/lease", &format!("/{GENERATION}/{:016x}", 0)), Bytes::from_static(b"chunk"));
    }
    // A fill that goes on.
    sharing.s3.age("pounce/fills/", Duration::from_hours(48));
    sharing.plant(&key, &sharing.silent(), SECRET);
    sharing.s3.take();
    let purging = "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING";
    let often: [(&'static str, String); 1] = [(format!("{purging}_INTERVAL").leak(), "100ms".into())];
    sharing.variables.extend(often);
    let _replica = sharing.replica("one").await;
    sharing.until("all old ones are swept", |it| it.left().len() == 1).await;
    assert_eq!(sharing.left(), [key]);
    let calls: usize = sharing.s3.total();
    // Read, write, delete the chunks, delete the lease.
    assert!(calls < 5 * LEASES, "{calls}");
}

fn refused(status: u16, code: &str) -> Said {
    let body = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
    (status, vec![("content-type", "application/xml".to_owned())], body.into())
}

#[tokio::test]
async fn conditions_refused_with_501_never_overwrite() {
    let sharing = Sharing::start(4).await;
    let key = sharing.lease_key().await;
    sharing.plant(&key, &sharing.silent(), SECRET);
    let before = sharing.s3.object(&key);
    let planted = sharing.lease_writes().len();
    sharing.s3.on("PutObject", usize::MAX, |seen| async move {
        let conditional = seen.headers.contains_key("if-match") || seen.headers.contains_key("if-none-match");
        conditional.then(|| refused(501, "NotImplemented"))
    });
    let reply = pull(&sharing, "one").await;
    assert!(reply.whole && reply.body == sharing.layer(), "{}", reply.status);
    sharing.until("the blob is stored", Sharing::is_stored).await;
    assert_eq!(sharing.s3.object(&key), before);
    let conditional = |seen: &crate::support::upstream::Seen| {
        seen.headers.contains_key("if-match") || seen.headers.contains_key("if-none-match")
    };
    assert!(sharing.lease_writes().iter().skip(planted).all(conditional));
}

#[tokio::test]
async fn a_bucket_without_conditions_fills_privately() {
    let sharing = Sharing::with(&[Rule::IgnoresConditions], 4 * CHUNK).await;
    let (one, two) = (sharing.replica("one").await, sharing.replica("two").await);
    let path = sharing.path();
    let (first, second) = tokio::join!(one.get(&path), two.get(&path));
    for reply in [first, second] {
        assert!(reply.status == 307 || (reply.whole && reply.body == sharing.layer()), "{}", reply.status);
    }
    sharing.until_done().await;
    assert!(sharing.lease_writes().is_empty());
}

#[tokio::test]
async fn no_right_to_the_prefix() {
    let mut sharing = Sharing::with(&[], 48 << 20).await;
    sharing.variables.push(("REGISTRY_PROXY_FILL_MEMORY", (32 << 20).to_string()));
    sharing.variables.push(("REGISTRY_PROXY_FILL_SHAREDSIZE", (64 << 20).to_string()));
    let small = Image::new(40, &[4 * CHUNK]);
    sharing.upstream.add("small", "v1", &small);
    for operation in ["PutObject", "GetObject", "ListObjectsV2", "DeleteObject"] {
        sharing.s3.on(operation, usize::MAX, |seen| async move {
            let path = seen.path.replace("%2F", "/");
            path.contains("pounce/fills").then(|| refused(403, "AccessDenied"))
        });
    }
    let replica: Pounce = sharing.replica("one").await;
    let reply = replica.get(&format!("/v2/small/blobs/{}", digest(small.layer()))).await;
    assert!(reply.whole && reply.body == small.layer(), "{}", reply.status);
    // A blob that memory cannot hold needs chunks.
    let reply = replica.get(&sharing.path()).await;
    assert!(!reply.whole || reply.status == 503, "{}", reply.status);
    replica.until_quiet().await;
    assert!(!sharing.is_stored());
    assert!(sharing.s3.open_uploads().is_empty());
    assert!(sharing.s3.all_seen().iter().any(|(_, seen)| seen.path.contains("pounce/fills") && is_by(seen, "one")));
}
