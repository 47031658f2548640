//! The interface between the server and the code that answers requests.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use futures_util::future::{BoxFuture, Either, Ready};
use ipnet::IpNet;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::tls::Tls;
use crate::config::Limits;
use crate::telemetry::Metrics;

/// A socket that listens, and how its connections are served.
#[derive(Debug)]
pub struct Listener {
    /// Accepts connections.
    pub socket: TcpListener,
    /// Encrypts them.
    pub tls: Option<Tls>,
    /// The limits on connections, and their timeouts.
    pub limits: Limits,
    /// `http.trustedproxies`: their connections carry many clients' requests, so they are not bounded per address.
    pub trusted_proxies: Vec<IpNet>,
    /// Counts its connections.
    pub metrics: Option<Arc<Metrics>>,
}

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

/// Tells the server when responses wait for memory, so that it closes connections that hold some and make no progress.
pub(in crate::http) struct Shortage {
    /// Notified when a response begins to wait.
    pub(super) begins: Arc<Notify>,
    /// Whether a response waits.
    pub(super) lasts: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Shortage {
    pub(in crate::http) fn new(begins: Arc<Notify>, lasts: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { begins, lasts: Box::new(lasts) }
    }

    /// For responses that need no memory.
    pub(in crate::http) fn never() -> Self {
        Self::new(Arc::default(), || false)
    }
}
