//! The settings of HTTP/1.1 and HTTP/2.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;

/// Bytes of a request body that an HTTP/2 client may send before they are read. With HTTP/1.1, they wait in the
/// system's buffers.
pub(in crate::http) const HTTP2_WINDOW: u32 = 512 << 10;

/// The most bytes of a request's header section over HTTP/1.1: tokens have a few thousand.
const MAX_HEADER: usize = 64 << 10;
/// The same for HTTP/2, whose parsed headers take memory that cannot be counted.
const MAX_HEADER_LIST: u32 = 32 << 10;
/// Concurrent requests on one HTTP/2 connection; clients have some ten.
const MAX_STREAMS: u32 = 100;
/// Bytes of a response that wait for an HTTP/2 client to take them.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// How often a silent HTTP/2 connection gets a PING, and how long the client has to answer it.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// HTTP/1.1, and HTTP/2 for clients that begin with its preface.
pub(super) fn builder() -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new());
    // `timeouts` bounds how long a header may take.
    http.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(MAX_HEADER);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_connection_window_size(HTTP2_WINDOW)
        .initial_stream_window_size(HTTP2_WINDOW)
        .max_header_list_size(MAX_HEADER_LIST);
    http
}
