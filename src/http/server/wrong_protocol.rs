//! Clients that speak TLS with a listener without it, or do not where it has it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::client_network::network;
use crate::log_limit::LogLimit;

/// How often the log says it of one client, and of how many clients in this time.
const PAUSE: Duration = Duration::from_mins(1);
const MOST: usize = 64;

/// The first byte of a TLS connection: the type of its first record, a handshake (RFC 8446, section 5.1).
pub(super) const HANDSHAKE: u8 = 22;

/// What a client without TLS is told, in the words of Go's servers, which clients know.
pub(super) const USE_HTTPS: &str = concat!(
    "HTTP/1.1 400 Bad Request\r\n",
    "content-type: text/plain; charset=utf-8\r\n",
    "connection: close\r\n",
    "\r\n",
    "Client sent an HTTP request to an HTTPS server: use https.\n",
);

/// Logs such clients.
#[derive(Debug)]
pub(super) struct WrongProtocol {
    tls: LogLimit<IpAddr>,
    plain: LogLimit<IpAddr>,
}

impl Default for WrongProtocol {
    fn default() -> Self {
        Self { tls: LogLimit::new(PAUSE, MOST), plain: LogLimit::new(PAUSE, MOST) }
    }
}

impl WrongProtocol {
    /// A client began TLS with a listener that has none.
    pub(super) fn tls_without_tls(&self, client: SocketAddr) {
        if self.tls.is_due(network(client.ip())) {
            tracing::warn!(
                client = %client.ip(),
                "a client speaks TLS, and this listener does not: set http.tls.certificate and http.tls.key, or have the \
                 client use plain HTTP"
            );
        }
    }

    /// A client sent plain HTTP to a listener with TLS.
    pub(super) fn plain_with_tls(&self, client: SocketAddr) {
        if self.plain.is_due(network(client.ip())) {
            tracing::warn!(
                client = %client.ip(),
                "a client speaks plain HTTP, and this listener wants TLS (http.tls): have the client use https"
            );
        }
    }
}

/// Whether a client begins with a method of HTTP: its first byte stays unread.
pub(super) async fn begins_plain(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? > 0 && first[0].is_ascii_uppercase())
}
