//! Pushes that hold permits and memory, and send next to nothing.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::support::attacks::pushes::{silent, trickle};
use crate::support::image::noise;
use crate::support::{Image, Pounce};

/// `count` addresses in one network.
fn near(count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|last| Ipv4Addr::new(127, 1, 1, last)).collect()
}

/// `count` addresses, each in a network of its own.
fn far(count: u8) -> Vec<Ipv4Addr> {
    (1..=count).map(|third| Ipv4Addr::new(127, 1, third, 1)).collect()
}

const MIB: usize = 1 << 20;

/// Pushes a whole image of two parts: blobs and manifest.
async fn others_push(pounce: &Pounce) {
    let image = Image::new(7, &[12 * MIB, 1000]);
    let push = pounce.push_image("others", "v1", &image);
    let pushed = tokio::time::timeout(Duration::from_mins(1), push).await;
    assert!(pushed.is_ok(), "others cannot push");
}

#[tokio::test]
async fn silent_sockets_of_one_neighbourhood_leave_places_for_others() {
    let pounce = Pounce::with(&[]).await;
    for what in [
        ("POST", format!("/v2/a/blobs/uploads/?digest=sha256:{}", "0".repeat(64))),
        ("PUT", "/v2/a/manifests/v1".to_owned()),
    ] {
        let held = silent(pounce.addr, &near(40), (what.0, &what.1)).await;
        others_push(&pounce).await;
        drop(held);
    }
}

#[tokio::test]
async fn silent_and_slow_sockets_of_many_neighbourhoods_lose_their_places() {
    let pounce = Pounce::with(&[]).await;
    let path = format!("/v2/a/blobs/uploads/?digest=sha256:{}", "0".repeat(64));
    let blobs = silent(pounce.addr, &far(40), ("POST", &path)).await;
    let dripping = trickle(blobs, Duration::from_millis(500));
    others_push(&pounce).await;
    dripping.abort();

    let manifests = silent(pounce.addr, &far(40), ("PUT", "/v2/a/manifests/v1")).await;
    others_push(&pounce).await;
    drop(manifests);
}

#[tokio::test]
async fn a_byte_keeps_no_part_of_the_memory_from_others() {
    let pounce = Pounce::with(&[]).await;
    let path = format!("/v2/a/blobs/uploads/?digest=sha256:{}", "0".repeat(64));
    // Permits are left, and as whole parts these pushes would take all of the memory.
    let held = silent(pounce.addr, &far(20), ("POST", &path)).await;
    others_push(&pounce).await;
    drop(held);
}

#[tokio::test]
async fn an_upload_goes_on_where_it_was_when_its_body_lost_its_place() {
    let pounce = Pounce::with(&[]).await;
    let first = pounce.begin("a").await;
    let blob = noise(1, 3 * MIB);
    let begun = pounce.patch(&first, blob.slice(..MIB)).await;
    let begun = begun.header("location").to_owned();
    let held = silent(pounce.addr, &far(1), ("PATCH", &begun)).await;
    let path = format!("/v2/b/blobs/uploads/?digest=sha256:{}", "0".repeat(64));
    let more = silent(pounce.addr, &far(40), ("POST", &path)).await;
    others_push(&pounce).await;
    let status = pounce.get(&begun).await;
    assert_eq!(status.header("range"), format!("0-{}", MIB - 1));
    drop((held, more));
    let next = pounce.patch(status.header("location"), blob.slice(MIB..)).await;
    let digest = crate::support::image::digest(&blob);
    let closed = pounce.close(next.header("location"), &digest, bytes::Bytes::new()).await;
    assert_eq!(closed.status, 201, "{closed:?}");
}
