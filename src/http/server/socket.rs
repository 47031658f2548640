//! The bytes of a connection, as its client sends and takes them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::Activity;
use super::wrong_protocol::HANDSHAKE;

/// A connection that tells its activity, and fails when a write blocks for too long.
#[derive(Debug)]
pub(super) struct Socket<T> {
    io: T,
    activity: Arc<Activity>,
    write_timeout: Duration,
    has_read: bool,
    /// Runs while a write blocks.
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<T> Socket<T> {
    pub(super) const fn new(io: T, activity: Arc<Activity>, write_timeout: Duration) -> Self {
        Self { io, activity, write_timeout, has_read: false, timeout: None }
    }

    /// Tells the activity the result of a write, of which `bytes` makes the bytes that the system took.
    fn written<R>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<R>>,
        bytes: impl FnOnce(&R) -> usize,
    ) -> Poll<io::Result<R>> {
        if let Poll::Ready(result) = &polled {
            self.activity.sent(result.as_ref().map_or(0, bytes));
            self.timeout = None;
            return polled;
        }
        self.activity.blocked();
        let length = self.write_timeout;
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(tokio::time::sleep(length)));
        ready!(timeout.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no more")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Socket<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        let received = buffer.filled().len() - before;
        if received > 0 {
            if !std::mem::replace(&mut self.has_read, true) && buffer.filled().get(before) == Some(&HANDSHAKE) {
                self.activity.begins_tls();
            }
            self.activity.received(received);
        } else if polled.is_pending() {
            self.activity.waits_for_bytes();
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
            // The system call is cheaper for one piece.
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
