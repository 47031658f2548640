//! Verifies a blob that passes from the upstream to one client, without the spool and the bucket.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};

use super::spooled_blob::HELD_BACK;
use crate::oci::{Digest, Hasher};
use crate::telemetry::Metrics;

struct Verifying {
    upstream: BoxStream<'static, io::Result<Bytes>>,
    expected: Digest,
    /// Gone once the digest was verified.
    hasher: Option<Hasher>,
    /// The last pieces, which wait until the digest was verified.
    held: VecDeque<Bytes>,
    held_bytes: u64,
    metrics: Arc<Metrics>,
}

/// Passes a blob on as it comes, except for its tail, which waits until the whole was verified: no client receives a
/// complete wrong blob.
pub(in crate::registry) fn verify_stream(
    upstream: BoxStream<'static, io::Result<Bytes>>,
    expected: Digest,
    metrics: Arc<Metrics>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let hasher = Some(Hasher::new(expected.algorithm()));
    let verifying = Verifying { upstream, expected, hasher, held: VecDeque::new(), held_bytes: 0, metrics };
    stream::try_unfold(
        verifying,
        |mut verifying| async move { Ok(verifying.next().await?.map(|piece| (piece, verifying))) },
    )
    .boxed()
}

impl Verifying {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(hasher) = &mut self.hasher else {
                return Ok(self.held.pop_front());
            };
            if let Some(first) = self.held.front()
                && self.held_bytes - first.len() as u64 >= HELD_BACK
            {
                self.held_bytes -= first.len() as u64;
                return Ok(self.held.pop_front());
            }
            match self.upstream.next().await {
                Some(Ok(piece)) => {
                    hasher.update(&piece);
                    self.metrics.filled_bytes(piece.len() as u64);
                    self.held_bytes += piece.len() as u64;
                    self.held.push_back(piece);
                }
                Some(Err(error)) => return Err(error),
                None => {
                    let actual = self.hasher.take().map(Hasher::finish);
                    if actual != Some(self.expected) {
                        let expected = self.expected;
                        tracing::error!(%expected, ?actual, "the upstream sent other bytes than were asked for");
                        return Err(io::Error::other("the digest does not match"));
                    }
                }
            }
        }
    }
}
