//! Tails of uploads: one-byte requests must not fill the bucket.

use bytes::Bytes;

use crate::support::Pounce;
use crate::support::attacks::tails::{begin, bytewise, replays};
use crate::support::image::digest;

const TAIL: usize = 1 << 20;
/// The newest tail and the one before it.
const MOST: usize = 2;

fn tails(pounce: &Pounce) -> usize {
    let keys = pounce.objects().into_iter();
    keys.filter(|key| key.contains("/_uploads/")).count()
}

/// The total size of the bucket's objects.
fn stored(pounce: &Pounce) -> u64 {
    let len = |key: &String| std::fs::metadata(pounce.root().join(key)).unwrap().len();
    pounce.objects().iter().map(len).sum()
}

async fn few_tails(pounce: &Pounce) {
    pounce.until_quiet().await;
    assert!(tails(pounce) <= MOST, "{} tails", tails(pounce));
    let most = (MOST * (TAIL + (64 << 10))) as u64;
    assert!(stored(pounce) <= most, "{} bytes", stored(pounce));
}

#[tokio::test]
async fn two_hundred_requests_of_a_byte_leave_two_tails() {
    let pounce = Pounce::with(&[]).await;
    let begun = begin(pounce.addr, "a", TAIL).await;
    let last = bytewise(pounce.addr, &begun, 200).await;
    few_tails(&pounce).await;
    // The upload continues at the newest location and at the oldest.
    assert_eq!(pounce.get(&begun).await.header("range"), format!("0-{}", TAIL + 199));
    let blob = Bytes::from([vec![b'a'; TAIL], vec![b'b'; 200]].concat());
    let closed = pounce.close(&last, &digest(&blob), Bytes::new()).await;
    assert_eq!(closed.status, 201, "{closed:?}");
    assert!(pounce.pull("a", &digest(&blob)).await == blob);
    pounce.until("nothing is left", |it| it.scratch().is_empty()).await;
}

#[tokio::test]
async fn requests_without_a_byte_store_nothing() {
    let pounce = Pounce::with(&[]).await;
    let begun = begin(pounce.addr, "a", TAIL).await;
    assert_eq!(tails(&pounce), 1);
    let statuses = replays(pounce.addr, &begun, b"", (20, 4)).await;
    assert_eq!(statuses, vec![202; 20]);
    assert_eq!(tails(&pounce), 1);
    // Nor does an upload without bytes.
    for _ in 0..20 {
        pounce.begin("b").await;
    }
    assert_eq!(tails(&pounce), 1);
}

#[tokio::test]
async fn replays_of_one_state_add_one_tail() {
    let pounce = Pounce::with(&[]).await;
    let begun = begin(pounce.addr, "a", TAIL).await;
    for at_once in [1, 20] {
        let statuses = replays(pounce.addr, &begun, b"b", (40, at_once)).await;
        assert!(statuses.iter().all(|it| [202, 416].contains(it)), "{statuses:?}");
        few_tails(&pounce).await;
    }
    // The client asks for the offset, and goes on there.
    let status = pounce.get(&begun).await;
    assert_eq!(status.header("range"), format!("0-{TAIL}"));
    let blob = Bytes::from([vec![b'a'; TAIL], vec![b'b'; 1]].concat());
    let location = status.header("location");
    let closed = pounce.close(location, &digest(&blob), Bytes::new()).await;
    assert_eq!(closed.status, 201, "{closed:?}");
}

#[tokio::test]
async fn replays_with_other_bytes_add_one_tail_too() {
    let pounce = Pounce::with(&[]).await;
    let begun = begin(pounce.addr, "a", TAIL).await;
    let (some, others) =
        tokio::join!(replays(pounce.addr, &begun, b"bb", (10, 10)), replays(pounce.addr, &begun, b"cc", (10, 10)));
    let statuses = [some, others].concat();
    assert!(statuses.contains(&202) && statuses.iter().all(|it| [202, 416].contains(it)));
    few_tails(&pounce).await;
}
