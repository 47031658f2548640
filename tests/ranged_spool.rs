//! Clients in ranges, and a spool that is too small for their blobs.

use futures_util::future::join_all;

use crate::support::image::digest;
use crate::support::ranged::{Form, RangedClient, Shape};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream};

const MIB: usize = 1 << 20;
const SIZE: usize = 24 * MIB;

async fn small_spool(max: usize, manners: Manners) -> (Upstream, Pounce, Image) {
    let (upstream, image) = (Upstream::start().await, Image::new(23, &[SIZE, SIZE, SIZE]));
    upstream.add("a/b", "v1", &image);
    upstream.behave(manners);
    let max = max.to_string();
    let variables = [("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]), ("REGISTRY_PROXY_SPOOL_MAXSIZE", &max)];
    let pounce = Pounce::with(&variables).await;
    (upstream, pounce, image)
}

fn client(pounce: &Pounce, blob: &[u8]) -> RangedClient {
    RangedClient::new(pounce.url(&format!("/v2/a/b/blobs/{}", digest(blob))), blob.len())
}

fn ranges() -> Manners {
    Manners { ranges: true, ..Manners::default() }
}

#[tokio::test]
async fn a_blob_larger_than_the_spool_comes_in_ranges_all_the_same() {
    for manners in [ranges(), Manners::default()] {
        let (_upstream, pounce, image) = small_spool(10 * MIB, manners).await;
        pounce.get("/v2/a/b/manifests/v1").await;
        let (layer, client) = (image.layer(), client(&pounce, image.layer()));
        let shapes = [Shape::open(4, 4 * MIB), Shape::closed(2, 8 * MIB)];
        let (whole, ranged) = tokio::join!(client.pull_whole(), join_all(shapes.map(|shape| client.pull(shape))));
        for pulled in ranged.into_iter().chain([whole]) {
            assert!(pulled.unwrap() == layer[..]);
        }
        pounce.until_stored(&digest(layer)).await;
        assert_eq!(pounce.open_uploads(), 0);
    }
}

#[tokio::test]
async fn a_spool_that_is_full_in_the_middle_of_an_interval_breaks_streams_and_nothing_else() {
    for manners in [ranges(), Manners::default()] {
        // The size is not announced, so that the spool turns out to be too small while clients follow.
        let (_upstream, pounce, image) = small_spool(20 * MIB, Manners { chunked: true, ..manners }).await;
        let (layer, client) = (image.layer(), client(&pounce, image.layer()));
        let shape = Shape::open(4, 5 * MIB);
        let chunks = shape.chunks(SIZE);
        let asked = chunks.iter().map(|chunk| client.chunk(chunk.clone(), Form::Open));
        let (whole, came) = tokio::join!(client.pull_whole(), join_all(asked));
        assert!(whole.is_err() || whole.is_ok_and(|bytes| bytes == layer[..]));
        for (chunk, bytes) in chunks.into_iter().zip(came) {
            assert!(bytes.is_err() || bytes.is_ok_and(|bytes| bytes == layer[chunk.clone()]), "{chunk:?}");
        }
        // The next ones bypass the spool.
        assert!(client.pull_whole().await.unwrap() == layer[..]);
        assert!(client.pull(shape).await.unwrap() == layer[..]);
        pounce.until_stored(&digest(layer)).await;
        assert_eq!(pounce.open_uploads(), 0);
    }
}

#[tokio::test]
async fn two_blobs_share_a_spool_that_fits_one_and_give_it_back() {
    let (upstream, pounce, image) = small_spool(SIZE * 3 / 2, ranges()).await;
    pounce.get("/v2/a/b/manifests/v1").await;
    let shape = Shape::closed(4, 4 * MIB);
    let clients = [1, 2].map(|layer| client(&pounce, &image.blobs[layer]));
    let pulls = clients.iter().map(|client| client.pull(shape));
    for (number, pulled) in join_all(pulls).await.into_iter().enumerate() {
        assert!(pulled.unwrap() == image.blobs[number + 1][..]);
    }
    // The third one has the spool for itself: it comes once, for all of its clients.
    pounce.until_quiet().await;
    upstream.behave(ranges());
    let (last, third) = (&image.blobs[3], client(&pounce, &image.blobs[3]));
    for pulled in join_all((0..4).map(|_| third.pull(shape))).await {
        assert!(pulled.unwrap() == last[..]);
    }
    pounce.until_stored(&digest(last)).await;
    let bytes = upstream.blob_bytes();
    assert!((SIZE..=SIZE + SIZE / 10).contains(&bytes), "{bytes} bytes of {SIZE}");
}
