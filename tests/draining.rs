//! How connections end at shutdown: a client without notice loses no request.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::faults::{Fault, Faulty};
use crate::support::image::{OCI_MANIFEST, digest, noise};
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream, borrowed};

fn get(pounce: &Pounce, path: &str) -> Request<Body> {
    let request = Request::get(pounce.url(path)).header("host", pounce.addr.to_string());
    request.body(Body::empty()).unwrap()
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn a_request_after_a_long_one_is_answered_and_is_the_last() {
    let (upstream, image) = (Upstream::start().await, Image::new(1, &[1 << 20]));
    upstream.add("a/b", "1", &image);
    upstream.behave(Manners { holds_after: Some(500_000), ..Manners::default() });
    let mut pounce = Pounce::before(&upstream).await;
    let stream = TcpStream::connect(pounce.addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let path = format!("/v2/a/b/blobs/{}", digest(image.layer()));
    let long = sender.send_request(get(&pounce, &path)).await.unwrap();
    pounce.end_from_outside();
    pause(1300).await;
    upstream.release();
    let body = long.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, image.layer());
    pause(600).await;
    sender.ready().await.unwrap();
    let next = sender.send_request(get(&pounce, "/v2/")).await.unwrap();
    assert_eq!(next.status(), 200);
    assert_eq!(next.headers()["connection"], "close");
    drop(next);
    pounce.end().await;
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_has_a_second_too() {
    let mut pounce = Pounce::with(&[]).await;
    let stream = TcpStream::connect(pounce.addr).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let before = sender.send_request(get(&pounce, "/v2/")).await.unwrap();
    before.into_body().collect().await.unwrap();
    // A proxy's pool has many idle connections.
    pause(1500).await;
    pounce.end_from_outside();
    pause(300).await;
    sender.ready().await.unwrap();
    let last = sender.send_request(get(&pounce, "/v2/")).await.unwrap();
    assert_eq!(last.status(), 200);
    assert_eq!(last.headers()["connection"], "close");
    drop(last);
    pounce.end().await;
}

#[tokio::test]
async fn an_http2_client_that_reads_slowly_gets_all_of_its_answer() {
    let mut pounce = Pounce::with(&[]).await;
    let filler = const_hex::encode(noise(1, 100_000));
    let config = pounce.push("a/b", Bytes::from_static(b"{}")).await;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": {"filler": filler},
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
    });
    let manifest = manifest.to_string();
    let put = pounce.put_manifest("a/b", "1", OCI_MANIFEST, manifest.clone());
    assert_eq!(put.await.status, 201);

    let stream = TcpStream::connect(pounce.addr).await.unwrap();
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(40_000)
        .initial_connection_window_size(40_000)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(get(&pounce, "/v2/a/b/manifests/1"));
    let mut body = answer.await.unwrap().into_body();
    pounce.end_from_outside();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        read.extend_from_slice(&frame.unwrap().into_data().unwrap());
        pause(200).await;
    }
    assert_eq!(read, manifest.as_bytes());
    drop(sender);
    connection.await.unwrap().unwrap();
    pounce.end().await;
}

#[tokio::test]
async fn an_http2_client_that_comes_late_is_told() {
    let mut pounce = Pounce::with(&[]).await;
    pounce.end_from_outside();
    pause(300).await;
    let stream = TcpStream::connect(pounce.addr).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(get(&pounce, "/v2/")).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    // The server sends GOAWAY, after which a client sends no more requests, and does not just close.
    connection.await.unwrap().unwrap();
    assert!(sender.ready().await.is_err());
    pounce.end().await;
}

#[tokio::test]
async fn probes_that_leave_do_not_ask_again() {
    let bucket = Pounce::with(&[]).await;
    let front = Faulty::before(bucket.addr, 1).await;
    let variables = bucket.as_s3_behind(front.addr);
    let variables = borrowed(&variables);
    let pounce = Pounce::with(&variables).await;
    front.inject(&[Fault::Hang], 100);
    for _ in 0..20 {
        let probe = pounce.request("GET", "/readyz");
        let left = probe.timeout(Duration::from_millis(20)).send().await;
        assert!(left.is_err());
    }
    assert_eq!(pounce.get("/readyz").await.status, 503);
    assert_eq!(pounce.get("/readyz").await.status, 503);
    assert_eq!(front.take().values().sum::<usize>(), 1);
}
