//! Bodies of answers that somebody watches on their way.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};

/// What comes of asking a body for its next piece.
pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// Who watches.
pub(super) trait Observer {
    /// The body was asked, and answered this.
    fn polled(&mut self, polled: &Polled);
}

/// A body, and who watches it.
pub(super) struct Observed<O> {
    pub(super) body: Body,
    pub(super) observer: O,
}

impl<O: Observer + Unpin> HttpBody for Observed<O> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.observer.polled(&polled);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
