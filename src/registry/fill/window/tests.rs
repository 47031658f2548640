use super::*;
use crate::oci::Algorithm;
use crate::telemetry::FillMemory;

const CHUNK: u64 = 10;

fn memory(bytes: u64) -> Arc<Memory> {
    Memory::new(bytes, FillMemory::default())
}

fn window(memory: &Arc<Memory>, name: &str) -> Window {
    let layout = Layout { size: Some(200), chunk: CHUNK };
    Window::new(memory, Digest::of(Algorithm::Sha256, name.as_bytes()), layout)
}

/// Which of these chunks may begin while `lowest` is not complete.
fn begin(window: &Window, lowest: u64, numbers: &[u64]) -> Vec<bool> {
    numbers.iter().map(|&number| window.may_begin(NewChunk { number, lowest }, Uuid::nil(), true)).collect()
}

fn store(window: &Window, number: u64) {
    assert!(window.write(Uuid::nil(), number * CHUNK, &[Bytes::from_static(&[7; 10])]));
    window.end(number);
    window.stored(number);
}

#[test]
fn the_lowest_chunk_finds_memory_whatever_clients_want() {
    // Three quarters are four chunks: half of them for far ones.
    let memory = memory(56);
    let window = window(&memory, "a");
    assert_eq!(begin(&window, 0, &[15, 16, 17, 1, 2]), [true, true, false, true, false]);
    assert_eq!(begin(&window, 0, &[0, 15]), [true, true]);
    // Far ones that are stored make way for others, and are read back.
    store(&window, 16);
    assert_eq!(begin(&window, 0, &[17, 18]), [true, false]);
    assert_eq!((window.chunk(16), window.chunk(17)), (None, None));
    // The lowest one takes theirs, if there is no other.
    store(&window, 15);
    assert_eq!(begin(&window, 3, &[3]), [true]);
    assert!(window.chunk(15).is_none());
}

#[test]
fn chunks_begin_again_after_all_pauses() {
    let memory = memory(56);
    let window = window(&memory, "a");
    assert_eq!(begin(&window, 0, &[0]), [true]);
    window.pause();
    window.pause();
    assert_eq!(begin(&window, 0, &[0, 1]), [true, false]);
    window.resume();
    assert_eq!(begin(&window, 0, &[1]), [false]);
    window.resume();
    assert_eq!(begin(&window, 0, &[1]), [true]);
}

#[test]
fn what_is_stored_and_hashed_is_kept_until_its_memory_is_needed() {
    let memory = memory(56);
    let (first, second) = (window(&memory, "a"), window(&memory, "b"));
    assert_eq!(begin(&first, 0, &[0, 1]), [true, true]);
    store(&first, 0);
    store(&first, 1);
    first.hashed(2);
    assert_eq!(begin(&first, 2, &[2, 3]), [true, true]);
    assert!(first.chunk(0).is_some());
    assert_eq!(begin(&second, 0, &[0]), [true]);
    assert!(first.chunk(0).is_some());
    assert_eq!(begin(&second, 0, &[1]), [true]);
    assert!(first.chunk(0).is_none() && first.chunk(1).is_some());
    assert_eq!(first.read(15, 100, <[u8]>::len), Some(5));
}

#[tokio::test]
async fn memory_that_is_waited_for_goes_to_the_lowest_chunk() {
    let memory = memory(16);
    let (first, second) = (window(&memory, "a"), window(&memory, "b"));
    assert_eq!(begin(&first, 0, &[0, 1]), [true, false]);
    assert_eq!(begin(&second, 0, &[0]), [false]);
    assert!(second.is_short() && !first.is_short());
    let mut more = Box::pin(second.wait_for_memory());
    assert!(futures_util::poll!(&mut more).is_pending());
    store(&first, 0);
    first.hashed(1);
    more.await;
    assert_eq!(begin(&second, 0, &[1, 0]), [false, true]);
    first.close();
    second.close();
    assert!(memory.block_now(Digest::of(Algorithm::Sha256, b"c"), CHUNK).is_some());
}

#[tokio::test]
async fn a_block_that_becomes_evictable_before_the_request_waits_is_given_up_for_it() {
    let memory = memory(16);
    let (first, second) = (window(&memory, "a"), window(&memory, "b"));
    assert_eq!(begin(&first, 0, &[0]), [true]);
    assert_eq!(begin(&second, 0, &[0]), [false]);
    store(&first, 0);
    first.hashed(1);
    second.wait_for_memory().await;
    assert_eq!(begin(&second, 0, &[0]), [true]);
}

#[tokio::test]
async fn a_short_chunk_waits_for_its_own_length() {
    let memory = memory(16);
    let windows = [("a", 10), ("b", 5), ("c", 3)].map(|(name, size)| {
        let layout = Layout { size: Some(size), chunk: CHUNK };
        let window = Window::new(&memory, Digest::of(Algorithm::Sha256, name.as_bytes()), layout);
        (begin(&window, 0, &[0]), window)
    });
    let [(first, _a), (second, b), (third, c)] = windows;
    assert_eq!([first, second, third], [[true], [true], [false]]);
    b.close();
    c.wait_for_memory().await;
    assert_eq!(begin(&c, 0, &[0]), [true]);
}

#[tokio::test]
async fn a_wait_that_is_dropped_can_begin_again() {
    let memory = memory(16);
    let (first, second) = (window(&memory, "a"), window(&memory, "b"));
    assert_eq!(begin(&first, 0, &[0]), [true]);
    for _ in 0..2 {
        assert_eq!(begin(&second, 0, &[0]), [false]);
        let mut waiting = Box::pin(second.wait_for_memory());
        assert!(futures_util::poll!(&mut waiting).is_pending() && second.is_short());
        drop(waiting);
        assert!(!second.is_short());
    }
    first.close();
    assert_eq!(begin(&second, 0, &[0]), [true]);
}

#[test]
fn memory_is_reserved_as_long_as_there_are_copies_of_it() {
    let memory = memory(16);
    let (first, second) = (window(&memory, "a"), window(&memory, "b"));
    assert_eq!(begin(&first, 0, &[0]), [true]);
    store(&first, 0);
    let bytes = first.chunk(0).unwrap();
    first.close();
    assert_eq!(begin(&second, 0, &[0]), [false]);
    drop(bytes);
    assert!(memory.block_now(Digest::of(Algorithm::Sha256, b"c"), CHUNK).is_some());
}

#[test]
fn a_blob_of_unknown_size_gives_up_its_last_chunk_too() {
    let memory = memory(16);
    let layout = Layout { size: None, chunk: CHUNK };
    let first = Window::new(&memory, Digest::of(Algorithm::Sha256, b"a"), layout);
    assert_eq!(begin(&first, 0, &[0]), [true]);
    assert!(first.write(Uuid::nil(), 0, &[Bytes::from_static(b"last")]));
    first.end_at(4);
    assert_eq!(first.chunk(0).unwrap(), b"last"[..]);
    first.stored(0);
    assert_eq!(begin(&window(&memory, "b"), 0, &[0]), [true]);
    assert_eq!(first.chunk(0), None);
}

#[tokio::test]
async fn a_blob_that_no_request_needs_takes_only_what_no_other_waits_for() {
    let memory = memory(27);
    let windows = ["a", "b", "c"].map(|name| window(&memory, name));
    let [first, prefetched, wanted] = &windows;
    let prefetch = |lowest| prefetched.may_begin(NewChunk { number: lowest, lowest }, Uuid::nil(), false);
    assert!(prefetch(0));
    assert_eq!(begin(first, 0, &[0]), [true]);
    assert!(!prefetch(1) && !prefetched.is_short());
    assert_eq!(begin(wanted, 0, &[0]), [false]);
    let mut waiting = Box::pin(wanted.wait_for_memory());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    store(prefetched, 0);
    prefetched.hashed(1);
    assert!(!prefetch(1));
    waiting.await;
    assert_eq!(begin(wanted, 0, &[0]), [true]);
}

#[test]
fn only_memory_that_others_keep_starves_a_fill() {
    let memory = memory(28);
    let (first, second) = (window(&memory, "a"), window(&memory, "b"));
    assert_eq!(begin(&first, 0, &[0, 1]), [true, true]);
    assert_eq!((begin(&first, 2, &[2]), begin(&second, 0, &[0])), (vec![false], vec![false]));
    assert!(second.is_starved(Duration::ZERO) && !first.is_starved(Duration::ZERO));
}

#[test]
fn small_blobs_have_a_budget_of_their_own() {
    let memory = memory(640);
    let holder = Digest::of(Algorithm::Sha256, b"a");
    let large: Vec<_> = (0..2).map(|n: u8| memory.block_now(Digest::of(Algorithm::Sha256, &[n]), 320)).collect();
    assert!(large.iter().all(Option::is_some) && memory.block_now(holder, 21).is_none());
    let small = memory.block_now(holder, 20).unwrap();
    // One blob has no more than that.
    assert!(memory.block_now(holder, 1).is_none());
    drop(small);
}
