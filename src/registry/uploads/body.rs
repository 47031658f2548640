//! The bytes of a push as they come, counted and hashed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::places::{Pusher, Turn, made_room};
use crate::oci::{Error, ErrorCode, Hasher};
use crate::shares::Share;

/// How long a client may take for [`LEAST`] bytes in the middle of a body.
const PATIENCE: Duration = Duration::from_mins(1);
/// A client that sends fewer only keeps a place from others.
const LEAST: u64 = 1 << 20;

/// The body of a push.
pub type BlobBody = BoxStream<'static, io::Result<Bytes>>;

/// A body that is counted and hashed as it is read.
pub(super) struct Incoming {
    body: BlobBody,
    pub(super) hasher: Hasher,
    /// How many bytes came.
    pub(super) len: u64,
    /// How many were announced.
    announced: Option<u64>,
    /// When the present minute began, and how many bytes had come then.
    minute: (Instant, u64),
    /// The same for the time after which it makes room for others.
    window: (Instant, u64),
    turn: Arc<Turn>,
}

impl Incoming {
    pub(super) fn new(body: BlobBody, hasher: Hasher, announced: Option<u64>, turn: Arc<Turn>) -> Self {
        Self { turn, body, hasher, len: 0, announced, minute: (Instant::now(), 0), window: (Instant::now(), 0) }
    }

    /// The next piece, or `None` at the announced end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let too_slow = || {
            let message = "the body comes too slowly, push the blob again";
            Error::new(ErrorCode::BlobUploadInvalid, message)
        };
        let (since, before) = self.window;
        let next = tokio::select! {
            biased;
            next = tokio::time::timeout(PATIENCE, self.body.next()) => next,
            () = self.turn.lost(since, self.len - before) => return Err(made_room()),
        };
        let Ok(next) = next else {
            return Err(too_slow());
        };
        let piece = next.transpose().map_err(|error| {
            let message = "the body broke off";
            Error::new(ErrorCode::BlobUploadInvalid, message).because(error)
        })?;
        let wrong_size = || {
            let message = "the body has not as many bytes as were announced";
            Error::new(ErrorCode::SizeInvalid, message)
        };
        let Some(piece) = piece else {
            let whole = self.announced.is_none_or(|announced| announced == self.len);
            return if whole { Ok(None) } else { Err(wrong_size()) };
        };
        self.len += piece.len() as u64;
        if self.announced.is_some_and(|announced| announced < self.len) {
            return Err(wrong_size());
        }
        let came = self.len - before;
        if self.turn.is_lost(since, came) {
            return Err(made_room());
        }
        if Turn::is_over(since) {
            self.window = (Instant::now(), self.len);
        }
        let (began, before) = self.minute;
        if began.elapsed() > PATIENCE {
            if self.len - before < LEAST {
                return Err(too_slow());
            }
            self.minute = (Instant::now(), self.len);
        }
        self.hasher.update(&piece);
        Ok(Some(piece))
    }

    /// How many bytes are still to come, if that was announced.
    pub(super) fn left(&self) -> Option<u64> {
        let announced = self.announced?;
        Some(announced.saturating_sub(self.len))
    }

    /// Time in which nobody asked for more is not the client's.
    fn waited(&mut self) {
        self.minute = (Instant::now(), self.len);
        self.window = self.minute;
    }

    /// Waits for memory for so many bytes.
    pub(super) async fn memory(&mut self, bytes: u64) -> Share<Pusher> {
        let memory = self.turn.memory(bytes).await;
        self.waited();
        memory
    }
}
