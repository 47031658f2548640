//! From the upstream into the spool, hashing on the way.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::FutureExt;
use tokio::sync::{mpsc, watch};

use super::Job;
use super::flow::{Mark, State};
use super::spool::{Room, Spool};
use crate::oci::{Digest, Hasher};
use crate::upstream::UpstreamBlob;

/// How many bytes are handed to the writing thread at once, when so many are there.
const BATCH_BYTES: usize = 512 << 10;
/// How many batches may wait for it: one is written while the next is received.
const BATCHES: usize = 1;

/// What the writing thread reports.
struct Written {
    bytes: u64,
    digest: Digest,
}

/// Downloads, verifies, and says so in `mark`. Returns the blob's size.
pub(super) async fn run(
    job: &Job,
    blob: UpstreamBlob,
    spool: &Arc<Spool>,
    room: Room,
    mark: watch::Sender<Mark>,
) -> Result<u64, String> {
    let result = receive(job, blob, spool, room, &mark).await;
    let state = if result.is_ok() {
        State::Verified
    } else {
        State::Failed
    };
    mark.send_modify(|mark| mark.state = state);
    result
}

async fn receive(
    job: &Job,
    mut blob: UpstreamBlob,
    spool: &Arc<Spool>,
    mut room: Room,
    mark: &watch::Sender<Mark>,
) -> Result<u64, String> {
    let (batches, queue) = mpsc::channel(BATCHES);
    let writer = {
        let (spool, mark, algorithm) = (Arc::clone(spool), mark.clone(), job.digest.algorithm());
        tokio::task::spawn_blocking(move || write(&spool, queue, &mark, Hasher::new(algorithm)))
    };
    let mut received = 0_u64;
    let mut broken = None;
    loop {
        let first = tokio::select! {
            first = blob.bytes.next() => first,
            () = job.registry.inner.background.stopped() => {
                broken = Some("this registry is shutting down".to_owned());
                break;
            }
        };
        let Some(first) = first else { break };
        let (mut batch, mut len) = (Vec::new(), 0);
        let mut next = Some(first);
        // What is there already is taken along, up to a batch.
        while let Some(piece) = next.take() {
            match piece {
                Ok(piece) => {
                    len += piece.len();
                    batch.push(piece);
                }
                Err(error) => broken = Some(error.to_string()),
            }
            if len < BATCH_BYTES && broken.is_none() {
                next = blob.bytes.next().now_or_never().flatten();
            }
        }
        received += len as u64;
        job.registry.inner.metrics.filled_bytes(len as u64);
        if !room.grow_to(received) {
            broken = Some("the spool is full".to_owned());
        }
        // A writer that is gone has failed, and tells why below.
        if broken.is_some() || batches.send(batch).await.is_err() {
            break;
        }
    }
    drop(batches);
    spool.keep(room);
    let written = match writer.await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => return Err(format!("writing the spool: {error}")),
        Err(error) => return Err(format!("writing the spool: {error}")),
    };
    if let Some(cause) = broken {
        return Err(format!("after {received} bytes: {cause}"));
    }
    if written.digest != job.digest {
        return Err(format!(
            "the upstream sent other bytes than were asked for: their digest is {}",
            written.digest
        ));
    }
    Ok(written.bytes)
}

/// Writes and hashes batches until there are no more; blocks. Readers get to know of a batch before
/// it is hashed, since they do not get the tail anyway.
fn write(
    spool: &Spool,
    mut batches: mpsc::Receiver<Vec<Bytes>>,
    mark: &watch::Sender<Mark>,
    mut hasher: Hasher,
) -> io::Result<Written> {
    let mut position = 0;
    while let Some(batch) = batches.blocking_recv() {
        for piece in &batch {
            spool.write_at(piece, position)?;
            position += piece.len() as u64;
        }
        mark.send_modify(|mark| mark.written = position);
        for piece in &batch {
            hasher.update(piece);
        }
    }
    Ok(Written {
        bytes: position,
        digest: hasher.finish(),
    })
}
