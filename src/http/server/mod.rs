//! The HTTP server: sockets, TLS, connections, timeouts and the connection table. Its one interface is
//! `(Request, Peer) → Response` ([`Respond`](respond::Respond)): it knows nothing of registries.

mod activity;
mod connection;
mod connection_limit;
mod connection_table;
mod header_bytes;
mod in_flight;
mod inspected_body;
mod lingering_body;
mod listener;
mod protocols;
mod respond;
mod serve;
mod shortage;
mod socket;
mod timeouts;
mod tls;

pub use listener::Listener;
pub use tls::{Tls, TlsError};

pub(super) use inspected_body::{InspectedBody, Inspector, Polled};
pub(super) use lingering_body::LingeringBody;
pub(super) use protocols::HTTP2_WINDOW;
pub(super) use respond::{Peer, Responding};
pub(super) use serve::serve;
pub(super) use shortage::Shortage;
