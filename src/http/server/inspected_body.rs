//! Response bodies with an inspector that sees each frame on its way.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

/// The result of polling a body for its next frame.
pub(in crate::http) type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Sees the results of polling a body.
pub(in crate::http) trait Inspector {
    /// The body was polled, with this result.
    fn polled(&mut self, polled: &Polled);
}

/// A body and its inspector, which is dropped with it.
pub(in crate::http) struct InspectedBody<I> {
    body: Body,
    inspector: I,
}

impl<I: Inspector + Unpin + Send + 'static> InspectedBody<I> {
    pub(in crate::http) fn wrap(body: Body, inspector: I) -> Body {
        Body::new(Self { body, inspector })
    }
}

impl<I: Inspector + Unpin> HttpBody for InspectedBody<I> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.inspector.polled(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
