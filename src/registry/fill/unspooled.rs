//! Copying a blob without a spool: one pass through memory, to the bucket and to the one client that asked for it, at
//! the pace of the slower of the two.
//!
//! Either may leave, and the other goes on. Whoever asks for the blob meanwhile gets it from the upstream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::source::{Source, Wanted};
use crate::oci::Error;
use crate::registry::{Registry, Turn};
use crate::telemetry::causes;

/// How many pieces, of some 100 KiB, may wait for each of the two.
const PIECES: usize = 4;
/// How many blobs are, or wait to be, copied in this way.
const MAX_COPIES: usize = 1024;
/// How long a client may take for a piece before the bucket goes on without it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The right to copy one blob; it ends when the bucket has the blob, or does not take it.
pub(in crate::registry) struct Copying {
    registry: Registry,
    wanted: Wanted,
    turn: Arc<Turn>,
    _claim: Claim,
}

/// A blob's place among those that are copied.
struct Claim(Registry, Wanted);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.inner.fills.running().unspooled.remove(&self.1.digest);
    }
}

/// What a copy gives its client.
pub(in crate::registry) struct Copied {
    /// The blob, not verified.
    pub(in crate::registry) bytes: BoxStream<'static, io::Result<Bytes>>,
    /// How the storing ended.
    pub(in crate::registry) stored: oneshot::Receiver<Result<(), Error>>,
}

impl Claim {
    /// `None` if somebody copies the blob, if it is stored, or if there are too many.
    fn new(registry: &Registry, wanted: &Wanted) -> Option<Self> {
        let mut running = registry.inner.fills.running();
        let may = registry.inner.cache.present(&wanted.digest).is_none()
            && running.unspooled.len() < MAX_COPIES
            && running.unspooled.insert(wanted.digest);
        may.then(|| Self(registry.clone(), wanted.clone()))
    }
}

impl Copying {
    /// For a client that waits: `None` if it cannot be now.
    pub(in crate::registry) fn now(registry: &Registry, wanted: &Wanted) -> Option<Self> {
        let claim = Claim::new(registry, wanted)?;
        let turn = registry.inner.uploads.turn_now()?;
        Some(Self::new(registry, wanted, turn, claim))
    }

    /// For nobody in particular: waits for its turn. `None` if somebody else copies the blob.
    pub(in crate::registry) async fn later(registry: &Registry, wanted: &Wanted) -> Option<Self> {
        let claim = Claim::new(registry, wanted)?;
        let turn = registry.inner.uploads.turn_at_last().await;
        Some(Self::new(registry, wanted, turn, claim))
    }

    fn new(registry: &Registry, wanted: &Wanted, turn: Arc<Turn>, claim: Claim) -> Self {
        Self { registry: registry.clone(), wanted: wanted.clone(), turn, _claim: claim }
    }

    /// Reads the whole blob, of `size` bytes, and stores it on the way.
    pub(in crate::registry) fn begin(self, source: Source, size: Option<u64>) -> Copied {
        let (to_client, client) = mpsc::channel(PIECES);
        let (to_bucket, bucket) = mpsc::channel(PIECES);
        let (ended, ends) = oneshot::channel();
        let background = self.registry.inner.background.clone();
        let stops = background.clone();
        let copy = async move {
            tokio::select! {
                () = copy(source, to_client, to_bucket) => {}
                // Both see that bytes are missing.
                () = stops.stopped() => {}
            }
        };
        let store = async move {
            let stored = self.store(size, received(bucket)).await;
            // Mostly nobody asks.
            let _ = ended.send(stored);
        };
        let work = async move {
            tokio::join!(copy, store);
        };
        background.own(work.in_current_span());
        Copied { bytes: received(client), stored: ends }
    }

    async fn store(self, size: Option<u64>, bytes: BoxStream<'static, io::Result<Bytes>>) -> Result<(), Error> {
        let (repository, digest) = (&self.wanted.name, &self.wanted.digest);
        let store = self.registry.store_passing(repository, digest, size, bytes, &self.turn);
        let stored = store.await;
        drop(self.turn);
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
async fn copy(mut source: Source, client: mpsc::Sender<io::Result<Bytes>>, bucket: mpsc::Sender<io::Result<Bytes>>) {
    let mut client = Some(client);
    loop {
        let piece = match source.next().await {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece),
            Err(error) => Err(error.to_string()),
        };
        let ends = piece.is_err();
        let again = || piece.clone().map_err(io::Error::other);
        if let Some(here) = &client {
            let sent = tokio::time::timeout(PATIENCE, here.send(again())).await;
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

fn received(pieces: mpsc::Receiver<io::Result<Bytes>>) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) }).boxed()
}
