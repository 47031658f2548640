//! Bodies of requests to the bucket: of a known length, and made anew for every attempt.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http_body::{Frame, SizeHint};

/// Yields a part's bytes anew for every attempt to send them.
pub type PartSource = Arc<dyn Fn() -> BoxStream<'static, io::Result<Bytes>> + Send + Sync>;

pub(super) fn body(len: u64, source: PartSource) -> ByteStream {
    ByteStream::new(SdkBody::retryable(move || {
        SdkBody::from_body_1_x(Sized { bytes: Mutex::new(source()), left: len })
    }))
}

/// A body whose length is known, so that the SDK sends a Content-Length and no `aws-chunked`.
struct Sized {
    /// Never locked: the mutex makes the stream `Sync`, which the SDK requires.
    bytes: Mutex<BoxStream<'static, io::Result<Bytes>>>,
    left: u64,
}

impl http_body::Body for Sized {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let stream = this.bytes.get_mut().unwrap_or_else(PoisonError::into_inner);
        stream.poll_next_unpin(cx).map_ok(|piece| {
            this.left = this.left.saturating_sub(piece.len() as u64);
            Frame::data(piece)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
