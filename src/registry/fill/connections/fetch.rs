//! One connection fetches one segment, and writes its bytes down.
//!
//! A connection that the upstream refuses leaves its segment to the others; only the last one insists.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Connections;
use crate::registry::fill::counted::Counted;
use crate::registry::fill::filled_blob::Place;
use crate::registry::fill::pieces::Pieces;
use crate::registry::fill::plan::{NewChunk, SLOW, Segment};
use crate::registry::fill::resuming_reader::{ResumingReader, may_recover};
use crate::upstream::UpstreamError;

/// How many bytes are written at once, when so many are there.
const BATCH_BYTES: usize = 256 << 10;
/// The longest `Retry-After` that the last connection waits for: clients have bytes, and no other way to the rest.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// After so many answers to the last connection that were no range, the upstream is taken for one without ranges.
const ODD_ANSWERS: u32 = 3;

impl Connections<'_> {
    /// Waits until the chunk that a position is in has memory: it has, unless this is the first segment or one that
    /// goes through several chunks.
    ///
    /// # Errors
    /// As [`segment`](Self::segment).
    async fn reserve(&self, position: u64) -> Result<(), String> {
        let number = self.filled.layout().number(position);
        loop {
            let mut changed = std::pin::pin!(self.filled.changed().notified());
            changed.as_mut().enable();
            if self.may_begin(NewChunk { number, lowest: number }) {
                return Ok(());
            }
            if let Some(cause) = self.filled.broken() {
                return Err(cause);
            }
            // A blob that no request needs is not told when there is memory.
            let _ = tokio::time::timeout(SLOW, changed).await;
        }
    }

    /// Fetches a segment; `true` if the upstream refused the connection, which then left it to the others.
    pub(super) async fn fetch(
        &self,
        mut reader: ResumingReader,
        segment: Segment,
        delivers: &mut Counted<'_>,
    ) -> Result<bool, String> {
        let describe = |error: UpstreamError| error.to_string();
        let (mut position, mut odd_answers, mut chunk_at) = (segment.start, 0, None);
        loop {
            let first = match reader.attempt().await {
                Ok(Some(first)) => first,
                Ok(None) if segment.end == u64::MAX => {
                    self.plan().end(segment);
                    return Ok(false);
                }
                // The upstream sent a shorter range than was asked for: the rest is for the next request.
                Ok(None) => {
                    self.plan().give_up(segment);
                    return Ok(false);
                }
                Err(error) if reader.is_refused() && self.leave() => {
                    tracing::debug!(digest = %self.blob.digest, %error, "a fill has one connection less");
                    self.growth().refused(self.ordinary(), Instant::now());
                    self.plan().give_up(segment);
                    return Ok(true);
                }
                Err(error) if may_recover(&error) => {
                    self.pause(&mut reader, error).await.map_err(describe)?;
                    continue;
                }
                // It gave a range before. If it does not again, the rest comes with all that lies before it.
                Err(error @ UpstreamError::Invalid(_)) => {
                    self.pause(&mut reader, error).await.map_err(describe)?;
                    odd_answers += 1;
                    if odd_answers == ODD_ANSWERS {
                        reader.allow_whole();
                        self.plan().expect_no_ranges();
                    }
                    continue;
                }
                Err(error) => return Err(describe(error)),
            };
            delivers.count();
            let mut batch = Pieces::default();
            let mut next = Some(first);
            // Pieces that are there already are taken along, up to a batch.
            while let Some(piece) = next {
                batch.add(piece);
                next = (batch.len < BATCH_BYTES).then(|| reader.ready()).flatten();
            }
            while batch.len > 0 && !self.plan().is_received(segment) {
                let layout = self.filled.layout();
                let chunk = layout.slice(layout.number(position));
                // First, because what is received counts as being there.
                if chunk_at != Some(chunk.start) {
                    self.reserve(position).await?;
                    chunk_at = Some(chunk.start);
                }
                position += self.write(segment, position, batch.split_to(chunk.end - position)).await?;
            }
            if self.plan().is_received(segment) {
                return Ok(false);
            }
        }
    }

    /// Waits before the reader's next attempt.
    ///
    /// # Errors
    /// That was the last one.
    async fn pause(&self, reader: &mut ResumingReader, error: UpstreamError) -> Result<(), UpstreamError> {
        self.filled.meter.retries.fetch_add(1, Ordering::Relaxed);
        reader.pause(error, LONGEST_PAUSE, self.filled.bytes_there()).await
    }

    /// Writes bytes of one chunk, as far as they are still the connection's own; returns how many those are.
    ///
    /// # Errors
    /// They cannot be written, and the fill fails.
    async fn write(&self, segment: Segment, position: u64, mut pieces: Pieces) -> Result<u64, String> {
        let mut writing = Counted::new(&self.writing);
        writing.count();
        let own = self.plan().receive(segment, pieces.len as u64, Instant::now());
        pieces.truncate(own);
        self.received.fetch_add(own, Ordering::Relaxed);
        self.fills.metrics.filled_bytes(own);
        let end = position + own;
        if end > self.written.at_most {
            return Err(self.fail(format!("the upstream sent more than {} bytes", self.written.at_most)));
        }
        if let Err(error) = self.filled.write(self.generation, position, pieces.pieces).await {
            if let Place::File(_) = self.filled.place() {
                self.fills.directory.distrust(&error);
            }
            return Err(self.fail(format!("the bytes cannot be written: {error}")));
        }
        let added = self.filled.add(position, end);
        if let Some(chunk) = added.whole {
            // Where the blob is not cut into chunks, it does not matter.
            let _ = self.written.whole.send(chunk);
        }
        // Readers of a later part look as well, so all of them are woken: they are at most the clients, and a batch has
        // up to 256 KiB. Another connection may have told more meanwhile.
        self.written.watermark.send_modify(|watermark| watermark.written = watermark.written.max(added.written));
        Ok(own)
    }

    /// Other connections cannot make up for it.
    fn fail(&self, cause: String) -> String {
        self.failed.get_or_init(|| cause).clone()
    }
}
