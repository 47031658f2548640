//! Clients that ask and do not read the answer.

use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Body;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::wire::head;

/// A connection from one of this machine's addresses, with the smallest receive buffer that the system gives.
pub(crate) async fn connect(addr: SocketAddr, from: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4096)?;
    socket.bind(SocketAddr::from((from, 0)))?;
    socket.connect(addr).await
}

/// `count` connections of HTTP/1.1 that ask for `path` and read nothing.
pub(crate) async fn unread(addr: SocketAddr, from: Ipv4Addr, path: &str, count: usize) -> Vec<TcpStream> {
    let request = head("GET", path, &[]);
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let mut connection = connect(addr, from).await.unwrap();
        // pounce may have closed a refused connection already.
        let _ = connection.write_all(request.as_bytes()).await;
        connections.push(connection);
    }
    connections
}

/// One connection of HTTP/2 that asks for each path on its own stream, with a window of zero bytes for the answers.
pub(crate) struct Windowless {
    answers: Vec<JoinHandle<Option<hyper::Response<hyper::body::Incoming>>>>,
    connection: JoinHandle<()>,
}

impl Windowless {
    pub(crate) async fn ask(addr: SocketAddr, from: Ipv4Addr, paths: Vec<String>) -> Self {
        let stream = TokioIo::new(connect(addr, from).await.unwrap());
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let made = builder.initial_stream_window_size(0).handshake(stream);
        let (sender, connection) = made.await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let ask = |path| {
            let mut sender = sender.clone();
            let request = hyper::Request::get(format!("http://{addr}{path}"));
            let request = request.body(Body::empty()).unwrap();
            tokio::spawn(async move { sender.send_request(request).await.ok() })
        };
        let answers = paths.into_iter().map(ask).collect();
        Self { answers, connection }
    }

    /// The statuses of the answers, once all have begun; 0 for a stream that broke before.
    pub(crate) async fn statuses(self) -> Vec<u16> {
        let mut begun = Vec::new();
        for answer in self.answers {
            begun.push(answer.await.unwrap());
        }
        self.connection.abort();
        let status = |it: &Option<hyper::Response<_>>| it.as_ref().map_or(0, |it| it.status().as_u16());
        begun.iter().map(status).collect()
    }
}
