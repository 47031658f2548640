//! Lingering close: request bodies that are not read to their end.
//!
//! A client that is still sending does not read the response, and loses it if its connection is closed meanwhile. So
//! the rest of a body is read and discarded behind the response, up to a bound (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// How long the rest of a body is read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A body whose rest is discarded in the background when it is dropped.
pub(in crate::http) struct LingeringBody {
    body: Option<Body>,
    max_discarded: usize,
}

impl LingeringBody {
    /// Discards at most `max_discarded` bytes.
    pub(in crate::http) fn wrap(body: Body, max_discarded: usize) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Self { body: Some(body), max_discarded })
    }
}

impl HttpBody for LingeringBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for LingeringBody {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(TIMEOUT, discard(body, self.max_discarded)));
        }
    }
}

async fn discard(mut body: Body, mut left: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(bytes) else {
            return;
        };
        left = rest;
    }
}
