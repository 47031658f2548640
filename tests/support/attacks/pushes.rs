//! Pushes that send one byte, and then little or nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A connection from one of this machine's addresses.
async fn connect(addr: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    socket.connect(addr).await.unwrap()
}

/// A request for each address, with one byte of a body of unknown length.
pub(crate) async fn silent(addr: SocketAddr, from: &[Ipv4Addr], (method, path): (&str, &str)) -> Vec<TcpStream> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\
         Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    );
    let mut connections = Vec::with_capacity(from.len());
    for from in from {
        let mut connection = connect(addr, *from).await;
        // pounce may have closed a refused connection already.
        let _ = connection.write_all(head.as_bytes()).await;
        connections.push(connection);
    }
    connections
}

/// Sends one more byte of each body every `pace`, until it is aborted.
pub(crate) fn trickle(mut connections: Vec<TcpStream>, pace: Duration) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(pace).await;
            for connection in &mut connections {
                let _ = connection.write_all(b"1\r\na\r\n").await;
            }
        }
    })
}
