//! Downloads a blob from the upstream into its place, stores its chunks, where it is cut into them, and verifies it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::Fills;
use super::bucket_chunks::BucketChunks;
use super::chunk_sender::ChunkSender;
use super::connections::{Connections, Written};
use super::filled_blob::{BlobState, FilledBlob, Watermark};
use super::hashing::{HashError, Hashing, Start};
use super::plan::Plan;
use super::resuming_reader::ResumingReader;
use super::upstream_blob::UpstreamBlob;
use crate::oci::Digest;
use crate::upstream::BlobResponse;

/// How long chunks that are whole have to reach the bucket when the fill ends without the blob.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a download did not get a blob.
#[derive(Debug)]
pub(super) enum Broken {
    /// The bytes have this digest instead.
    Mismatch(Digest),
    /// The chunk of this number is not in the bucket any more, or another object is in its place.
    Lost(u64),
    /// Anything else.
    Other(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch(digest) => {
                write!(f, "the upstream sent other bytes than were asked for: their digest is {digest}")
            }
            Self::Lost(number) => write!(f, "chunk {number} is not in the bucket any more"),
            Self::Other(cause) => f.write_str(cause),
        }
    }
}

/// Downloads and verifies the blob: all of it that the bucket has in no chunk. Without a response that has begun, the
/// first request is for what is missing. Moves the watermark, and makes it `Verified`; after a failure, clients still
/// wait. Returns the blob's size in bytes when all chunks, if it is cut into them, are stored, or in memory where the bucket
/// denies them.
///
/// It can be dropped, and another one can go on with the same blob when [`FilledBlob::writing`] is free.
///
/// # Errors
/// See [`Broken`].
pub(super) async fn run(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: Option<BlobResponse>,
    filled: &Arc<FilledBlob>,
    watermark: &watch::Sender<Watermark>,
    start: Start,
) -> Result<u64, Broken> {
    filled.forget_broken();
    let layout = filled.layout();
    let (whole, mut chunks) = mpsc::unbounded_channel();
    let mut sender = ChunkSender::new(filled, start.generation, &fills.chunk_queue);
    let received = async {
        let size = receive((fills, blob), begun, filled, (watermark, whole), start).await?;
        watermark.send_modify(|watermark| watermark.state = BlobState::Verified);
        Ok(size)
    };
    let sent = async {
        let sent = store_chunks(&mut sender, filled, &mut chunks).await;
        // The download goes on as long as it finds memory, because clients follow it.
        Ok(sent.inspect_err(|cause| filled.break_off(cause.clone())))
    };
    let result = tokio::select! {
        result = async { tokio::try_join!(received, sent) } => result,
        () = fills.background.stopped() => Err(Broken::Other("this registry is shutting down".to_owned())),
    };
    if matches!(result, Err(Broken::Mismatch(_))) || (result.is_err() && fills.background.is_stopped()) {
        // They are deleted then, or another process goes on with them: no request may store one later.
        let _ = tokio::time::timeout(SETTLE_TIMEOUT, sender.finish()).await;
    }
    // What is still under way must not come after the chunks were deleted.
    sender.stop().await;
    let (size, sent) = result?;
    match sent {
        // Where all of the blob is in memory, it is stored from there.
        Err(cause) if fills.chunk_queue.denied().is_none() || !filled.has_chunks(layout.count(size)) => {
            Err(Broken::Other(cause))
        }
        _ => Ok(size),
    }
}

/// Stores all chunks of a blob that is cut into them.
async fn store_chunks(
    sender: &mut ChunkSender<'_>,
    filled: &Arc<FilledBlob>,
    whole: &mut mpsc::UnboundedReceiver<u64>,
) -> Result<(), String> {
    let Some(chunks) = filled.chunks() else {
        return Ok(());
    };
    let failed = |error: std::io::Error| error.to_string();
    let layout = filled.layout();
    if layout.size.is_none() {
        let (_, ends) = filled.available(0, layout.chunk).await.map_err(failed)?;
        if ends {
            // It is sent as a whole.
            return Ok(());
        }
    }
    sender.run(whole).await?;
    let size = filled.verified().await.map_err(failed)?;
    // Without a size, it is only now known that the last one is whole.
    let last = layout.number(size.saturating_sub(1));
    if !chunks.is_stored(last) {
        sender.send(last, size - layout.slice(last).start);
        sender.finish().await?;
    }
    Ok(())
}

async fn receive(
    (fills, blob): (&Fills, &UpstreamBlob),
    begun: Option<BlobResponse>,
    filled: &Arc<FilledBlob>,
    (watermark, whole): (&watch::Sender<Watermark>, mpsc::UnboundedSender<u64>),
    start: Start,
) -> Result<u64, Broken> {
    // Only an upstream that sends ranges can have several connections. One that sent a part of this blob did.
    let (first, parallel) = match &begun {
        Some(begun) => (begun.part.map_or(u64::MAX, |part| part.end), begun.part.is_some()),
        None => (0, true),
    };
    let most = if parallel { fills.connections } else { 1 };
    let layout = filled.layout();
    let chunk = if filled.chunks().is_some() { layout.chunk } else { u64::MAX };
    let (mut plan, segment) = Plan::new(layout.size.unwrap_or(u64::MAX), first, chunk, Instant::now());
    for (number, _) in filled.chunks().map(BucketChunks::all).unwrap_or_default() {
        let slice = layout.slice(number);
        plan.skip(slice.start, slice.end);
    }
    let (is_complete, generation) = (plan.is_complete(), start.generation);
    let written = Written { watermark: watermark.clone(), whole, at_most: start.at_most };
    let hashing = Hashing::new(filled, start, Arc::clone(&filled.writing).lock_owned().await);
    let connections = Connections::new((fills, blob), (filled, generation), (plan, most), written);
    let first = begun.map(|begun| (ResumingReader::resume(blob, begun), segment));
    let (all, received) = watch::channel(false);
    // When it ends, no more chunks become whole.
    let fetched = async move {
        if !is_complete {
            let fetched = connections.run(first, parallel).await;
            fetched.map_err(|cause| Broken::Other(format!("after {} bytes: {cause}", filled.written())))?;
        }
        all.send_replace(true);
        Ok(())
    };
    let hashed = async {
        hashing.run(received).await.map_err(|error| match error {
            HashError::Lost(number) => Broken::Lost(number),
            HashError::Io(error) => Broken::Other(format!("the bytes cannot be read back: {error}")),
        })
    };
    let ((), hashed) = tokio::try_join!(fetched, hashed)?;
    if hashed.digest != blob.digest {
        return Err(Broken::Mismatch(hashed.digest));
    }
    if layout.size.is_none() {
        filled.end_at(hashed.bytes);
    }
    Ok(hashed.bytes)
}
