//! Ranges of a cold blob share its fill: one copy from the upstream, however clients ask.

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::ranged::{Form, RangedClient, Shape};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Process, Upstream};

const MIB: usize = 1 << 20;
const SIZE: usize = 64 * MIB;
/// The most bytes that the upstream may send for one blob: a tenth more than it has, for connections that are closed
/// before their end.
const MOST: usize = SIZE + SIZE / 10;
/// One for each MiB, and some that are made anew.
const MOST_REQUESTS: usize = 100;
/// The most memory of the process, in MiB, whatever the clients do.
const MEMORY: u64 = 150;

struct Cold {
    upstream: Upstream,
    pounce: Pounce,
    image: Image,
    path: String,
}

fn ranges() -> Manners {
    Manners { ranges: true, ..Manners::default() }
}

/// A layer that is only at an upstream with these manners.
async fn cold(manners: Manners) -> Cold {
    cold_with(manners, &[]).await
}

async fn cold_with(manners: Manners, variables: &[(&str, &str)]) -> Cold {
    let (upstream, image) = upstream(manners).await;
    let url = upstream.url();
    let pounce = Pounce::with(&[&[("REGISTRY_PROXY_REMOTEURL", &url[..])], variables].concat()).await;
    let path = path(&image);
    Cold { upstream, pounce, image, path }
}

async fn upstream(manners: Manners) -> (Upstream, Image) {
    let (upstream, image) = (Upstream::start().await, Image::new(21, &[SIZE]));
    upstream.add("a/b", "v1", &image);
    upstream.behave(manners);
    (upstream, image)
}

fn path(image: &Image) -> String {
    format!("/v2/a/b/blobs/{}", digest(image.layer()))
}

impl Cold {
    fn client(&self) -> RangedClient {
        RangedClient::new(self.pounce.url(&self.path), SIZE)
    }

    async fn pulls(&self, shape: Shape) {
        let pulled = self.client().pull(shape).await.unwrap();
        assert!(pulled == self.image.layer()[..], "{shape:?}");
    }

    async fn pulls_whole(&self) {
        let pulled = self.client().pull_whole().await.unwrap();
        assert!(pulled == self.image.layer()[..]);
    }

    /// Asserts that the upstream sent the blob once, in few requests, and that the blob is stored.
    async fn came_once(&self, what: &str) {
        self.pounce.until_stored(&digest(self.image.layer())).await;
        came_once(&self.upstream, what);
        assert_eq!(self.pounce.open_uploads(), 0, "{what}");
    }
}

fn came_once(upstream: &Upstream, what: &str) {
    let (bytes, requests) = (upstream.blob_bytes(), upstream.count("GET", "/blobs/"));
    assert!((SIZE..=MOST).contains(&bytes), "{what}: {:.2} times the blob, {requests} requests", ratio(bytes));
    assert!(requests <= MOST_REQUESTS, "{what}: {requests} requests");
}

#[expect(clippy::cast_precision_loss, reason = "for a message")]
fn ratio(bytes: usize) -> f64 {
    bytes as f64 / SIZE as f64
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_clients_in_ranges_cause_one_copy() {
    let shapes = [Shape::open(4, 8 * MIB), Shape::open(3, 32 * MIB), Shape::open(16, MIB), Shape::closed(16, 4 * MIB)];
    for shape in shapes {
        let cold = cold(ranges()).await;
        // As containerd does before it asks for blobs.
        cold.pounce.get("/v2/a/b/manifests/v1").await;
        join_all((0..8).map(|_| cold.pulls(shape))).await;
        cold.came_once(&format!("{shape:?}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_and_ranged_clients_share_one_copy() {
    let cold = cold(ranges()).await;
    let whole = join_all((0..3).map(|_| cold.pulls_whole()));
    let few = join_all((0..2).map(|_| cold.pulls(Shape::open(4, 8 * MIB))));
    let many = join_all((0..2).map(|_| cold.pulls(Shape::closed(16, MIB))));
    tokio::join!(whole, few, many);
    cold.came_once("mixed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_is_not_asked_twice_for_what_clients_wait_for() {
    // 25 MB/s a connection.
    let pace = std::time::Duration::from_micros(2600);
    let cold = cold(Manners { pace: Some(pace), ..ranges() }).await;
    join_all((0..4).map(|_| cold.pulls(Shape::open(4, 4 * MIB)))).await;
    cold.came_once("slow").await;
}

#[tokio::test]
async fn backwards() {
    let cold = cold(ranges()).await;
    let shape = Shape::closed(2, 3 * MIB);
    let mut chunks = shape.chunks(SIZE);
    chunks.reverse();
    let pulled = cold.client().pull_chunks(shape, chunks).await.unwrap();
    assert!(pulled == cold.image.layer()[..]);
    cold.came_once("backwards").await;
}

#[tokio::test]
async fn overlapping() {
    let cold = cold(ranges()).await;
    let starts = (0..SIZE).step_by(MIB);
    let chunks = starts.map(|start| start..SIZE.min(start + 5 * MIB)).collect();
    let pulled = cold.client().pull_chunks(Shape::closed(8, 5 * MIB), chunks).await.unwrap();
    assert!(pulled == cold.image.layer()[..]);
    cold.came_once("overlapping").await;
}

#[tokio::test]
async fn a_thousand_ranges_of_one_byte() {
    let cold = cold(ranges()).await;
    let (client, layer) = (cold.client(), cold.image.layer());
    // Each lies far from the one before it.
    let at = (0..1000).map(|index| index * 25_000_003 % SIZE);
    let asked = at.map(|at| (at, client.chunk(at..at + 1, Form::Closed)));
    let asked = asked.map(|(at, byte)| async move { byte.await.unwrap() == layer[at..=at] });
    let right = futures_util::stream::iter(asked);
    let right: Vec<bool> = futures_util::StreamExt::collect(futures_util::StreamExt::buffered(right, 32)).await;
    assert!(right.iter().all(|right| *right));
    cold.came_once("single bytes").await;
}

#[tokio::test]
async fn suffixes() {
    let cold = cold(ranges()).await;
    let (client, layer) = (cold.client(), cold.image.layer());
    for len in [1, 100, 5 * MIB, SIZE, SIZE + 9] {
        let response = client.open(&format!("bytes=-{len}")).await.unwrap();
        assert_eq!(response.status(), 206, "{len}");
        assert!(response.bytes().await.unwrap() == layer[SIZE.saturating_sub(len)..], "{len}");
    }
    cold.came_once("suffixes").await;
}

#[tokio::test]
async fn beyond_the_end() {
    let held = Manners { holds_after: Some(MIB), ..ranges() };
    let cold = cold(held).await;
    for range in [format!("bytes={SIZE}-"), format!("bytes={SIZE}-{}", SIZE + 9), format!("bytes={}-", u64::MAX)] {
        let reply = cold.pounce.range(&cold.path, &range).await;
        assert_eq!((reply.status, &reply.code()[..]), (416, "RANGE_INVALID"), "{range}");
        // RFC 9110, section 15.5.17.
        assert_eq!(reply.header("content-range"), format!("bytes */{SIZE}"), "{range}");
    }
    // They are refused without any byte, and disturb no one.
    cold.upstream.release();
    cold.pulls_whole().await;
    cold.came_once("beyond the end").await;
}

#[tokio::test]
async fn a_range_applies_to_the_blob_that_the_client_knows() {
    // RFC 9110, section 13.1.5: with another ETag than the blob's, the range is ignored.
    for (of, status, len) in [(None, 206, 1000), (Some("another"), 200, SIZE)] {
        let cold = cold(ranges()).await;
        let etag = of.map_or_else(|| digest(cold.image.layer()), |other| digest(other.as_bytes()));
        let request = cold.pounce.request("GET", &cold.path).header("range", "bytes=1000-1999");
        let reply = cold.pounce.send(request.header("if-range", format!("\"{etag}\""))).await;
        assert_eq!((reply.status, reply.body.len(), reply.whole), (status, len, true), "{of:?}");
    }
}

#[tokio::test]
async fn head_knows_no_ranges() {
    // RFC 9110, section 14.2: a range is defined for GET alone.
    let cold = cold(ranges()).await;
    cold.pounce.get("/v2/a/b/manifests/v1").await;
    for range in ["bytes=5-9".to_owned(), format!("bytes={SIZE}-")] {
        let head = cold.pounce.send(cold.pounce.request("HEAD", &cold.path).header("range", range)).await;
        assert_eq!((head.status, head.header("content-length")), (200, &SIZE.to_string()[..]));
        assert_eq!((head.header("content-range"), head.header("accept-ranges")), ("", "bytes"));
    }
    assert_eq!(cold.upstream.count("GET", "/blobs/"), 0);
}

#[tokio::test]
async fn a_manifest_that_says_another_size_changes_nothing_where_the_upstream_says_the_right_one() {
    for said in [1, 9 * MIB, SIZE + 1] {
        let cold = cold(ranges()).await;
        says(&cold, said).await;
        cold.pulls(Shape::closed(4, 8 * MIB)).await;
        cold.came_once(&format!("{said} bytes, says the manifest")).await;
    }
}

#[tokio::test]
async fn a_size_that_only_a_wrong_manifest_tells_never_ends_a_pull_early() {
    for said in [9 * MIB, SIZE + 1] {
        let cold = cold(Manners { chunked: true, ..Manners::default() }).await;
        says(&cold, said).await;
        // A client that believes the manifest gets bytes of the blob, or a broken connection, and no more than there
        // are.
        let client = RangedClient::new(cold.pounce.url(&cold.path), said);
        let shape = Shape::closed(2, 4 * MIB);
        let asked = shape.chunks(said).into_iter().map(|chunk| client.chunk(chunk, Form::Closed));
        for (chunk, came) in shape.chunks(said).into_iter().zip(join_all(asked).await) {
            if let Ok(bytes) = came {
                assert!(cold.image.layer().get(chunk.clone()) == Some(&bytes), "{said} bytes: {chunk:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_size_that_only_the_upstream_gets_wrong_is_no_reason_for_a_416() {
    // Clients take a 416 for final, but the upstream's next answer may be right.
    let (upstream, image) = (Upstream::start().await, Image::new(21, &[MIB]));
    upstream.add("a/b", "v1", &image);
    upstream.behave(Manners { claims: Some(50), ..ranges() });
    let pounce = Pounce::before(&upstream).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    let (path, slice) = (path(&image), image.layer().slice(1000..2000));
    let reply = pounce.range(&path, "bytes=1000-1999").await;
    assert!(reply.status != 416 && (!reply.whole || reply.status == 503 || reply.body == slice), "{reply:?}");
    pounce.until_quiet().await;
    upstream.behave(ranges());
    let client = RangedClient::new(pounce.url(&path), MIB);
    assert!(client.chunk(1000..2000, Form::Closed).await.unwrap() == slice);
}

/// Pulls a manifest that gives the layer this size.
async fn says(cold: &Cold, size: usize) {
    let layer = digest(cold.image.layer());
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest =
        format!(r#"{{"schemaVersion":2,"layers":[{{"mediaType":"a/b","digest":"{layer}","size":{size}}}]}}"#);
    cold.upstream.add_manifest("a/b", "lie", media_type, manifest);
    assert_eq!(cold.pounce.get("/v2/a/b/manifests/lie").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_tells_no_size_sends_it_once() {
    for manners in [Manners { chunked: true, ..ranges() }, Manners { chunked: true, ..Manners::default() }] {
        for knows_manifest in [true, false] {
            let cold = cold(manners.clone()).await;
            if knows_manifest {
                cold.pounce.get("/v2/a/b/manifests/v1").await;
            }
            join_all((0..2).map(|_| cold.pulls(Shape::open(4, 16 * MIB)))).await;
            cold.came_once(&format!("ranges: {}, manifest: {knows_manifest}", manners.ranges)).await;
        }
    }
}

#[tokio::test]
async fn a_range_that_goes_past_a_fill_that_stands_still_is_bounded() {
    // Each connection that the fill makes of its own accord stands still.
    let manners = Manners { holds_after: Some(MIB), holds: 2, ..ranges() };
    let cold = cold_with(manners, &[("REGISTRY_PROXY_FILL_CONNECTIONS", "2")]).await;
    let from = 20 * MIB;
    let bytes = cold.client().chunk(from..from + 100_000, Form::Open).await.unwrap();
    assert!(bytes == cold.image.layer()[from..from + 100_000]);
    let seen = cold.upstream.seen();
    let gets: Vec<_> = seen.iter().filter(|seen| seen.path.contains("/blobs/")).collect();
    let ranges: Vec<_> = gets.iter().filter_map(|seen| seen.headers.get("range")).collect();
    assert_eq!(gets.len(), ranges.len());
    for range in ranges {
        let range = range.to_str().unwrap();
        let (start, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let len = last.parse::<usize>().unwrap() + 1 - start.parse::<usize>().unwrap();
        assert!(len <= SIZE / 4, "{range}");
    }
    cold.upstream.release();
    cold.pulls_whole().await;
}

/// pounce as a process, whose memory can be read.
async fn process() -> (Upstream, Process, Image) {
    let (upstream, image) = upstream(ranges()).await;
    let process = Process::start(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url())]);
    (upstream, process, image)
}

/// Asserts that another client still gets the blob, that it came once, and that the process stayed small.
async fn ends_well(upstream: &Upstream, process: &Process, image: &Image, what: &str) {
    let client = RangedClient::new(process.url(&path(image)), SIZE);
    assert!(client.pull_whole().await.unwrap() == image.layer()[..], "{what}");
    assert!(client.pull(Shape::open(4, 8 * MIB)).await.unwrap() == image.layer()[..], "{what}");
    came_once(upstream, what);
    let peak = process.peak();
    assert!(peak <= MEMORY, "{what}: {peak} MiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_range_costs_what_is_read_of_it() {
    let (upstream, process, image) = process().await;
    let client = RangedClient::new(process.url(&path(&image)), SIZE);
    let read = (0..64).map(|index| {
        let at = index * MIB;
        let (client, layer) = (&client, image.layer());
        async move { assert!(client.chunk(at..at + 50_000, Form::Open).await.unwrap() == layer[at..at + 50_000]) }
    });
    join_all(read).await;
    ends_well(&upstream, &process, &image, "one chunk each").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_hold_up_no_other() {
    let (upstream, process, image) = process().await;
    let client = RangedClient::new(process.url(&path(&image)), SIZE);
    let ranges: Vec<String> = (0..64).map(|index| format!("bytes={}-", index * MIB)).collect();
    let held: Vec<_> = join_all(ranges.iter().map(|range| client.open(range))).await;
    assert!(held.iter().all(Result::is_ok));
    ends_well(&upstream, &process, &image, "none reads").await;
    drop(held);
}
