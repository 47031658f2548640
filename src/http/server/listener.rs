//! A listener and its settings.

use std::sync::Arc;

use ipnet::IpNet;
use tokio::net::TcpListener;

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
