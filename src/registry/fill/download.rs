//! Downloads a blob from the upstream into the spool, and verifies it.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::Fills;
use super::connections::{BATCHES, Connections};
use super::plan::Plan;
use super::resuming_reader::ResumingReader;
use super::spool::SpoolReservation;
use super::spooled_blob::{BlobState, SpooledBlob, Watermark};
use super::upstream_blob::UpstreamBlob;
use super::writer;
use crate::oci::Hasher;
use crate::upstream::BlobResponse;

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

async fn receive(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: BlobResponse,
    spooled: &Arc<SpooledBlob>,
    reservation: SpoolReservation,
    watermark: &watch::Sender<Watermark>,
) -> Result<u64, String> {
    let first = begun.part.map_or(u64::MAX, |part| part.end);
    // Only an upstream that sends ranges can have several connections.
    let parallel = begun.part.is_some();
    let most = if parallel { fills.connections } else { 1 };
    let (plan, segment) = Plan::new(begun.size.unwrap_or(u64::MAX), first, Instant::now());
    let (batches, queue) = mpsc::channel(BATCHES);
    let writer = {
        let (spooled, watermark) = (Arc::clone(spooled), watermark.clone());
        let hasher = Hasher::new(blob.digest.algorithm());
        tokio::task::spawn_blocking(move || writer::run(&spooled, queue, &watermark, hasher))
    };
    let connections = Connections::new((fills, blob), spooled, (plan, most), batches, reservation);
    let reader = ResumingReader::resume(blob, begun);
    let received = tokio::select! {
        received = connections.run(reader, segment, parallel) => received,
        () = fills.background.stopped() => Err("this registry is shutting down".to_owned()),
    };
    // The thread ends when the last sender of batches is gone.
    spooled.spool().keep(connections.into_reservation());
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
