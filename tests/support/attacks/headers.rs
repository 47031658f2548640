//! Headers that clients never finish.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// `count` connections spread over the given addresses, each with `bytes` of an unfinished header.
pub(crate) async fn half_sent(addr: SocketAddr, from: &[Ipv4Addr], count: usize, bytes: usize) -> Vec<TcpStream> {
    let mut header = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Filler: ".to_vec();
    header.resize(bytes, b'a');
    let mut connections = Vec::with_capacity(count);
    for index in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        let source = SocketAddr::from((from[index % from.len()], 0));
        socket.bind(source).unwrap();
        let mut connection = socket.connect(addr).await.unwrap();
        // pounce may close a connection here, to free memory for others.
        let _ = connection.write_all(&header).await;
        connections.push(connection);
    }
    connections
}
