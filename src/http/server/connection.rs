//! One connection: the TLS handshake, its requests, and a close that loses no response.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::response::Response;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::in_flight::InFlight;
use super::socket::Socket;
use super::wrong_protocol::{USE_HTTPS, WrongProtocol, begins_plain};
use super::{Activity, AllHeaderBytes, ConnectionLimit, HeaderBytes, Peer, Respond, STALLED, Tls, timeouts};
use crate::config::Limits;

/// How long a client has to hear that its connection closes, so that requests that it has already sent are answered.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// How often a connection that is about to close is looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// The shared state of a listener's connections.
pub(super) struct Connections {
    pub(super) respond: Respond,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Limits,
    pub(super) http: Builder<TokioExecutor>,
    pub(super) headers: Arc<AllHeaderBytes>,
    pub(super) limit: ConnectionLimit,
    pub(super) wrong_protocol: WrongProtocol,
    pub(super) stop: CancellationToken,
}

impl Connections {
    /// Serves one connection until either side closes it.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, addr: SocketAddr, permit: OwnedSemaphorePermit) {
        let activity = Activity::new(HeaderBytes::new(Arc::clone(&self.headers)));
        let Some(_admitted) = self.limit.admit(&activity, addr, permit).await else {
            return self.limit.refuse(stream, self.tls.is_some()).await;
        };
        let socket = |stream| Socket::new(stream, Arc::clone(&activity), self.limits.writetimeout);
        let peer = Peer { addr, tls: self.tls.is_some() };
        let Some(tls) = &self.tls else {
            self.requests(socket(stream), peer, &activity).await;
            if activity.began_tls() {
                self.wrong_protocol.tls_without_tls(addr);
            }
            return;
        };
        let handshake = async {
            if begins_plain(&stream).await? {
                return Ok(Err(stream));
            }
            TlsAcceptor::from(tls.config()).accept(socket(stream)).await.map(Ok)
        };
        let handshake = tokio::time::timeout(self.limits.headertimeout, handshake);
        let encrypted = tokio::select! {
            encrypted = handshake => encrypted,
            () = activity.evict.notified() => return,
            () = self.goodbye() => return,
        };
        match encrypted {
            Ok(Ok(Err(plain))) => {
                self.wrong_protocol.plain_with_tls(addr);
                self.limit.tell(plain, USE_HTTPS).await;
            }
            Ok(Ok(Ok(encrypted))) => {
                activity.handshake_ends(encrypted.get_ref().1.alpn_protocol());
                self.requests(encrypted, peer, &activity).await;
            }
            Ok(Err(error)) => tracing::debug!(client = %addr, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(client = %addr, "a TLS handshake took too long"),
        }
    }

    /// Returns once clients have had the time to hear that the process shuts down.
    async fn goodbye(&self) {
        self.stop.cancelled().await;
        tokio::time::sleep(GOODBYE).await;
    }

    /// Serves the requests of a connection, and closes it when it times out, is evicted, or the process shuts down.
    async fn requests<T>(self: &Arc<Self>, stream: T, peer: Peer, activity: &Arc<Activity>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (server, of_requests) = (Arc::clone(self), Arc::clone(activity));
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let in_flight = InFlight::begin(&of_requests, request.version());
            server.answer(request, peer, in_flight)
        });
        if self.stop.is_cancelled() {
            activity.begin_closing();
        }
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let end = async {
            tokio::select! {
                () = timeouts::overdue(activity, &self.limits) => false,
                () = activity.evict.notified() => false,
                () = self.stop.cancelled() => true,
            }
        };
        // It has a waker of its own: a request wakes the connection, and need not ask for each reason to close it,
        // where all connections share locks.
        let mut end = FuturesUnordered::from_iter([end]);
        let stops = tokio::select! {
            biased;
            // The client closed it, in whatever way.
            _ = connection.as_mut() => return,
            stops = end.select_next_some() => stops,
        };
        if stops {
            activity.begin_closing();
        } else if activity.is_stuck(STALLED) {
            // The client would not hear that its connection closes.
            return;
        }
        // HTTP/1.1 has no way to announce the close of an idle connection; but a request may just have come.
        if !stops && !activity.is_multiplexed() && activity.idle_since().is_some() {
            return;
        }
        // With HTTP/1.1, hyper's graceful shutdown closes an idle connection at once, while a request may be on its
        // way. So the connection stays until a response has said that it is the last one, or none is asked for. Only
        // the first request tells whether this is HTTP/1.1.
        while stops && !activity.is_multiplexed() {
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                () = timeouts::overdue(activity, &self.limits) => return,
                () = tokio::time::sleep(timeouts::idle_time_left(activity, GOODBYE).min(INTERVAL)) => {}
            }
            // The connection was polled first, so it has seen all bytes that came.
            if timeouts::idle_time_left(activity, GOODBYE).is_zero() {
                return;
            }
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            _ = connection => {}
            // With HTTP/2, the last bytes of a response may wait in hyper's buffers, which the activity does not see.
            () = timeouts::idle_or_stalled(activity, GOODBYE), if !stops || !activity.is_multiplexed() => {}
            () = timeouts::overdue(activity, &self.limits), if stops => {}
        }
    }

    fn answer(
        &self,
        request: hyper::Request<Incoming>,
        peer: Peer,
        in_flight: InFlight,
    ) -> impl Future<Output = Result<Response, Infallible>> + use<> {
        // Most requests have no body, and to box an empty one would be one of a redirect's few allocations.
        let request = request.map(|body| if body.is_end_stream() { Body::empty() } else { Body::new(body) });
        let responding = (self.respond)(request, peer);
        async move {
            let response = responding.await;
            let is_last = in_flight.is_last();
            let mut response = in_flight.end_with(response);
            if is_last {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        }
    }
}
