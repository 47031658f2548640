//! Fills over an S3 need no disk: a window of memory, and chunks in the bucket behind it.

use bytes::Bytes;
use futures_util::future::join_all;
use pounce::config::FillTuning;

use crate::support::image::digest;
use crate::support::ranged::{RangedClient, Shape};
use crate::support::upstream::{Manners, Seen};
use crate::support::{FakeS3, Image, Pounce, Rule, Upstream, borrowed};

const MIB: usize = 1 << 20;
const SIZE: usize = 44 * MIB;
const CHUNK: usize = 8 * MIB;
/// The number of chunks of a blob; the last one is shorter.
const CHUNKS: usize = SIZE.div_ceil(CHUNK);
/// The least memory that can be set: three quarters of it are three chunks.
const MEMORY: &str = "33554432";

struct Cold {
    upstream: Upstream,
    s3: FakeS3,
    pounce: Pounce,
    image: Image,
}

async fn cold(manners: Manners, rules: &[Rule]) -> Cold {
    cold_with(manners, rules, &[]).await
}

/// Three layers that are only at an upstream with these manners.
async fn cold_with(manners: Manners, rules: &[Rule], more: &[(&str, &str)]) -> Cold {
    let (upstream, s3, image) =
        (Upstream::start().await, FakeS3::start(rules).await, Image::new(31, &[SIZE, SIZE, SIZE]));
    upstream.add("a/b", "v1", &image);
    upstream.behave(manners);
    let (url, variables) = (upstream.url(), s3.variables());
    let own = [("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_FILL_MEMORY", MEMORY)];
    let variables = [&borrowed(&variables), &own[..], more].concat();
    let tuning = FillTuning { chunk: Some(CHUNK as u64), ..FillTuning::default() };
    let pounce = Pounce::tuned(&variables, tuning).await;
    s3.take();
    Cold { upstream, s3, pounce, image }
}

fn ranges() -> Manners {
    Manners { ranges: true, ..Manners::default() }
}

impl Cold {
    fn client(&self, layer: usize) -> RangedClient {
        RangedClient::new(self.pounce.url(&self.path(layer)), SIZE)
    }

    fn path(&self, layer: usize) -> String {
        format!("/v2/a/b/blobs/{}", digest(self.blob(layer)))
    }

    fn blob(&self, layer: usize) -> &Bytes {
        &self.image.blobs[layer + 1]
    }

    fn key(&self, layer: usize) -> String {
        let digest = digest(self.blob(layer));
        let hex = digest.strip_prefix("sha256:").unwrap();
        format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])
    }

    fn chunks(&self) -> Vec<String> {
        self.s3.keys().into_iter().filter(|key| key.starts_with("pounce/fills/")).collect()
    }

    /// Waits for the end of all work; the bucket has these layers, and nothing that a fill leaves.
    async fn ends_with(&self, layers: &[usize]) {
        self.pounce.until_quiet().await;
        for layer in layers {
            assert!(
                self.s3.object(&self.key(*layer)).is_some_and(|bytes| bytes == *self.blob(*layer)),
                "layer {layer}"
            );
        }
        let blobs = self.s3.keys().into_iter().filter(|key| key.ends_with("/data")).count();
        assert_eq!((blobs, self.chunks(), self.s3.open_uploads()), (layers.len(), Vec::new(), Vec::new()));
    }

    /// Pulls the first layer in ranges from its end to its beginning; the upstream sends it once, and it is stored.
    async fn pull_backwards(&self) {
        let shape = Shape::closed(1, 4 * MIB);
        let mut chunks = shape.chunks(SIZE);
        chunks.reverse();
        assert!(self.client(0).pull_chunks(shape, chunks).await.unwrap() == self.blob(0)[..]);
        self.ends_with(&[0]).await;
        self.came(1);
    }

    /// The upstream sent so many blobs, and what was under way on connections that were closed.
    fn came(&self, times: usize) {
        let bytes = self.upstream.blob_bytes();
        assert!((SIZE * times..=SIZE * times + SIZE / 5).contains(&bytes), "{bytes} bytes for {times} of {SIZE}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_larger_than_its_memory_passes_through_chunks() {
    for manners in [ranges(), Manners::default()] {
        let cold = cold(manners, &[]).await;
        let client = cold.client(0);
        for pulled in join_all((0..3).map(|_| client.pull_whole())).await {
            assert!(pulled.unwrap() == cold.blob(0)[..]);
        }
        cold.ends_with(&[0]).await;
        cold.came(1);
        let calls = cold.s3.take();
        let copied = ["UploadPartCopy", "CreateMultipartUpload", "CompleteMultipartUpload", "UploadPart"];
        let counts = copied.map(|operation| calls.get(operation).copied().unwrap_or_default());
        assert_eq!(counts, [CHUNKS, 1, 1, 0]);
        // The chunks, and the link.
        assert!(calls["PutObject"] >= CHUNKS && calls["PutObject"] <= CHUNKS + 2, "{calls:?}");
        let mut metrics = Vec::new();
        for name in ["fill_chunks", "fill_chunk_bytes", "fills", "fills_active", "fill_memory_limit_bytes"] {
            metrics.push(cold.pounce.metric(name).await);
        }
        // Small blobs have 4 MiB more.
        let limit = MEMORY.parse::<u64>().unwrap() + (4 << 20);
        assert_eq!(metrics, [CHUNKS as u64, SIZE as u64, 1, 0, limit]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_behind_the_window_read_chunks_and_then_the_blob() {
    let cold = cold(ranges(), &[]).await;
    let complete = cold.s3.hold("CompleteMultipartUpload");
    let mut late = cold.pounce.request("GET", &cold.path(0)).send().await.unwrap();
    assert!(cold.pounce.metric("fill_memory_bytes").await >= CHUNK as u64);
    let mut later = cold.pounce.request("GET", &cold.path(0)).send().await.unwrap();
    let mut bytes = [late.chunk().await.unwrap().unwrap().to_vec(), later.chunk().await.unwrap().unwrap().to_vec()];
    cold.pounce.until("all chunks are stored", |_| cold.chunks().len() == CHUNKS).await;
    while let Some(piece) = late.chunk().await.unwrap() {
        bytes[0].extend_from_slice(&piece);
    }
    assert!(bytes[0] == *cold.blob(0));
    assert!(cold.s3.seen("GetObject").iter().any(is_of_fill));
    complete.release();
    cold.ends_with(&[0]).await;
    while let Some(piece) = later.chunk().await.unwrap() {
        bytes[1].extend_from_slice(&piece);
    }
    assert!(bytes[1] == *cold.blob(0));
    cold.came(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn far_ranges_leave_memory_for_the_prefix() {
    let cold = cold(ranges(), &[]).await;
    let shapes = [Shape::open(16, 2 * MIB), Shape::closed(8, 4 * MIB), Shape::open(44, MIB)];
    let client = cold.client(0);
    let (whole, ranged) = tokio::join!(client.pull_whole(), join_all(shapes.map(|shape| client.pull(shape))));
    for pulled in ranged.into_iter().chain([whole]) {
        assert!(pulled.unwrap() == cold.blob(0)[..]);
    }
    cold.ends_with(&[0]).await;
    cold.came(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_from_the_end_come_although_the_prefix_does_not() {
    let cold = cold(ranges(), &[]).await;
    cold.pull_backwards().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fills_share_the_memory_and_give_it_back() {
    let cold = cold(ranges(), &[]).await;
    for round in 0..2 {
        let shape = Shape::closed(4, 4 * MIB);
        let clients = [0, 1, 2].map(|layer| cold.client(layer));
        let ranged = join_all(clients.iter().map(|client| client.pull(shape)));
        let whole = join_all(clients.iter().map(RangedClient::pull_whole));
        let (ranged, whole) = tokio::join!(ranged, whole);
        for (layer, (ranged, whole)) in ranged.into_iter().zip(whole).enumerate() {
            assert!(ranged.unwrap() == cold.blob(layer)[..] && whole.unwrap() == cold.blob(layer)[..], "{round}");
        }
        cold.ends_with(&[0, 1, 2]).await;
        cold.came(3);
        cold.pounce.until_metric("fill_memory_bytes", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_unknown_size_is_cut_as_well() {
    let cold = cold(Manners { chunked: true, ..Manners::default() }, &[]).await;
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
    cold.came(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_copies_no_parts_gets_them_sent() {
    for (rules, compose) in [(&[Rule::NoUploadPartCopy][..], "copy"), (&[], "send")] {
        let cold = cold_with(ranges(), rules, &[("REGISTRY_PROXY_FILL_COMPOSE", compose)]).await;
        assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
        cold.ends_with(&[0]).await;
        cold.came(1);
        assert_eq!(cold.s3.take()["UploadPart"], CHUNKS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_leave_nothing() {
    let cold = cold(Manners { corrupts: true, ..ranges() }, &[]).await;
    assert!(cold.client(0).pull_whole().await.is_err());
    cold.ends_with(&[]).await;
    cold.upstream.behave(ranges());
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchanged_chunk_is_not_stored() {
    let cold = cold(ranges(), &[]).await;
    let begun = cold.s3.hold("CreateMultipartUpload");
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.pounce.until("all chunks are stored", |_| cold.chunks().len() == CHUNKS).await;
    cold.s3.put(&cold.chunks()[1], vec![7; CHUNK]);
    begun.release();
    cold.ends_with(&[]).await;
    // The next request begins anew.
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_takes_no_chunks_fails_the_fill_and_frees_its_memory() {
    let cold = cold(ranges(), &[Rule::FullDisk(507)]).await;
    assert!(cold.client(0).pull_whole().await.is_err());
    cold.pounce.until_quiet().await;
    cold.s3.rules(&[]);
    for layer in [0, 1] {
        assert!(cold.client(layer).pull_whole().await.unwrap() == cold.blob(layer)[..]);
    }
    cold.ends_with(&[0, 1]).await;
}

/// What the bucket says to a request that it fails.
fn refusal(status: u16, code: &str) -> (u16, Vec<(&'static str, String)>, Bytes) {
    (status, Vec::new(), Bytes::from(format!("<Error><Code>{code}</Code></Error>")))
}

fn is_of_fill(seen: &Seen) -> bool {
    seen.path.contains("pounce/fills/")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_fails_at_the_end_is_asked_again() {
    let cold = cold(ranges(), &[]).await;
    // All attempts of one request.
    cold.s3.on("CompleteMultipartUpload", 4, |_| async { Some(refusal(503, "ServiceUnavailable")) });
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
    cold.came(1);
    assert_eq!(cold.s3.take()["CompleteMultipartUpload"], 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_lags_is_not_believed() {
    let cold = cold(ranges(), &[]).await;
    cold.s3.on("ListObjectsV2", 2, |_| async {
        let empty = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
        Some((200, Vec::new(), Bytes::from(empty)))
    });
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
    cold.came(1);
    assert_eq!(cold.s3.take()["UploadPartCopy"], CHUNKS);
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_lag_are_looked_for() {
    let cold = cold(ranges(), &[]).await;
    for operation in ["GetObject", "UploadPartCopy"] {
        cold.s3.on(operation, 3, |_| async { Some(refusal(404, "NoSuchKey")) });
    }
    // The hasher reads chunks back.
    cold.pull_backwards().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_with_an_attempt_that_came_to_nothing_is_no_other_program() {
    let cold = cold(ranges(), &[]).await;
    cold.s3.on("PutObject", 1, |_| async { Some(refusal(409, "ConditionalRequestConflict")) });
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
    cold.came(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_reader_asks_for_what_is_behind_the_end() {
    let cold = cold(ranges(), &[]).await;
    let complete = cold.s3.hold("CompleteMultipartUpload");
    let mut late = cold.pounce.request("GET", &cold.path(0)).send().await.unwrap();
    let mut bytes = late.chunk().await.unwrap().unwrap().to_vec();
    cold.pounce.until("all chunks are stored", |_| cold.chunks().len() == CHUNKS).await;
    // The others take all memory, so that the last chunk is read from the bucket, too.
    for layer in [1, 2] {
        assert!(cold.client(layer).pull_whole().await.unwrap() == cold.blob(layer)[..]);
    }
    cold.s3.take();
    while let Some(piece) = late.chunk().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    assert!(bytes == *cold.blob(0));
    assert!(cold.s3.take()["GetObject"] <= CHUNKS);
    for seen in cold.s3.seen("GetObject").iter().filter(|seen| is_of_fill(seen)) {
        let range = seen.headers.get("range").and_then(|range| range.to_str().ok());
        let Some((start, end)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
            continue;
        };
        assert!(start.parse::<usize>().unwrap() <= end.parse().unwrap(), "{range:?}");
    }
    complete.release();
    cold.ends_with(&[0, 1, 2]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_with_weak_etags_are_sent_and_hashed_again() {
    let cold = cold(ranges(), &[Rule::WeakEtags]).await;
    assert!(cold.client(0).pull_whole().await.unwrap() == cold.blob(0)[..]);
    cold.ends_with(&[0]).await;
    cold.came(1);
    let calls = cold.s3.take();
    assert_eq!((calls.get("UploadPartCopy"), calls["UploadPart"]), (None, CHUNKS));
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_are_refused_for_a_while_where_chunks_are_denied() {
    let cold = cold(ranges(), &[]).await;
    cold.s3.on("PutObject", usize::MAX, |seen| async move { is_of_fill(&seen).then(|| refusal(403, "AccessDenied")) });
    assert!(cold.client(0).pull_whole().await.is_err());
    cold.pounce.until_quiet().await;
    let before = cold.upstream.blob_bytes();
    let refused = cold.pounce.get(&cold.path(1)).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    // What was under way when its headers had come.
    let more = cold.upstream.blob_bytes() - before;
    assert!(more <= CHUNK, "{more}");
    // A small blob needs no chunks.
    let config = &cold.image.blobs[0];
    assert_eq!(cold.pounce.pull("a/b", &digest(config)).await, *config);
    assert_eq!((cold.chunks(), cold.s3.open_uploads()), (Vec::new(), Vec::new()));
}
