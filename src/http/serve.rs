//! Accepting connections, and ending well.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Ready};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::{BODY_WINDOW, Shortage};
use super::connection::{Activity, Answering, Busy};
use super::header_bytes::{AllHeaderBytes, HeaderBytes};
use super::observed::Observed;
use super::reached::{Peer, lies_in};
use super::refusal::Refusals;
use super::room::{Entered, Open, STALLED};
use super::socket::Socket;
use super::tls::Tls;
use crate::client_network::network;
use crate::config::Limits;
use crate::telemetry::Metrics;

/// The most bytes of a request's header, all lines together: tokens have a few thousand.
const MAX_HEADER: usize = 64 << 10;
/// Requests at once on one HTTP/2 connection; clients have some ten.
const MAX_STREAMS: u32 = 100;
/// The same for HTTP/2, which keeps what came of it where it cannot be told how much that is.
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Bytes of an answer that wait for an HTTP/2 client to take them.
const MAX_WAITING: usize = 64 << 10;
/// Bytes of an answer that is not worth watching: most manifests have less.
const SMALL: u64 = 64 << 10;
/// How often a silent HTTP/2 connection is asked whether anybody is there, and how long it has to answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// How long a client has to hear that its connection ends, so that what it has already sent is answered.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long to wait when the system gives no more connections.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener, and how it treats its clients.
#[derive(Debug)]
pub struct Listening {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What encrypts them.
    pub tls: Option<Tls>,
    /// What one client can take from others.
    pub limits: Limits,
    /// Proxies, whose connections are many clients': `http.trustedproxies`.
    pub proxies: Vec<IpNet>,
    /// Where its connections are counted.
    pub metrics: Option<Arc<Metrics>>,
}

/// A response, at once or in time.
pub(super) type Responding = Either<Ready<Response>, BoxFuture<'static, Response>>;

/// What answers requests. It is of one type for all listeners: each one more would have hyper and h2 in the program
/// twice more, over TCP and over TLS.
pub(super) type Respond = Box<dyn Fn(Request, Peer) -> Responding + Send + Sync>;

/// What every connection needs.
struct Server {
    respond: Respond,
    tls: Option<Tls>,
    limits: Limits,
    http: Builder<TokioExecutor>,
    open: Arc<Open>,
    headers: Arc<AllHeaderBytes>,
    proxies: Vec<IpNet>,
    refusals: Refusals,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves until `stop`, then lets the requests that are under way end within `grace`. Where answers wait for memory,
/// connections that hold some and do not go on are closed.
pub(super) async fn serve(
    listening: Listening,
    respond: Respond,
    short: Shortage,
    stop: CancellationToken,
    grace: Duration,
) {
    let Listening { listener, tls, limits, proxies, metrics } = listening;
    let server = Arc::new(Server {
        respond,
        tls,
        http: protocols(),
        open: Arc::new(Open::new(metrics)),
        headers: Arc::default(),
        proxies,
        refusals: Refusals::default(),
        places: Arc::new(Semaphore::new(limits.connections)),
        limits,
        stop: stop.clone(),
    });
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            let place = server.place().await;
            let (connection, addr) = server.accept(&listener).await;
            let server = Arc::clone(&server);
            connections.spawn(server.connection(connection, addr, place));
        }
    };
    tokio::select! {
        () = accepting => {}
        () = server.free_memory(&short) => {}
        () = server.close_old_headers() => {}
        () = async {
            stop.cancelled().await;
            // Who sends requests here hears of the end a little later, and may have connected meanwhile.
            tokio::time::sleep(GOODBYE.min(grace)).await;
        } => {}
    }
    while let Ok(place) = Arc::clone(&server.places).try_acquire_owned()
        && let Some(Ok((connection, addr))) = listener.accept().now_or_never()
    {
        connections.spawn(Arc::clone(&server).connection(connection, addr, place));
    }
    drop(listener);
    connections.close();
    let left = grace.saturating_sub(GOODBYE);
    if tokio::time::timeout(left, connections.wait()).await.is_err() {
        tracing::warn!("cutting off requests that did not end within http.draintimeout");
    }
}

/// HTTP/1.1, and HTTP/2 for those who begin with it.
fn protocols() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // How long a header may take, `connection` says.
    http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEADER);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_WAITING)
        .initial_connection_window_size(BODY_WINDOW)
        .initial_stream_window_size(BODY_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST);
    http
}

impl Server {
    /// A place for one more connection. Where all are taken, one that is idle is closed.
    async fn place(&self) -> OwnedSemaphorePermit {
        loop {
            if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                return place;
            }
            self.open.make_room();
            let place = Arc::clone(&self.places).acquire_owned();
            // It is never closed.
            if let Ok(Ok(place)) = tokio::time::timeout(PAUSE, place).await {
                return place;
            }
        }
    }

    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok((connection, addr)) => {
                    // A redirect is one small packet that nothing follows: waiting for more would only delay it.
                    if let Err(error) = connection.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return (connection, addr);
                }
                // A client that left again.
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset
                    ) => {}
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    self.open.make_room();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Frees memory that answers wait for.
    async fn free_memory(&self, short: &Shortage) {
        loop {
            short.begins().await;
            while short.lasts() {
                self.open.free_memory();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Closes connections whose headers take too much memory.
    async fn close_old_headers(&self) {
        loop {
            self.headers.exceeded().await;
            while self.headers.are_too_many() && self.open.close_oldest_header() {}
        }
    }

    /// The connection's entry. A client that has as many connections as it may waits until one of them makes room.
    async fn enter(
        &self,
        activity: &Arc<Activity>,
        client: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Option<(Entered, OwnedSemaphorePermit)> {
        let network = self.counted_network(client.ip());
        let most = self.limits.connections_per_address();
        if let Some(entered) = self.open.enter(activity, network, most) {
            return Some((entered, place));
        }
        // It takes no place from others meanwhile.
        drop(place);
        let _waits = self.refusals.wait()?;
        let until = Instant::now() + 2 * STALLED;
        while Instant::now() < until && !self.stop.is_cancelled() {
            // All connections are looked at each time.
            tokio::time::sleep(5 * PAUSE).await;
            if let Some(entered) = self.open.enter(activity, network, most) {
                return Some((entered, self.place().await));
            }
        }
        None
    }

    /// As what a client counts; `None` if it does not.
    fn counted_network(&self, client: IpAddr) -> Option<IpAddr> {
        let is_proxy = lies_in(&self.proxies, client.to_canonical());
        (!is_proxy && self.limits.connections_per_address() > 0).then(|| network(client))
    }

    async fn connection(self: Arc<Self>, connection: TcpStream, addr: SocketAddr, place: OwnedSemaphorePermit) {
        let activity = Activity::new(HeaderBytes::new(Arc::clone(&self.headers)));
        let Some(_entered) = self.enter(&activity, addr, place).await else {
            return self.refusals.refuse(connection, self.tls.is_some()).await;
        };
        let connection = Socket::new(connection, Arc::clone(&activity), self.limits.writetimeout);
        let peer = Peer { addr, tls: self.tls.is_some() };
        let Some(tls) = &self.tls else {
            return self.requests(connection, peer, &activity).await;
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(connection);
        let handshake = tokio::time::timeout(self.limits.headertimeout, handshake);
        let encrypted = tokio::select! {
            encrypted = handshake => encrypted,
            () = activity.evict.notified() => return,
            () = self.goodbye() => return,
        };
        match encrypted {
            Ok(Ok(encrypted)) => {
                activity.speaks(encrypted.get_ref().1.alpn_protocol());
                self.requests(encrypted, peer, &activity).await;
            }
            Ok(Err(error)) => tracing::debug!(client = %addr, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(client = %addr, "a TLS handshake took too long"),
        }
    }

    /// Returns when clients have had the time to hear that this ends.
    async fn goodbye(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    }

    /// Serves the requests of one connection until either side has had enough.
    async fn requests<T>(self: &Arc<Self>, connection: T, peer: Peer, activity: &Arc<Activity>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (server, busy) = (Arc::clone(self), Arc::clone(activity));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let busy = busy.request(request.version());
            // Most requests have none, and a box for that would be one of a redirect's few allocations.
            let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
            let responding = (server.respond)(request, peer);
            async move {
                let response = responding.await;
                let is_last = busy.is_last();
                let mut response = observed(response, busy);
                if is_last {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        });
        if self.stop.is_cancelled() {
            activity.end();
        }
        let connection = self.http.serve_connection(TokioIo::new(connection), service);
        let mut connection = std::pin::pin!(connection);
        let stops = tokio::select! {
            // How a client leaves is its own affair.
            _ = connection.as_mut() => return,
            () = activity.overdue(&self.limits) => false,
            () = activity.evict.notified() => false,
            () = self.stop.cancelled() => true,
        };
        if stops {
            activity.end();
        } else if activity.is_stuck(STALLED) {
            // It would not hear that its connection ends.
            return;
        }
        // With HTTP/1.1, there is nothing to say to somebody who is silent; unless a request was quicker.
        if !stops && !activity.is_multiplexed() && activity.idle_since().is_some() {
            return;
        }
        // With HTTP/1.1, it would close an idle connection at once, while a request may be on its way to us: there, an
        // answer says that it is the last one. Whether it is that, the first request tells.
        while stops && !activity.is_multiplexed() {
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                () = activity.overdue(&self.limits) => return,
                () = tokio::time::sleep(activity.rests(GOODBYE).min(PAUSE)) => {}
            }
            // What came last has been seen: it rests, or not, after that.
            if activity.rests(GOODBYE).is_zero() {
                return;
            }
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            // With HTTP/2, the last bytes of an answer may wait in its own buffers, which are not seen from here.
            () = activity.idle(GOODBYE), if !stops || !activity.is_multiplexed() => {}
            () = activity.overdue(&self.limits), if stops => {}
        }
    }
}

/// A request ends with the last byte of its answer.
fn observed(response: Response, busy: Busy) -> Response {
    response.map(|body| {
        // It is in memory, and hyper takes it at once; with HTTP/2, when the client lets it.
        let is_small = body.size_hint().exact().is_some_and(|size| size <= SMALL);
        if body.is_end_stream() || (is_small && !busy.is_multiplexed()) {
            return body;
        }
        let observer = Answering::new(busy);
        Body::new(Observed { body, observer })
    })
}
