//! Copying a blob without a spool: one pass through memory, to the bucket and to the one client that asked for it, at
//! the pace of the slower of the two.
//!
//! Either may leave, and the other goes on. Clients that ask for the blob meanwhile get it from the upstream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::Fills;
use super::resuming_reader::ResumingReader;
use super::upstream_blob::UpstreamBlob;
use crate::oci::{Error, ErrorCode};
use crate::registry::failure::of_upstream;
use crate::registry::ingest::BodyPermit;
use crate::registry::presence::blob_unknown;
use crate::telemetry::causes;

/// How many pieces, of some 100 KiB, may wait for each of the two.
const PIECES: usize = 4;
/// How many blobs are copied in this way, or wait to be.
const MAX_COPIES: usize = 1024;
/// How long a client may take for a piece before the bucket goes on without it.
const CLIENT_TIMEOUT: Duration = Duration::from_mins(1);

type Pieces = BoxStream<'static, io::Result<Bytes>>;

/// The right to copy one blob. It ends when the bucket has the blob, or does not take it.
pub(in crate::registry) struct Tee {
    claim: Claim,
    permit: Arc<BodyPermit>,
}

/// A blob among those that are copied.
struct Claim {
    fills: Arc<Fills>,
    blob: UpstreamBlob,
}

/// A running copy.
pub(in crate::registry) struct Copied {
    /// The blob, not verified.
    pub(in crate::registry) bytes: Pieces,
    /// How the storing ended.
    stored: oneshot::Receiver<Result<(), Error>>,
}

impl Claim {
    /// `None` if the blob is being copied or is stored, or if too many are copied.
    fn new(fills: &Arc<Fills>, blob: &UpstreamBlob) -> Option<Self> {
        let mut running = fills.running();
        let is_free = fills.cache.blobs.present(&blob.digest).is_none()
            && running.unspooled.len() < MAX_COPIES
            && running.unspooled.insert(blob.digest);
        is_free.then(|| Self { fills: Arc::clone(fills), blob: blob.clone() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.fills.running().unspooled.remove(&self.blob.digest);
    }
}

impl Fills {
    /// Copies a blob for which the spool has no room, without a client. Tells `progress` how many bytes came.
    ///
    /// # Errors
    /// As [`open`](Self::open); `UNAVAILABLE` too if it was not stored.
    pub(in crate::registry) async fn copy_unspooled(
        self: &Arc<Self>,
        blob: &UpstreamBlob,
        why: &str,
        progress: impl Fn(u64),
    ) -> Result<u64, Error> {
        let (name, digest) = (&blob.name, &blob.digest);
        let failed = || {
            let message = format!("{digest} could not be stored, the log tells why");
            Error::new(ErrorCode::Unavailable, message)
        };
        let Some(tee) = Tee::new(self, blob).await else {
            // Another request copies it, or did so.
            return self.cache.blobs.present(digest).ok_or_else(failed);
        };
        tracing::warn!(repository = %name, %digest, %why, "bypassing the spool");
        let begun = blob.begin(None, None).await;
        let begun = begun.map_err(|error| of_upstream(error, blob_unknown(name, digest)))?;
        let size = begun.size;
        let mut copied = tee.begin(ResumingReader::resume(blob, begun), size);
        let mut bytes = 0;
        while let Some(piece) = copied.bytes.next().await {
            bytes += piece.map_err(|error| failed().caused_by(error))?.len() as u64;
            progress(bytes);
        }
        let stored = copied.stored.await.unwrap_or_else(|_| Err(failed()));
        stored.map(|()| bytes)
    }
}

impl Tee {
    /// For a client that waits: `None` if the blob cannot be copied now.
    pub(in crate::registry) fn try_new(fills: &Arc<Fills>, blob: &UpstreamBlob) -> Option<Self> {
        let claim = Claim::new(fills, blob)?;
        let permit = fills.writer.permits.try_acquire_upstream()?;
        Some(Self { claim, permit })
    }

    /// Without a client: waits for a permit. `None` if another request copies the blob.
    async fn new(fills: &Arc<Fills>, blob: &UpstreamBlob) -> Option<Self> {
        let claim = Claim::new(fills, blob)?;
        let permit = fills.writer.permits.acquire_upstream().await;
        Some(Self { claim, permit })
    }

    /// Reads the whole blob, of `size` bytes, and stores it on the way.
    pub(in crate::registry) fn begin(self, reader: ResumingReader, size: Option<u64>) -> Copied {
        let (to_client, client) = mpsc::channel(PIECES);
        let (to_bucket, bucket) = mpsc::channel(PIECES);
        let (ended, ends) = oneshot::channel();
        let background = Arc::clone(&self.claim.fills.background);
        let stops = Arc::clone(&background);
        let copy = async move {
            tokio::select! {
                () = copy(reader, to_client, to_bucket) => {}
                // Both see that bytes are missing.
                () = stops.stopped() => {}
            }
        };
        let store = async move {
            let stored = self.store(size, received(bucket)).await;
            // Mostly nothing waits for it.
            let _ = ended.send(stored);
        };
        let work = async move {
            tokio::join!(copy, store);
        };
        background.spawn(work.in_current_span());
        Copied { bytes: received(client), stored: ends }
    }

    async fn store(self, size: Option<u64>, bytes: Pieces) -> Result<(), Error> {
        let Claim { fills, blob } = &self.claim;
        let (repository, digest) = (&blob.name, &blob.digest);
        let stored = fills.writer.store(repository, digest, size, bytes, &self.permit).await;
        drop(self.permit);
        match &stored {
            Ok(()) => tracing::info!(%repository, %digest, "stored a blob without the spool"),
            Err(error) => {
                let cause = causes(error);
                tracing::warn!(%repository, %digest, cause, "a blob was not stored");
            }
        }
        stored
    }
}

/// Gives each piece to both, as long as they are there.
async fn copy(
    mut reader: ResumingReader,
    client: mpsc::Sender<io::Result<Bytes>>,
    bucket: mpsc::Sender<io::Result<Bytes>>,
) {
    let mut client = Some(client);
    loop {
        let piece = match reader.next().await {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece),
            Err(error) => Err(error.to_string()),
        };
        let ends = piece.is_err();
        let again = || piece.clone().map_err(io::Error::other);
        if let Some(here) = &client {
            let sent = tokio::time::timeout(CLIENT_TIMEOUT, here.send(again())).await;
            if !matches!(sent, Ok(Ok(()))) {
                client = None;
            }
        }
        let stored = bucket.send(again()).await.is_ok();
        if ends || (client.is_none() && !stored) {
            return;
        }
    }
}

fn received(pieces: mpsc::Receiver<io::Result<Bytes>>) -> Pieces {
    stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) }).boxed()
}
