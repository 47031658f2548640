//! Downloads a blob from the upstream into the spool, over one connection or several.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, OwnedSemaphorePermit, mpsc, watch};
use tokio::time::MissedTickBehavior;

use super::Fills;
use super::plan::{Plan, SLOW, Segment};
use super::resuming_reader::ResumingReader;
use super::spool::SpoolReservation;
use super::spooled_blob::{BlobState, SpooledBlob, Watermark};
use super::upstream_blob::UpstreamBlob;
use super::writer::{self, Batch};
use crate::oci::Hasher;
use crate::upstream::{BlobResponse, UpstreamError};

/// How many bytes the writing thread gets at once, when so many are there.
const BATCH_BYTES: usize = 256 << 10;
/// How many batches may wait for that thread: one is written while the next is received.
const BATCHES: usize = 1;
/// How often the fill checks whether batches wait, and after how many checks without one it makes another connection:
/// more of them than the disk can take would only cost time.
const LOOK: Duration = Duration::from_millis(10);
const IDLE: u32 = 4;

/// Downloads and verifies the blob, and moves the watermark. Returns the blob's size in bytes.
pub(super) async fn run(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: BlobResponse,
    spooled: &Arc<SpooledBlob>,
    reservation: SpoolReservation,
    watermark: watch::Sender<Watermark>,
) -> Result<u64, String> {
    let result = receive((fills, blob), begun, spooled, reservation, &watermark).await;
    let state = if result.is_ok() { BlobState::Verified } else { BlobState::Failed };
    watermark.send_modify(|watermark| watermark.state = state);
    result
}

/// What the connections of one fill share.
struct Connections<'a> {
    fills: &'a Fills,
    blob: &'a UpstreamBlob,
    plan: &'a Mutex<Plan>,
    batches: mpsc::Sender<Batch>,
    reservation: &'a Mutex<SpoolReservation>,
    /// A segment was completed or given up.
    changed: Notify,
}

async fn receive(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: BlobResponse,
    spooled: &Arc<SpooledBlob>,
    reservation: SpoolReservation,
    watermark: &watch::Sender<Watermark>,
) -> Result<u64, String> {
    let first = begun.part.map_or(u64::MAX, |part| part.end);
    let parallel = begun.part.is_some();
    let (plan, segment) = Plan::new(begun.size.unwrap_or(u64::MAX), first, Instant::now());
    let plan = Arc::new(Mutex::new(plan));
    let (batches, queue) = mpsc::channel(BATCHES);
    let writer = {
        let (spooled, plan, watermark) = (Arc::clone(spooled), Arc::clone(&plan), watermark.clone());
        let hasher = Hasher::new(blob.digest.algorithm());
        tokio::task::spawn_blocking(move || writer::run(&spooled, &plan, queue, &watermark, hasher))
    };
    let reservation = Mutex::new(reservation);
    let connections =
        Connections { fills, blob, plan: &plan, batches, reservation: &reservation, changed: Notify::new() };
    let reader = ResumingReader::resume(blob, begun);
    let received = tokio::select! {
        received = connections.run(reader, segment, parallel) => received,
        () = fills.background.stopped() => Err("this registry is shutting down".to_owned()),
    };
    // The thread ends when the last sender is gone.
    drop(connections);
    spooled.spool().keep(reservation.into_inner().unwrap_or_else(PoisonError::into_inner));
    let written = match writer.await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => {
            fills.spool.suspend();
            return Err(format!("writing the spool: {error}"));
        }
        Err(error) => return Err(format!("writing the spool: {error}")),
    };
    if let Err(cause) = received {
        return Err(format!("after {} bytes: {cause}", written.bytes));
    }
    if written.digest != blob.digest {
        return Err(format!("the upstream sent other bytes than were asked for: their digest is {}", written.digest));
    }
    Ok(written.bytes)
}

impl Connections<'_> {
    /// Fetches the whole blob: continues the first connection, and makes another one whenever the disk was idle for a
    /// while, as far as `proxy.fill.connections` and the bound on all connections allow. The blob fails when the last
    /// connection does.
    async fn run(&self, reader: ResumingReader, segment: Segment, parallel: bool) -> Result<(), String> {
        let fills = self.fills;
        let mut connections = FuturesUnordered::new();
        connections.push(self.connection(Some((reader, segment)), None));
        let mut most = if parallel { fills.connections } else { 1 };
        let (mut looks, mut idle) = (tokio::time::interval(LOOK), 0);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failed = None;
        loop {
            tokio::select! {
                ended = connections.next() => {
                    let Some(ended) = ended else { break };
                    if let Err(cause) = ended {
                        failed = Some(cause);
                        // An upstream may not like so many.
                        most = connections.len();
                    }
                }
                _ = looks.tick(), if connections.len() < most => {
                    idle = if self.batches.capacity() == BATCHES { idle + 1 } else { 0 };
                    if idle >= IDLE && self.plan().waiting() > 0
                        && let Some(permit) = fills.extra_connection()
                    {
                        idle = 0;
                        connections.push(self.connection(None, Some(permit)));
                    }
                }
            }
        }
        match failed {
            Some(cause) if !self.plan().is_complete() => Err(cause),
            _ => Ok(()),
        }
    }

    /// Fetches one segment after the other until the blob is complete.
    async fn connection(
        &self,
        begun: Option<(ResumingReader, Segment)>,
        _permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), String> {
        let mut next = begun;
        loop {
            let (reader, segment) = match next.take() {
                Some(begun) => begun,
                None => match self.segment().await {
                    Some(segment) => (ResumingReader::range(self.blob, segment.part()), segment),
                    None => return Ok(()),
                },
            };
            let fetched = self.fetch(reader, segment).await;
            if fetched.is_err() {
                self.plan().give_up(segment);
            }
            self.changed.notify_waiters();
            fetched?;
        }
    }

    /// The segment to fetch next, now or when another connection turns out to be slow or breaks; `None` when the blob
    /// is complete.
    async fn segment(&self) -> Option<Segment> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From now on nothing is missed.
            changed.as_mut().enable();
            {
                let mut plan = self.plan();
                if plan.is_complete() {
                    return None;
                }
                if let Some(segment) = plan.take(Instant::now()) {
                    return Some(segment);
                }
            }
            // Only time may have passed.
            let _ = tokio::time::timeout(SLOW, changed).await;
        }
    }

    async fn fetch(&self, mut reader: ResumingReader, segment: Segment) -> Result<(), String> {
        let describe = |error: UpstreamError| error.to_string();
        let mut position = segment.start;
        loop {
            let Some(first) = reader.next().await.map_err(describe)? else {
                if segment.end == u64::MAX {
                    self.plan().end(segment);
                }
                return Ok(());
            };
            let mut batch = Pieces::default();
            let mut next = Some(first);
            // Pieces that are there already are taken along, up to a batch.
            while let Some(piece) = next {
                batch.add(piece);
                next = (batch.len < BATCH_BYTES).then(|| reader.ready()).flatten();
            }
            let own = self.plan().receive(segment, batch.len as u64);
            batch.truncate(own);
            self.fills.metrics.filled_bytes(own);
            if segment.end == u64::MAX && !self.grow_to(position + own) {
                // Its size was unknown. The next request for it bypasses the spool.
                self.fills.spool.suspend();
                return Err("the spool is full".to_owned());
            }
            let pieces = batch.pieces;
            let sent = Batch { segment, position, pieces };
            position += own;
            // A writer that is gone has failed, and its error says why.
            if self.batches.send(sent).await.is_err() {
                return Err("the spool cannot be written".to_owned());
            }
            if self.plan().is_received(segment) {
                return Ok(());
            }
        }
    }

    fn grow_to(&self, bytes: u64) -> bool {
        let mut reservation = self.reservation.lock().unwrap_or_else(PoisonError::into_inner);
        reservation.grow_to(bytes)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that arrived one behind the other.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    len: usize,
}

impl Pieces {
    fn add(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push(piece);
    }

    /// Keeps the first `len` bytes.
    fn truncate(&mut self, len: u64) {
        // At most the number of bytes that there are.
        let mut left = usize::try_from(len).unwrap_or(self.len);
        for piece in &mut self.pieces {
            piece.truncate(left);
            left -= piece.len();
        }
    }
}
