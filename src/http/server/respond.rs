//! The interface between the server and the code that answers requests.

use std::net::SocketAddr;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::{BoxFuture, Either, Ready};

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Peer {
    pub(in crate::http) addr: SocketAddr,
    /// The connection is encrypted.
    pub(in crate::http) tls: bool,
}

/// A response, at once or later.
pub(in crate::http) type Responding = Either<Ready<Response>, BoxFuture<'static, Response>>;

/// Answers requests. All listeners use this one type, because with each further type the program would contain hyper
/// and h2 twice more, over TCP and over TLS.
pub(super) type Respond = Box<dyn Fn(Request, Peer) -> Responding + Send + Sync>;
