use super::*;
use crate::oci::Algorithm;

const CHUNK: u64 = 10;

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
    let memory = Memory::new(56);
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
fn what_is_stored_and_hashed_is_kept_until_its_memory_is_needed() {
    let memory = Memory::new(56);
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
    let memory = Memory::new(16);
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
