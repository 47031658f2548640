//! Accepts connections, evicts those that hold memory, and drains at the end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Connections, GOODBYE};
use super::wrong_protocol::WrongProtocol;
use super::{AllHeaderBytes, ConnectionLimit, ConnectionTable, Listener, Respond, Shortage, protocols};

/// How long to wait before the next attempt to accept a connection, or to free memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop`, then lets requests in flight end within `grace`. During a `shortage`, connections are closed
/// that hold memory and make no progress.
pub(in crate::http) async fn serve(
    listener: Listener,
    respond: Respond,
    shortage: Shortage,
    stop: CancellationToken,
    grace: Duration,
) {
    let Listener { socket, tls, limits, trusted_proxies, metrics } = listener;
    let table = &Arc::new(ConnectionTable::new(metrics.clone()));
    if let Some(metrics) = metrics {
        let table = Arc::downgrade(table);
        metrics.count_active_requests_by(move || table.upgrade().map_or(0, |table| table.requests_in_flight()));
    }
    let headers = &Arc::<AllHeaderBytes>::default();
    let server = Arc::new(Connections {
        respond,
        tls,
        http: protocols::builder(),
        headers: Arc::clone(headers),
        limit: ConnectionLimit::new(&limits, trusted_proxies, Arc::clone(table), stop.clone()),
        limits,
        wrong_protocol: WrongProtocol::default(),
        stop: stop.clone(),
    });
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            let permit = server.limit.permit().await;
            let (stream, addr) = accept(&socket, table).await;
            connections.spawn(Arc::clone(&server).serve(stream, addr, permit));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = free_memory(&shortage, table) => {}
        () = close_old_headers(headers, table) => {}
        () = async {
            stop.cancelled().await;
            // Load balancers hear of the end a little later, and may have connected meanwhile.
            tokio::time::sleep(GOODBYE.min(grace)).await;
        } => {}
    }
    // The connections that the system has accepted already.
    while let Some(permit) = server.limit.try_permit()
        && let Some(Ok((stream, addr))) = socket.accept().now_or_never()
    {
        connections.spawn(Arc::clone(&server).serve(stream, addr, permit));
    }
    drop(socket);
    connections.close();
    let left = grace.saturating_sub(GOODBYE);
    if tokio::time::timeout(left, connections.wait()).await.is_err() {
        tracing::warn!("cutting off requests that did not end within http.draintimeout");
    }
}

async fn accept(socket: &TcpListener, table: &ConnectionTable) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok((stream, addr)) => {
                // A redirect is one small packet: to wait for more would only delay it.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY cannot be set");
                }
                return (stream, addr);
            }
            // The client left again.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                table.evict_one();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Evicts connections while responses wait for memory.
async fn free_memory(shortage: &Shortage, table: &ConnectionTable) {
    loop {
        shortage.begins.notified().await;
        while (shortage.lasts)() {
            table.evict_stalled();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Evicts connections while incomplete headers take too much memory.
async fn close_old_headers(headers: &AllHeaderBytes, table: &ConnectionTable) {
    loop {
        headers.exceeded().await;
        while headers.are_too_many() && table.evict_oldest_header() {}
    }
}
