//! How many allocations the requests of a warm image's pull cost.
//!
//! They are counted on the server's thread, from the first byte of a request to the last of its answer, hyper and tokio
//! included; the client runs in a thread of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::image::digest;
use crate::support::{Image, Pounce, borrowed};

/// The system's allocator, with a count of calls for each thread.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "an allocator is one; this one passes everything on")]
// SAFETY: every call passes the caller's arguments to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        unsafe { System.realloc(memory, layout, size) }
    }
}

const OFF: (&str, &str) = ("REGISTRY_LOG_ACCESSLOG_DISABLED", "true");
const AS_TEXT: (&str, &str) = ("REGISTRY_LOG_ACCESSLOG_FORMAT", "text");
const AS_JSON: (&str, &str) = ("REGISTRY_LOG_ACCESSLOG_FORMAT", "json");
const AS_COMBINED: (&str, &str) = ("REGISTRY_LOG_ACCESSLOG_FORMAT", "combined");

/// So many requests that rare work, above all that of caches, does not show in the mean.
const REQUESTS: u64 = 2_000;

/// Requests a path again and again on one connection; returns the allocations per request on the server's thread.
async fn allocations(addr: SocketAddr, path: &str, accept: &str, status: &'static str) -> f64 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: registry.example.com\r\nAccept: {accept}\r\n\r\n");
    let ask = move |times: u64| {
        let mut connection = TcpStream::connect(addr).unwrap();
        let mut answer = vec![0; 64 << 10];
        let mut length = None;
        for _ in 0..times {
            connection.write_all(request.as_bytes()).unwrap();
            let mut read = 0;
            while length.is_none_or(|length| read < length) {
                let more = connection.read(&mut answer[read..]).unwrap();
                assert!(more > 0);
                read += more;
                length = length.or_else(|| whole(&answer[..read]));
            }
            assert!(answer.starts_with(format!("HTTP/1.1 {status}").as_bytes()));
        }
    };
    // Does all one-time work first.
    tokio::task::spawn_blocking({
        let ask = ask.clone();
        move || ask(100)
    })
    .await
    .unwrap();
    let before = CALLS.get();
    tokio::task::spawn_blocking(move || ask(REQUESTS)).await.unwrap();
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let each = (CALLS.get() - before) as f64 / REQUESTS as f64;
    println!("{path}, {accept}: {each:.2} allocations");
    each
}

/// The length of an answer, if its whole header has been received.
fn whole(answer: &[u8]) -> Option<usize> {
    let header = answer.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = str::from_utf8(&answer[..header]).unwrap();
    let (_, length) = text.split_once("content-length: ").unwrap();
    let (length, _) = length.split_once('\r').unwrap();
    Some(header + length.parse::<usize>().unwrap())
}

/// A bucket with an image, and a registry over it that has pulled the image, with these settings of its access log.
async fn warm(log: &[(&'static str, &'static str)]) -> (Pounce, Pounce, Image) {
    let bucket = Pounce::with(&[]).await;
    let s3 = bucket.as_s3();
    let mut variables = borrowed(&s3);
    variables.extend_from_slice(log);
    let pounce = Pounce::with(&variables).await;
    let image = Image::new(1, &[1000, 2000, 3000]);
    pounce.push_image("a/b", "1", &image).await;
    for blob in &image.blobs {
        assert_eq!(pounce.pull("a/b", &digest(blob)).await, *blob);
    }
    assert_eq!(pounce.get("/v2/a/b/manifests/1").await.status, 200);
    (bucket, pounce, image)
}

/// A line has no allocation: the thread's memory for it is there, and the buffer that takes it grows a few times in all.
async fn redirects(log: (&'static str, &'static str)) {
    let (_bucket, pounce, image) = warm(&[log]).await;
    let path = format!("/v2/a/b/blobs/{}", digest(&image.blobs[0]));
    let each = allocations(pounce.addr, &path, "*/*", "307").await;
    assert!(each <= 5.0, "{each}");
}

#[tokio::test]
async fn a_warm_redirect_allocates_five_times_at_most() {
    redirects(OFF).await;
}

#[tokio::test]
async fn a_warm_redirect_with_a_line_as_text_allocates_five_times_at_most() {
    redirects(AS_TEXT).await;
}

#[tokio::test]
async fn a_warm_redirect_with_a_line_as_json_allocates_five_times_at_most() {
    redirects(AS_JSON).await;
}

#[tokio::test]
async fn a_warm_redirect_with_a_combined_line_allocates_five_times_at_most() {
    redirects(AS_COMBINED).await;
}

/// The URL of the caller is not parsed anew for each request.
#[tokio::test]
async fn a_warm_redirect_over_the_folder_allocates_six_times_at_most() {
    let pounce = Pounce::with(&[OFF]).await;
    let image = Image::new(1, &[1000]);
    pounce.push_image("a/b", "1", &image).await;
    let path = format!("/v2/a/b/blobs/{}", digest(&image.blobs[0]));
    let each = allocations(pounce.addr, &path, "*/*", "307").await;
    assert!(each <= 6.0, "{each}");
}

#[tokio::test]
async fn a_warm_manifest_allocates_ten_times_at_most() {
    let (_bucket, pounce, image) = warm(&[AS_TEXT]).await;
    for reference in ["1", &image.digest()] {
        let path = format!("/v2/a/b/manifests/{reference}");
        // Clients from before there were indexes are answered from memory, too.
        for accept in ["*/*", "application/vnd.oci.image.manifest.v1+json"] {
            let each = allocations(pounce.addr, &path, accept, "200").await;
            assert!(each <= 10.0, "{each}");
        }
    }
}
