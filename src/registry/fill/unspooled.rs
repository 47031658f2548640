//! Copying a blob without a spool: one pass through memory, to the bucket and to the one client that
//! asked for it, at the pace of the slower of the two.
//!
//! Either may leave, and the other goes on. Whoever asks for the blob meanwhile gets it from the upstream.

use std::io;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use super::source::{Source, Wanted};
use crate::oci::Error;
use crate::registry::Registry;
use crate::registry::background::Background;
use crate::telemetry::{Outcome, causes};
use crate::upstream::UpstreamError;

/// How many pieces, of some 100 KiB, may wait for each of the two.
const PIECES: usize = 4;

/// Ends when the bucket has the blob, or does not take it.
struct Copying {
    registry: Registry,
    wanted: Wanted,
}

impl Drop for Copying {
    fn drop(&mut self) {
        let mut running = self.registry.inner.fills.running();
        running.unspooled.remove(&self.wanted.digest);
    }
}

/// A blob on its way through memory.
pub(in crate::registry) struct Passing {
    pub(in crate::registry) bytes: BoxStream<'static, io::Result<Bytes>>,
    /// Whether it is stored on the way (`Fill`) or not (`Pass`).
    pub(in crate::registry) outcome: Outcome,
    /// How the storing ended, if it is done here.
    pub(in crate::registry) stored: Option<oneshot::Receiver<Result<(), Error>>>,
}

/// Reads a whole blob of `size` bytes; stores it on the way, unless somebody is doing so.
pub(in crate::registry) fn begin(
    registry: &Registry,
    wanted: &Wanted,
    source: Source,
    size: Option<u64>,
) -> Passing {
    let fills = &registry.inner.fills;
    if !fills.running().unspooled.insert(wanted.digest) {
        return Passing {
            bytes: source.into_stream(),
            outcome: Outcome::Pass,
            stored: None,
        };
    }
    let copying = Copying {
        registry: registry.clone(),
        wanted: wanted.clone(),
    };
    let (to_client, client) = mpsc::channel(PIECES);
    let (to_bucket, bucket) = mpsc::channel(PIECES);
    let (ended, ends) = oneshot::channel();
    let bytes = received(bucket);
    let copied = copy(
        registry.inner.background.clone(),
        source,
        to_client,
        to_bucket,
    );
    let store = async move {
        let Copying { registry, wanted } = &copying;
        let (repository, digest) = (&wanted.name, &wanted.digest);
        let stored = registry
            .store_passing(repository, digest, size, bytes)
            .await;
        match &stored {
            Ok(()) => tracing::info!(%repository, %digest, "stored a blob without the spool"),
            Err(error) => {
                let cause = causes(error);
                tracing::warn!(%repository, %digest, cause, "a blob was not stored");
            }
        }
        // Mostly nobody asks.
        let _ = ended.send(stored);
    };
    let work = async move {
        tokio::join!(copied, store);
    };
    fills.background.own(work.in_current_span());
    Passing {
        bytes: received(client),
        outcome: Outcome::Fill,
        stored: Some(ends),
    }
}

/// Gives each piece to both, as long as they are there.
async fn copy(
    background: Background,
    mut source: Source,
    client: mpsc::Sender<io::Result<Bytes>>,
    bucket: mpsc::Sender<io::Result<Bytes>>,
) {
    loop {
        let next = tokio::select! {
            next = source.next() => next,
            () = background.stopped() => {
                Err(UpstreamError::Unavailable("this registry is shutting down".into()))
            }
        };
        let piece = match next {
            Ok(None) => return,
            Ok(Some(piece)) => Ok(piece),
            Err(error) => Err(error.to_string()),
        };
        let ends = piece.is_err();
        let mut wanted = false;
        for receiver in [&client, &bucket] {
            let piece = piece.clone().map_err(io::Error::other);
            wanted |= receiver.send(piece).await.is_ok();
        }
        if ends || !wanted {
            return;
        }
    }
}

fn received(pieces: mpsc::Receiver<io::Result<Bytes>>) -> BoxStream<'static, io::Result<Bytes>> {
    stream::unfold(pieces, |mut pieces| async move {
        pieces.recv().await.map(|piece| (piece, pieces))
    })
    .boxed()
}
