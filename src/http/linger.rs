//! Request bodies that are not read to their end.
//!
//! A client that is still sending does not look at an answer, and one whose connection is closed meanwhile never sees
//! it. So what is left of a body is read and thrown away behind the answer, up to a bound (RFC 9112, section 9.6).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;

/// The most bytes that are thrown away for one answer to a push.
const MOST: usize = 64 << 20;
/// The same for requests that have no use for a body.
const MOST_ELSEWHERE: usize = 1 << 20;
/// The longest that it may take.
const LONGEST: Duration = Duration::from_secs(10);

/// A body that ends in order, although whoever reads it may stop early.
pub(super) struct Lingering {
    body: Option<Body>,
    most: usize,
}

impl Lingering {
    /// `is_push`: the body is for something.
    pub(super) fn wrap(body: Body, is_push: bool) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let most = if is_push { MOST } else { MOST_ELSEWHERE };
        let body = Some(body);
        Body::new(Self { body, most })
    }
}

impl HttpBody for Lingering {
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

impl Drop for Lingering {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(LONGEST, discard(body, self.most)));
        }
    }
}

async fn discard(mut body: Body, mut room: usize) {
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        let Some(left) = room.checked_sub(len) else {
            return;
        };
        room = left;
    }
}
