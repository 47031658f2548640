//! One client must not take other clients' connections, time or memory.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::image::digest;
use crate::support::wire::{exchange, head, raise_descriptors, responses, to_the_end};
use crate::support::{Pounce, Process, Upstream};

#[tokio::test]
async fn ten_thousand_idle_connections_keep_nobody_out() {
    let most = raise_descriptors();
    let places = most * 9 / 10;
    let process = Process::start(&[("REGISTRY_HTTP_LIMITS_CONNECTIONS", &places.to_string())]);
    let mut idle = Vec::new();
    for _ in 0..most {
        idle.push(TcpStream::connect(&process.addr).await.unwrap());
        if idle.len() % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    for _ in 0..20 {
        assert_eq!(reqwest::get(process.url("/v2/")).await.unwrap().status(), 200);
    }
    let open = process.metric("connections").await;
    assert!(open <= places as u64, "{open}");
}

#[tokio::test]
async fn a_connection_that_is_idle_makes_room_and_a_busy_one_does_not() {
    let upstream = Upstream::start().await;
    let pounce =
        Pounce::with(&[("REGISTRY_PROXY_REMOTEURL", &upstream.url()), ("REGISTRY_HTTP_LIMITS_CONNECTIONS", "16")])
            .await;
    let begun = pounce.begin("a").await;
    // This connection is in the middle of a push.
    let mut busy = TcpStream::connect(pounce.addr).await.unwrap();
    let blob = vec![7; 1000];
    let path = format!("{begun}&digest={}", digest(&blob));
    let request = head("PUT", &path, &["Content-Length: 1000", "Connection: close"]);
    busy.write_all(request.as_bytes()).await.unwrap();
    busy.write_all(&blob[..500]).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(pounce.addr).await.unwrap());
        let reply = exchange(pounce.addr, head("GET", "/v2/", &["Connection: close"]).as_bytes()).await;
        assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    }
    // pounce closed the oldest idle connection.
    assert_eq!(idle[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
    busy.write_all(&blob[500..]).await.unwrap();
    let reply = to_the_end(busy).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
}

#[tokio::test]
async fn slow_headers_and_silence_end_a_connection() {
    let pounce =
        Pounce::with(&[("REGISTRY_HTTP_LIMITS_HEADERTIMEOUT", "1s"), ("REGISTRY_HTTP_LIMITS_IDLETIMEOUT", "1h")]).await;
    // Clients open connections in advance, and send on them later.
    let mut spare = TcpStream::connect(pounce.addr).await.unwrap();
    // A byte now and then, in the first header and in the second one.
    for first in ["", &head("GET", "/v2/", &[])] {
        let connection = TcpStream::connect(pounce.addr).await.unwrap();
        let (reading, mut writing) = connection.into_split();
        writing.write_all(first.as_bytes()).await.unwrap();
        let dripping = tokio::spawn(async move {
            while writing.write_all(b"G").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        to_the_end(reading).await;
        dripping.await.unwrap();
    }
    let request = head("GET", "/v2/", &["Connection: close"]);
    spare.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(responses(&to_the_end(spare).await), 1);
    // No byte at all, and no byte after a finished request.
    let pounce = pounce.restart(&[("REGISTRY_HTTP_LIMITS_IDLETIMEOUT", "1s")]).await;
    let silent = TcpStream::connect(pounce.addr).await.unwrap();
    assert_eq!(to_the_end(silent).await, "");
    let mut kept = TcpStream::connect(pounce.addr).await.unwrap();
    let request = head("GET", "/v2/", &[]);
    kept.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(responses(&to_the_end(kept).await), 1);
    // A slow body is allowed: a byte every 100 ms, for longer than both timeouts.
    let begun = pounce.begin("a").await;
    let mut slow = TcpStream::connect(pounce.addr).await.unwrap();
    let blob = vec![7; 30];
    let path = format!("{begun}&digest={}", digest(&blob));
    let request = head("PUT", &path, &["Content-Length: 30", "Connection: close"]);
    slow.write_all(request.as_bytes()).await.unwrap();
    for byte in &blob {
        slow.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(to_the_end(slow).await.starts_with("HTTP/1.1 201"));
}

/// An HTTP/2 client that asks, with a window of zero bytes for the answer.
#[tokio::test]
async fn an_answer_that_nobody_takes_ends_its_connection() {
    let pounce = Pounce::with(&[("REGISTRY_HTTP_LIMITS_WRITETIMEOUT", "1s")]).await;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    };
    // SETTINGS_INITIAL_WINDOW_SIZE is 0; then GET /v2/ of the host x, as HPACK writes it.
    let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let headers = frame(1, 5, 1, b"\x82\x86\x04\x04/v2/\x01\x01x");
    let mut connection = TcpStream::connect(pounce.addr).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [&preface[..], &settings, &headers] {
        connection.write_all(bytes).await.unwrap();
    }
    to_the_end(connection).await;
    pounce.until_metric("connections", 0).await;

    // Until the timeout, many such clients cannot keep other clients out.
    let places = ("REGISTRY_HTTP_LIMITS_CONNECTIONS", "16");
    let pounce = Pounce::with(&[places]).await;
    let mut stalled = Vec::new();
    for _ in 0..16 {
        let mut connection = TcpStream::connect(pounce.addr).await.unwrap();
        for bytes in [&preface[..], &settings, &headers] {
            connection.write_all(bytes).await.unwrap();
        }
        stalled.push(connection);
    }
    let request = head("GET", "/v2/", &["Connection: close"]);
    let reply = exchange(pounce.addr, request.as_bytes()).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

#[tokio::test]
async fn an_answer_that_nobody_takes_ends_nothing_that_goes_on_beside_it() {
    let mut pounce = Pounce::with(&[("REGISTRY_HTTP_LIMITS_WRITETIMEOUT", "1s")]).await;
    let stream = TcpStream::connect(pounce.addr).await.unwrap();
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        // No answer can send a byte.
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let get = hyper::Request::get(pounce.url("/v2/")).body(Body::empty());
    let stalled = sender.send_request(get.unwrap()).await.unwrap();
    // A byte every 100 ms, for longer than the other answer waits.
    let pieces = futures_util::stream::unfold(0, |sent| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (sent < 30).then(|| (Ok::<_, std::io::Error>(Bytes::from_static(b"a")), sent + 1))
    });
    let path = pounce.begin("a").await;
    let url = format!("{}&digest={}", pounce.url(&path), digest(&[b'a'; 30]));
    let put = hyper::Request::put(url).body(Body::from_stream(pieces));
    let pushed = sender.send_request(put.unwrap()).await.unwrap();
    assert_eq!(pushed.status(), 201);
    drop(stalled);
    drop(sender);
    pounce.end().await;
}

#[tokio::test]
async fn a_header_or_a_manifest_of_any_size_takes_no_memory() {
    let process = Process::start(&[("REGISTRY_LOG_ACCESSLOG_DISABLED", "true")]);
    reqwest::get(process.url("/v2/")).await.unwrap();
    let before = process.peak();
    let line = format!("X-Filler: {}\r\n", "a".repeat(8000));
    let (one, megabyte) = ("a".repeat(1 << 20), "a".repeat(1 << 20));
    let starts = [
        // 100 MB of lines, of one line, of a path, and of credentials.
        (head("GET", "/v2/", &[]).trim_end().to_owned() + "\r\n", line.repeat(125)),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ".to_owned(), one.clone()),
        ("GET /v2/".to_owned(), one.clone()),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ".to_owned(), one),
        // A manifest of 1 GB, with and without a Content-Length.
        (head("PUT", "/v2/a/manifests/v1", &["Content-Length: 1000000000"]), megabyte.clone()),
        (
            head("PUT", "/v2/a/manifests/v1", &["Transfer-Encoding: chunked"]),
            format!("{:x}\r\n{megabyte}\r\n", megabyte.len()),
        ),
        // A body on a request that takes none.
        (head("GET", "/v2/", &["Content-Length: 1000000000"]), megabyte.clone()),
        (head("POST", "/v2/a/blobs/uploads/", &["Content-Length: 1000000000"]), megabyte),
    ];
    for (start, piece) in starts {
        let (mut reading, mut writing) = TcpStream::connect(&process.addr).await.unwrap().into_split();
        let piece = piece.into_bytes();
        let label = start.lines().next().unwrap().to_owned();
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            if writing.write_all(start.as_bytes()).await.is_err() {
                return sent;
            }
            // 100 MB of a header, or of a body that pounce discards after its answer.
            while sent < 100_000_000 && writing.write_all(&piece).await.is_ok() {
                sent += piece.len();
            }
            sent
        });
        let mut reply = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut reply)).await;
        drop(reading);
        let sent = sending.await.unwrap();
        assert!(sent < 100_000_000, "{label}: all was taken");
        // A client that is still sending may miss the answer; if it gets one, it is the right one.
        let status = String::from_utf8_lossy(&reply).split(' ').nth(1).map(str::to_owned);
        let right = ["413", "431", "414", "200", "202", "400"];
        assert!(status.is_none_or(|it| right.contains(&&*it)), "{label}: {reply:.200?}");
    }
    let grown = process.peak() - before;
    assert!(grown < 48, "{grown} MiB");
    assert_eq!(reqwest::get(process.url("/v2/")).await.unwrap().status(), 200);
}
