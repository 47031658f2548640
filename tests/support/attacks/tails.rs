//! Clients that extend uploads byte by byte, so that each request rewrites a tail, and clients that repeat requests.

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::future::join_all;
use reqwest::{Client, Response};

async fn patch(client: &Client, addr: SocketAddr, location: &str, bytes: Bytes) -> Response {
    let request = client.patch(format!("http://{addr}{location}"));
    request.body(bytes).send().await.unwrap()
}

fn location(response: &Response) -> String {
    let location = response.headers().get("location").unwrap();
    location.to_str().unwrap().to_owned()
}

/// Begins an upload with a tail of `tail` bytes; its location.
pub(crate) async fn begin(addr: SocketAddr, repository: &str, tail: usize) -> String {
    let client = Client::new();
    let request = client.post(format!("http://{addr}/v2/{repository}/blobs/uploads/"));
    let begun = location(&request.send().await.unwrap());
    let bytes = Bytes::from(vec![b'a'; tail]);
    location(&patch(&client, addr, &begun, bytes).await)
}

/// Adds `count` bytes, one a request; the last location.
pub(crate) async fn bytewise(addr: SocketAddr, begun: &str, count: usize) -> String {
    let (client, mut at) = (Client::new(), begun.to_owned());
    for _ in 0..count {
        at = location(&patch(&client, addr, &at, Bytes::from_static(b"b")).await);
    }
    at
}

/// Sends `count` requests with `bytes` to one location, `at_once` at a time; the statuses.
pub(crate) async fn replays(
    addr: SocketAddr,
    begun: &str,
    bytes: &'static [u8],
    (count, at_once): (usize, usize),
) -> Vec<u16> {
    let (client, mut statuses) = (Client::new(), Vec::new());
    while statuses.len() < count {
        let some = (0..at_once).map(|_| patch(&client, addr, begun, Bytes::from_static(bytes)));
        let replies = join_all(some).await;
        statuses.extend(replies.iter().map(|it| it.status().as_u16()));
    }
    statuses
}
