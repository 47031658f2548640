//! Clients in ranges, and an upstream that is bad at them: right bytes or a broken stream, and no more connections than
//! it and the settings allow.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::ranged::{RangedClient, Shape};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const MIB: usize = 1 << 20;
const SIZE: usize = 32 * MIB;
const CONNECTIONS: usize = 4;
const SHAPES: [Shape; 3] = [Shape::open(4, 4 * MIB), Shape::closed(2, 16 * MIB), Shape::closed(8, MIB / 2)];

type Pulled = Result<Vec<u8>, String>;

struct Odd {
    upstream: Upstream,
    pounce: Pounce,
    image: Image,
}

fn ranges() -> Manners {
    Manners { ranges: true, ..Manners::default() }
}

/// 30 MB/s a connection, so that more than one connection is worth it.
fn slow() -> Manners {
    Manners { pace: Some(Duration::from_millis(2)), ..ranges() }
}

/// Layers that are only at an upstream with these manners.
async fn odd(layers: &[usize], manners: Manners, variables: &[(&str, &str)]) -> Odd {
    let (upstream, image) = (Upstream::start().await, Image::new(22, layers));
    upstream.add("a/b", "v1", &image);
    upstream.behave(manners);
    let (url, connections) = (upstream.url(), CONNECTIONS.to_string());
    let mut all = vec![("REGISTRY_PROXY_REMOTEURL", &url[..]), ("REGISTRY_PROXY_FILL_CONNECTIONS", &connections)];
    all.extend(variables);
    let pounce = Pounce::with(&all).await;
    Odd { upstream, pounce, image }
}

impl Odd {
    fn client(&self, blob: usize) -> RangedClient {
        let url = self.pounce.url(&format!("/v2/a/b/blobs/{}", digest(&self.image.blobs[blob])));
        RangedClient::new(url, self.image.blobs[blob].len())
    }

    /// The layer, by a client without ranges and by one of each shape, at once.
    async fn pull(&self) -> (Pulled, Vec<Pulled>) {
        let client = self.client(1);
        tokio::join!(client.pull_whole(), join_all(SHAPES.map(|shape| client.pull(shape))))
    }

    /// Asserts that all of them get the layer, and that it is stored.
    async fn arrives(&self, what: &str) {
        let layer = self.image.layer();
        let (whole, ranged) = self.pull().await;
        for pulled in ranged.into_iter().chain([whole]) {
            assert!(pulled.unwrap_or_else(|error| panic!("{what}: {error}")) == layer[..], "{what}");
        }
        self.pounce.until_stored(&digest(layer)).await;
        assert_eq!(self.pounce.open_uploads(), 0, "{what}");
    }

    /// Asserts that each of them gets what it can verify, or an error; that nothing wrong is stored; and that all is
    /// well once the upstream is.
    async fn is_safe(&self, what: &str) {
        let layer = self.image.layer();
        let (whole, _) = self.pull().await;
        // The other clients compare the digest themselves: a range is not verified until the blob is.
        assert!(whole.is_err() || whole.is_ok_and(|bytes| bytes == layer[..]), "{what}: wrong bytes came whole");
        self.pounce.until("its upload is gone", |pounce| pounce.open_uploads() == 0).await;
        self.upstream.behave(ranges());
        self.arrives(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_that_are_ignored_now_and_then() {
    for every in [1, 2, 5] {
        let odd = odd(&[SIZE], Manners { ignores_every: Some(every), ..ranges() }, &[]).await;
        odd.is_safe(&format!("every {}th request gets the whole", every + 1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_ranges_than_were_asked_for() {
    let wanders = Manners { wanders: true, ..ranges() };
    let shifts = Manners { shifts_ranges: true, ..ranges() };
    for (what, manners) in [("another range", wanders), ("a range with a wrong name", shifts)] {
        let odd = odd(&[SIZE], manners, &[]).await;
        odd.arrives(what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_ranges_at_all() {
    let refuses = Manners { refuses_ranges: true, ..Manners::default() };
    for (what, manners) in [("ignored", Manners::default()), ("refused", refuses)] {
        let odd = odd(&[SIZE], manners, &[]).await;
        odd.arrives(what).await;
        // One connection brings the whole, and all clients wait for it.
        let bytes = odd.upstream.blob_bytes();
        assert!(bytes <= SIZE + SIZE / 10, "{what}: {bytes} bytes of {SIZE}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etag_that_changes_between_segments() {
    // The digest decides: the same bytes with another ETag are the blob.
    let same = odd(&[SIZE], Manners { etags: true, ..ranges() }, &[]).await;
    same.arrives("another ETag each time").await;
    let changed = odd(&[SIZE], Manners { changes_after: Some(2), ..ranges() }, &[]).await;
    changed.is_safe("another content after two requests").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes() {
    let odd = odd(&[SIZE], Manners { corrupts: true, ..ranges() }, &[]).await;
    odd.is_safe("a wrong first byte").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break() {
    for (after, cuts) in [(MIB, usize::MAX), (3 * MIB, 6)] {
        let odd = odd(&[SIZE], Manners { cuts_after: Some(after), cuts, ..ranges() }, &[]).await;
        odd.arrives(&format!("cut after {after} bytes")).await;
        let bytes = odd.upstream.blob_bytes();
        // The upstream counts bytes, too, that it had not sent when it broke the connection.
        assert!(bytes <= SIZE + SIZE / 2, "cut after {after} bytes: {bytes} bytes of {SIZE}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_are_allowed() {
    let odd = odd(&[SIZE], slow(), &[]).await;
    odd.arrives("slow").await;
    let open = odd.upstream.most_open();
    assert!(open <= CONNECTIONS, "{open} connections");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_allows_few_connections_is_asked_by_few() {
    for (most, status, after) in [(2, 429, "1"), (2, 503, "1"), (1, 429, "1"), (1, 429, "30")] {
        let what = format!("{most} connections, else {status}, Retry-After: {after}");
        let odd = odd(&[SIZE], Manners { busy: Some((most, status, after)), ..slow() }, &[]).await;
        odd.arrives(&what).await;
        let (bytes, refused) = (odd.upstream.blob_bytes(), odd.upstream.refused());
        assert!(bytes <= SIZE + SIZE / 10, "{what}: {bytes} bytes of {SIZE}");
        // Each connection may learn it for itself, and once more.
        assert!(refused <= 2 * CONNECTIONS, "{what}: {refused} refusals");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bound_of_the_process_holds_for_several_blobs() {
    let odd = odd(&[SIZE, SIZE], slow(), &[("REGISTRY_PROXY_FILL_MAXCONNECTIONS", "2")]).await;
    let (one, other) = (odd.client(1), odd.client(2));
    // Clients in ranges may get connections beyond it.
    let pulls = [one.pull_whole(), other.pull_whole()];
    for (number, pulled) in join_all(pulls).await.into_iter().enumerate() {
        assert!(pulled.unwrap() == odd.image.blobs[number + 1][..]);
    }
    let open = odd.upstream.most_open();
    assert!(open <= 2, "{open} connections");
}
