//! A request in flight: from its header to the last byte of its response.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use axum::body::HttpBody;
use axum::http::Version;
use axum::response::Response;

use super::activity::PendingFrame;
use super::{Activity, InspectedBody, Inspector, Polled};

/// The largest body, in bytes, that is not inspected: most manifests are smaller.
const SMALL: u64 = 64 << 10;

/// A request in flight; it ends when this is dropped.
pub(super) struct InFlight(Arc<Activity>);

impl InFlight {
    pub(super) fn begin(activity: &Arc<Activity>, version: Version) -> Self {
        activity.request_begins(version);
        Self(Arc::clone(activity))
    }

    /// Whether the response has to say that the connection closes. (HTTP/2 says it with GOAWAY.)
    pub(super) fn is_last(&self) -> bool {
        self.0.is_closing() && !self.0.is_multiplexed()
    }

    /// The response, with whose last byte the request ends.
    pub(super) fn end_with(self, response: Response) -> Response {
        response.map(|body| {
            // hyper takes a small body that is in memory at once; with HTTP/2, when the client's window allows.
            let is_small = body.size_hint().exact().is_some_and(|size| size <= SMALL);
            if body.is_end_stream() || (is_small && !self.0.is_multiplexed()) {
                return body;
            }
            let pending = self.0.body_begins();
            InspectedBody::wrap(body, InFlightBody { pending, request: self })
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}

/// Tells the activity since when a frame of the response body waits for the client.
struct InFlightBody {
    pending: PendingFrame,
    request: InFlight,
}

impl Inspector for InFlightBody {
    fn polled(&mut self, polled: &Polled) {
        let waits = matches!(polled, Poll::Ready(Some(Ok(_))));
        let since = if waits { self.request.0.now() } else { 0 };
        self.pending.store(since, Ordering::Release);
    }
}

impl Drop for InFlightBody {
    fn drop(&mut self) {
        self.request.0.body_ends(&self.pending);
    }
}
