//! The HTTP server: sockets, TLS, connections, timeouts and the connection table. Its one interface is
//! `(Request, Peer) → Response` ([`Respond`](interface::Respond)): it knows nothing of registries.

mod activity;
mod connection;
mod connection_limit;
mod connection_table;
mod header_bytes;
mod in_flight;
mod inspected_body;
mod interface;
mod lingering_body;
mod protocols;
mod serve;
mod socket;
mod timeouts;
mod tls;
mod wrong_protocol;

use activity::Activity;
use connection_limit::ConnectionLimit;
use connection_table::{ConnectionTable, STALLED};
use header_bytes::{AllHeaderBytes, HeaderBytes};
use interface::Respond;

pub use interface::Listener;
pub use tls::{Tls, TlsError};

pub(super) use inspected_body::{InspectedBody, Inspector, Polled};
pub(super) use interface::{Peer, Responding, Shortage};
pub(super) use lingering_body::LingeringBody;
pub(super) use protocols::HTTP2_WINDOW;
pub(super) use serve::serve;
