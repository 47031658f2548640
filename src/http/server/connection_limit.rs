//! How many connections there may be, in all and per client.
//!
//! Where all are open, an idle one is evicted for a new one. A client that has as many as it may waits until one of its
//! own can be evicted, and is then told with a 429 why it is refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::connection_table::TableEntry;
use super::{Activity, ConnectionTable, STALLED};
use crate::client_network::network;
use crate::config::Limits;

/// How many connections of all clients wait, or are told why they are refused. Others are closed at once.
const MAX_WAITING: usize = 256;
/// How long to wait for a permit before one more connection is evicted.
const EVICT_INTERVAL: Duration = Duration::from_millis(100);
/// How often a client that waits tries again; each time, all connections are looked at.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// How long a client waits.
const MAX_WAIT: Duration = STALLED.saturating_mul(2);
/// How long a client may take to read the refusal: if it sends a request meanwhile, a reset would destroy the response.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSAL: &str = concat!(
    "HTTP/1.1 429 Too Many Requests\r\n",
    "content-type: application/json\r\n",
    "retry-after: 5\r\n",
    "connection: close\r\n",
    "\r\n",
    r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"#,
    r#""too many connections from this address are open: close some, or try again in a moment"}]}"#,
);

/// The limits on connections, and the connections that wait for them.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    permits: Arc<Semaphore>,
    /// 0: not bounded.
    per_network: usize,
    trusted_proxies: Vec<IpNet>,
    waiting: Arc<Semaphore>,
    table: Arc<ConnectionTable>,
    stop: CancellationToken,
}

impl ConnectionLimit {
    pub(super) fn new(
        limits: &Limits,
        trusted_proxies: Vec<IpNet>,
        table: Arc<ConnectionTable>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(limits.connections)),
            per_network: limits.connections_per_address(),
            trusted_proxies,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            table,
            stop,
        }
    }

    /// A permit for one more connection, if there is one now.
    pub(super) fn try_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// A permit for one more connection. Where there is none, connections are evicted.
    pub(super) async fn permit(&self) -> OwnedSemaphorePermit {
        loop {
            if let Some(permit) = self.try_permit() {
                return permit;
            }
            self.table.evict_one();
            let permit = Arc::clone(&self.permits).acquire_owned();
            // The semaphore is never closed.
            if let Ok(Ok(permit)) = tokio::time::timeout(EVICT_INTERVAL, permit).await {
                return permit;
            }
        }
    }

    /// Enters a connection into the table, and waits if its client has as many as it may. `None`: they stay that many.
    pub(super) async fn admit(
        &self,
        activity: &Arc<Activity>,
        client: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<(TableEntry, OwnedSemaphorePermit)> {
        let network = self.bounded_network(client.ip());
        let insert = || self.table.insert(activity, network, self.per_network);
        if let Some(entry) = insert() {
            return Some((entry, permit));
        }
        // While it waits, the permit is for others.
        drop(permit);
        let _waiting = self.wait()?;
        let until = Instant::now() + MAX_WAIT;
        while Instant::now() < until && !self.stop.is_cancelled() {
            tokio::time::sleep(RETRY_INTERVAL).await;
            if let Some(entry) = insert() {
                return Some((entry, self.permit().await));
            }
        }
        None
    }

    /// The network whose connections are counted; `None` where they are not bounded.
    fn bounded_network(&self, client: IpAddr) -> Option<IpAddr> {
        let address = client.to_canonical();
        let is_proxy = self.trusted_proxies.iter().any(|proxies| proxies.contains(&address));
        (!is_proxy && self.per_network > 0).then(|| network(client))
    }

    /// A permit to wait, if not too many connections do.
    fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    /// Tells the client why its connection is closed, where that needs no handshake.
    pub(super) async fn refuse(&self, connection: TcpStream, is_tls: bool) {
        self.table.refused();
        if !is_tls {
            self.tell(connection, REFUSAL).await;
        }
    }

    /// Sends a response, whatever the client asks, and closes the connection.
    pub(super) async fn tell(&self, mut connection: TcpStream, response: &str) {
        let Some(_waiting) = self.wait() else {
            return;
        };
        let refusal = async {
            connection.write_all(response.as_bytes()).await?;
            connection.shutdown().await?;
            let mut discarded = [0; 1024];
            while connection.read(&mut discarded).await? > 0 {}
            std::io::Result::Ok(())
        };
        // The connection closes in any case.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, refusal).await;
    }
}
