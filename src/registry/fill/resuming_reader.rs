//! Reads a range of a blob from the upstream, through as many connections as it takes, one after the other.
//!
//! A connection that breaks, that is silent for too long or that ends too early is replaced by another, which resumes
//! with a range, or, at an upstream that knows none, from the beginning, and skips the bytes that are here already.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::future::FutureExt;
use futures_util::stream::BoxStream;

use super::upstream_blob::UpstreamBlob;
use crate::oci::Slice;
use crate::upstream::{BlobResponse, UpstreamError};

/// How many connections in a row may bring less than [`PROGRESS`]. With the pauses in between that is some ten seconds,
/// and `proxy.fill.stalltimeout` for each connection that is silent.
const ATTEMPTS: usize = 5;
/// After so many bytes, the attempts are counted anew.
const PROGRESS: u64 = 1 << 20;
/// The longest pause between two of them, which is also the longest `Retry-After` that is waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// In so much time of waiting for the upstream, at least so many bytes have to come.
const SLOW_WINDOW: Duration = Duration::from_secs(20);
const LEAST: u64 = 16 << 10;

/// A range that is being read.
pub(super) struct ResumingReader {
    blob: UpstreamBlob,
    position: u64,
    /// The end of the range, if it is known.
    end: Option<u64>,
    /// How many bytes of the present connection lie before `position`.
    skip: u64,
    bytes: Option<BoxStream<'static, Result<Bytes, UpstreamError>>>,
    /// How the present connection ended, where `ready` met it.
    ended: Option<Result<Option<Bytes>, UpstreamError>>,
    /// An upstream without ranges may send everything again.
    may_skip: bool,
    pauses: <ExponentialBuilder as BackoffBuilder>::Backoff,
    /// Of the attempts that the pauses are between, the last one.
    attempt: u32,
    /// Where `pauses` began anew.
    since: u64,
    /// The last attempt got no response that could be read.
    is_refused: bool,
    /// For how long this reader waited for the upstream, and from which position on.
    waited: (Duration, u64),
}

impl ResumingReader {
    /// Reads on after the response that [`UpstreamBlob::begin`] got.
    pub(super) fn resume(blob: &UpstreamBlob, begun: BlobResponse) -> Self {
        let end = begun.part.map(|part| part.end).or(begun.size);
        Self { bytes: Some(begun.bytes), may_skip: begun.part.is_none(), ..Self::new(blob, 0, end) }
    }

    /// A range from an upstream that knows ranges.
    pub(super) fn range(blob: &UpstreamBlob, part: Slice) -> Self {
        Self::new(blob, part.start, Some(part.end))
    }

    fn new(blob: &UpstreamBlob, position: u64, end: Option<u64>) -> Self {
        Self {
            blob: blob.clone(),
            position,
            end,
            skip: 0,
            bytes: None,
            ended: None,
            may_skip: false,
            pauses: pauses(),
            attempt: 1,
            since: position,
            is_refused: false,
            waited: (Duration::ZERO, position),
        }
    }

    /// Connects, unless it is connected.
    ///
    /// # Errors
    /// See [`UpstreamError`]; `Invalid` from an upstream that does not know ranges.
    pub(super) async fn connect(&mut self) -> Result<(), UpstreamError> {
        if self.bytes.is_some() {
            return Ok(());
        }
        let part = self.end.map(|end| Slice { start: self.position, end });
        let got = match self.blob.get(part).await {
            Err(UpstreamError::Invalid(_)) if self.may_skip => self.blob.get(None).await?,
            other => other?,
        };
        self.skip = match got.part {
            Some(_) => 0,
            None if self.may_skip || self.position == 0 => self.position,
            None => return Err(UpstreamError::Invalid("it knows no ranges".into())),
        };
        self.bytes = Some(got.bytes);
        Ok(())
    }

    /// The next bytes, or `None` at the end, with one connection at most: after an error, [`pause`](Self::pause) allows
    /// another one.
    ///
    /// # Errors
    /// The upstream refuses the connection ([`is_refused`](Self::is_refused)), or it ended too early.
    pub(super) async fn attempt(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        loop {
            if self.end.is_some_and(|end| self.position >= end) {
                return Ok(None);
            }
            let error = match self.piece().await {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) => {
                    if self.position - self.since >= PROGRESS {
                        (self.pauses, self.attempt, self.since) = (pauses(), 1, self.position);
                    }
                    return Ok(Some(piece));
                }
                Ok(None) if self.end.is_none() => return Ok(None),
                Ok(None) => UpstreamError::Unavailable("its connection ended too early".into()),
                Err(error) => error,
            };
            self.is_refused = self.bytes.is_none();
            (self.bytes, self.ended) = (None, None);
            return Err(error);
        }
    }

    /// Whether the last attempt had no response that it could read from.
    pub(super) const fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// From now on, the upstream may answer with the whole.
    pub(super) const fn allow_whole(&mut self) {
        self.may_skip = true;
    }

    /// Waits before the next attempt. `received` is how many bytes of the blob are there, for the log.
    ///
    /// # Errors
    /// `error`, after the last attempt, or if the upstream asks for a longer pause than `longest`.
    pub(super) async fn pause(
        &mut self,
        error: UpstreamError,
        longest: Duration,
        received: u64,
    ) -> Result<(), UpstreamError> {
        let asked = match &error {
            UpstreamError::TooManyRequests { retry_after } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        let Some(pause) = self.pauses.next().filter(|_| asked <= longest) else {
            return Err(error);
        };
        let pause = pause.max(asked);
        self.attempt += 1;
        self.log_pause(&error, pause, received);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Logs that the blob goes on with another connection: as a warning once a minute for each cause.
    fn log_pause(&self, error: &UpstreamError, pause: Duration, received: u64) {
        let UpstreamBlob { upstream, name: repository, digest } = &self.blob;
        let (upstream_label, attempt) = (upstream.label(), self.attempt);
        let wait_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        if upstream.warns_of_retry(&digest.to_string(), error) {
            tracing::warn!(
                upstream = upstream_label, %repository, %digest, %error, attempt, wait_ms, received,
                "the upstream broke off a blob: it goes on with another connection"
            );
        } else {
            let position = self.position;
            tracing::debug!(%digest, position, %error, attempt, wait_ms, "a blob goes on with another connection");
        }
    }

    /// The next bytes of the present connection, or of a new one; empty if they came before.
    async fn piece(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        self.connect().await?;
        let began = Instant::now();
        let next = match (self.ended.take(), &mut self.bytes) {
            (Some(ended), _) => ended?,
            (None, Some(bytes)) => bytes.next().await.transpose()?,
            (None, None) => None,
        };
        self.waited.0 += began.elapsed();
        if self.waited.0 > SLOW_WINDOW {
            let came = self.position - self.waited.1 + next.as_ref().map_or(0, Bytes::len) as u64;
            self.waited = (Duration::ZERO, self.position);
            if came < LEAST && self.skip == 0 {
                return Err(UpstreamError::Unavailable("it sends too slowly".into()));
            }
        }
        Ok(next.map(|piece| self.cut(piece)))
    }

    /// The bytes that are here already, without waiting.
    pub(super) fn ready(&mut self) -> Option<Bytes> {
        let at_end = self.end.is_some_and(|end| self.position >= end);
        if at_end || self.skip > 0 || self.ended.is_some() {
            return None;
        }
        match self.bytes.as_mut()?.next().now_or_never()? {
            Some(Ok(piece)) => Some(self.cut(piece)),
            ended => {
                self.ended = Some(ended.transpose());
                None
            }
        }
    }

    /// The part of a piece that lies between the position and the end of the range.
    fn cut(&mut self, mut piece: Bytes) -> Bytes {
        let old = self.skip.min(piece.len() as u64);
        self.skip -= old;
        // At most the length of the piece.
        piece.advance(usize::try_from(old).unwrap_or(piece.len()));
        let left = self.end.map_or(u64::MAX, |end| end - self.position);
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        self.position += piece.len() as u64;
        piece
    }
}

/// Whether another connection may get on: the upstream is not there, or wants a pause.
pub(super) const fn may_recover(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::Unavailable(_) | UpstreamError::TooManyRequests { .. })
}

fn pauses() -> <ExponentialBuilder as BackoffBuilder>::Backoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(LONGEST_PAUSE)
        .with_max_times(ATTEMPTS)
        .with_jitter()
        .build()
}
