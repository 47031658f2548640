//! Raw bytes on the wire, as no well-behaved client sends them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How long pounce may take to answer, or to close a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// A header of one request.
pub fn head(method: &str, path: &str, fields: &[&str]) -> String {
    let line = format!("{method} {path} HTTP/1.1");
    let lines = [&[&line[..], "Host: x"], fields, &["", ""]].concat();
    lines.join("\r\n")
}

/// Sends the request, and reads until the server closes the connection.
pub(crate) async fn exchange(addr: impl tokio::net::ToSocketAddrs, request: &[u8]) -> String {
    let mut connection = TcpStream::connect(addr).await.unwrap();
    // A request that is refused half way breaks the connection.
    let _ = connection.write_all(request).await;
    to_the_end(connection).await
}

/// Reads until the server closes the connection.
pub(crate) async fn to_the_end(mut connection: impl AsyncRead + Unpin) -> String {
    let mut reply = Vec::new();
    let read = connection.read_to_end(&mut reply);
    let closed = tokio::time::timeout(PATIENCE, read).await;
    assert!(closed.is_ok(), "the connection stays open: {}", String::from_utf8_lossy(&reply));
    String::from_utf8_lossy(&reply).into_owned()
}

/// How many responses the bytes contain.
pub fn responses(reply: &str) -> usize {
    reply.matches("HTTP/1.1 ").count()
}

/// A server that answers every request with the same bytes.
pub(crate) async fn canned(response: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let response = response.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = connection.read(&mut request).await;
                let _ = connection.write_all(response.as_bytes()).await;
            });
        }
    });
    addr
}

/// Raises this process's limit of file descriptors; returns how many connections it can have. The other ends belong to
/// another process.
pub fn raise_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    // If the machine's limit is lower, that limit.
    let most = limit.maximum.map_or(10_000, |most| most.min(10_500) - 500);
    assert!(most >= 3_000, "the hard limit of descriptors (ulimit -Hn) is too low");
    usize::try_from(most).unwrap()
}
