//! Counts and hashes the bytes of a body as they come.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::permits::{BodyPermit, Pusher, revoked};
use crate::fair_semaphore::FairPermit;
use crate::oci::{Error, ErrorCode, Hasher};

/// How long a client may take for [`LEAST`] bytes in the middle of a body.
const READ_TIMEOUT: Duration = Duration::from_mins(1);
/// A client that sends fewer bytes in that time only keeps a permit from others.
const LEAST: u64 = 1 << 20;

/// The body of a push.
pub type BlobBody = BoxStream<'static, io::Result<Bytes>>;

/// A body that is counted and hashed as it is read.
pub(in crate::registry) struct HashingBody {
    body: BlobBody,
    pub(in crate::registry) hasher: Hasher,
    /// How many bytes came.
    pub(super) len: u64,
    /// How many bytes were announced.
    announced: Option<u64>,
    /// When the present minute began, and how many bytes had come then.
    minute: (Instant, u64),
    /// The same for the time after which it may lose its permit.
    window: (Instant, u64),
    permit: Arc<BodyPermit>,
}

impl HashingBody {
    pub(in crate::registry) fn new(
        body: BlobBody,
        hasher: Hasher,
        announced: Option<u64>,
        permit: Arc<BodyPermit>,
    ) -> Self {
        Self { permit, body, hasher, len: 0, announced, minute: (Instant::now(), 0), window: (Instant::now(), 0) }
    }

    /// The next piece, or `None` at the announced end.
    pub(in crate::registry) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let too_slow = || {
            let message = "the body comes too slowly, push the blob again";
            Error::new(ErrorCode::BlobUploadInvalid, message)
        };
        let (since, before) = self.window;
        let next = tokio::select! {
            biased;
            next = tokio::time::timeout(READ_TIMEOUT, self.body.next()) => next,
            () = self.permit.revoked(since, self.len - before) => return Err(revoked()),
        };
        let Ok(next) = next else {
            return Err(too_slow());
        };
        let piece = next.transpose().map_err(|error| {
            let message = "the body broke off";
            Error::new(ErrorCode::BlobUploadInvalid, message).caused_by(error)
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
        if self.permit.is_revoked(since, came) {
            return Err(revoked());
        }
        if BodyPermit::is_window_over(since) {
            self.window = (Instant::now(), self.len);
        }
        let (began, before) = self.minute;
        if began.elapsed() > READ_TIMEOUT {
            if self.len - before < LEAST {
                return Err(too_slow());
            }
            self.minute = (Instant::now(), self.len);
        }
        self.hasher.update(&piece);
        Ok(Some(piece))
    }

    /// How many bytes are still to come, if their number was announced.
    pub(in crate::registry) fn left(&self) -> Option<u64> {
        let announced = self.announced?;
        Some(announced.saturating_sub(self.len))
    }

    /// Time in which pounce read nothing is not the client's fault.
    fn waited(&mut self) {
        self.minute = (Instant::now(), self.len);
        self.window = self.minute;
    }

    /// Waits for memory for so many bytes.
    pub(super) async fn reserve(&mut self, bytes: u64) -> FairPermit<Pusher> {
        let memory = self.permit.reserve(bytes).await;
        self.waited();
        memory
    }
}
