//! Downloads a blob from the upstream into its place, and verifies it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::Fills;
use super::connections::{BATCHES, Connections};
use super::filled_blob::{BlobState, FilledBlob, Place, Watermark};
use super::plan::Plan;
use super::resuming_reader::ResumingReader;
use super::upstream_blob::UpstreamBlob;
use super::writer::{self, Start};
use crate::upstream::BlobResponse;

/// Where a download reports to.
pub(super) struct Reports<'a> {
    /// Moves as bytes come.
    pub(super) watermark: &'a watch::Sender<Watermark>,
    /// Gets the number of each chunk that is whole. It is dropped when no more come.
    pub(super) whole: mpsc::UnboundedSender<u64>,
}

/// Downloads and verifies the blob: all of it that no chunk in the bucket has. Returns the blob's size in bytes.
///
/// # Errors
/// Why it is not there.
pub(super) async fn run(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: BlobResponse,
    filled: &Arc<FilledBlob>,
    start: Start,
    reports: Reports<'_>,
) -> Result<u64, String> {
    let watermark = reports.watermark;
    let result = receive((fills, blob), begun, filled, start, reports).await;
    let state = if result.is_ok() { BlobState::Verified } else { BlobState::Failed };
    watermark.send_modify(|watermark| watermark.state = state);
    if result.is_err() {
        filled.close();
    }
    result
}

async fn receive(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: BlobResponse,
    filled: &Arc<FilledBlob>,
    start: Start,
    Reports { watermark, whole }: Reports<'_>,
) -> Result<u64, String> {
    let first = begun.part.map_or(u64::MAX, |part| part.end);
    // Only an upstream that sends ranges can have several connections.
    let parallel = begun.part.is_some();
    let most = if parallel { fills.connections } else { 1 };
    let chunk = match filled.chunks() {
        Some(_) => filled.layout().chunk,
        None => u64::MAX,
    };
    let (mut plan, segment) = Plan::new(begun.size.unwrap_or(u64::MAX), first, chunk, Instant::now());
    for (number, _) in filled.chunks().map(|chunks| chunks.all()).unwrap_or_default() {
        let slice = filled.layout().slice(number);
        plan.skip(slice.start, slice.end);
    }
    let (batches, queue) = mpsc::channel(BATCHES);
    let writer = {
        let (filled, watermark) = (Arc::clone(filled), watermark.clone());
        tokio::task::spawn_blocking(move || writer::run(&filled, queue, &watermark, &whole, start))
    };
    let connections = Connections::new((fills, blob), filled, (plan, most), batches);
    let reader = ResumingReader::resume(blob, begun);
    let received = tokio::select! {
        received = connections.run(reader, segment, parallel) => received,
        () = fills.background.stopped() => Err("this registry is shutting down".to_owned()),
    };
    // The thread ends when the last sender of batches is gone.
    drop(connections);
    let written = match writer.await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => {
            if let Place::File(_) = filled.place() {
                fills.directory.distrust(&error);
            }
            return Err(format!("writing it: {error}"));
        }
        Err(error) => return Err(format!("writing it: {error}")),
    };
    if let Err(cause) = received {
        return Err(format!("after {} bytes: {cause}", written.bytes));
    }
    if written.digest != blob.digest {
        return Err(format!("the upstream sent other bytes than were asked for: their digest is {}", written.digest));
    }
    Ok(written.bytes)
}
