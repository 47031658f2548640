//! The bytes of a connection, as its client sends and takes them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connection::Activity;

/// The bytes of a connection. A client that does not take what it asked for loses it.
#[derive(Debug)]
pub(super) struct Socket<T> {
    io: T,
    activity: Arc<Activity>,
    /// How long a client may take for the next bytes of an answer.
    patience: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> Socket<T> {
    pub(super) const fn new(io: T, activity: Arc<Activity>, patience: Duration) -> Self {
        Self { io, activity, patience, stalled: None }
    }

    /// `bytes` says how many of an answer the system took.
    fn written<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
        bytes: impl FnOnce(&R) -> usize,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(result) = &polled {
            let bytes = result.as_ref().map_or(0, bytes);
            self.activity.went(Some(bytes));
            self.stalled = None;
            return polled;
        }
        self.activity.went(None);
        let patience = self.patience;
        let sleep = || Box::pin(tokio::time::sleep(patience));
        let stalled = self.stalled.get_or_insert_with(sleep);
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no more")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let came = buffer.filled().len() - before;
        if came > 0 {
            self.activity.came(came);
        }
        polled
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.written(cx, polled, |bytes| *bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        let polled = match pieces {
            // The way through the system is shorter for one piece.
            [piece] => io.poll_write(cx, piece),
            pieces => io.poll_write_vectored(cx, pieces),
        };
        self.written(cx, polled, |bytes| *bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, polled, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.written(cx, polled, |()| 0)
    }
}
