//! Bytes of a chunk that is not whole yet, for the clients of followers: its owner stores them as *heads*.
//!
//! The first head of a blob is what clients get while the first chunk comes. The others are for slow upstreams: a proxy
//! cuts a response that is silent for a minute, and a chunk may take longer.

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::SharedFill;
use crate::oci::Slice;
use crate::registry::fill::bucket_chunks::BucketChunks;
use crate::registry::fill::filled_blob::FilledBlob;
use crate::registry::fill::lease::{Head, MAX_HEADS};

/// How many bytes at the beginning of a blob are stored as soon as they are there.
const FIRST: u64 = 1 << 20;
/// The least bytes of a later head.
const LEAST: u64 = 256 << 10;
/// After so many heartbeats without a new chunk or head, what is there of the next chunk becomes a head: ten seconds by
/// default.
const BEATS: u32 = 3;

impl SharedFill<'_> {
    /// Stores heads, for ever.
    pub(super) async fn put_heads(&self, filled: &Arc<FilledBlob>, generation: Uuid) {
        let heartbeat = self.job.fills.tuning.heartbeat;
        let first = filled.available(0, FIRST);
        if filled.layout().chunk > FIRST
            && let Ok(Ok((FIRST, false))) = tokio::time::timeout(heartbeat * BEATS, first).await
        {
            self.put_head(filled, generation, Slice { start: 0, end: FIRST }).await;
        }
        let (mut number, mut since) = (0, Instant::now());
        loop {
            tokio::time::sleep(heartbeat).await;
            let written = filled.written();
            let (now, chunks) = (filled.layout().number(written), filled.chunks());
            if now != number {
                (number, since) = (now, Instant::now());
            }
            if since.elapsed() < heartbeat * BEATS {
                continue;
            }
            let heads: Vec<_> = chunks.map(BucketChunks::heads).unwrap_or_default();
            let heads = heads.into_iter().map(|(head, _)| head).collect::<Vec<_>>();
            if let Some(part) = next(&heads, filled.layout().slice(number).start, written) {
                self.put_head(filled, generation, part).await;
                since = Instant::now();
            }
        }
    }

    async fn put_head(&self, filled: &Arc<FilledBlob>, generation: Uuid, part: Slice) {
        if let Some(chunks) = filled.chunks()
            && !chunks.is_stored(filled.layout().number(part.start))
            && let Err(error) = chunks.put_head(generation, part, filled.part(part.start, part.end)).await
        {
            tracing::debug!(digest = %self.object.digest(), %error, "the beginning of a chunk was not stored");
        }
    }
}

/// The next head of the chunk that begins at `start` and is there up to `written`: what is new, or all of it where a
/// lease would have too many heads. `None`: too little is new.
fn next(heads: &[Head], start: u64, written: u64) -> Option<Slice> {
    let told = heads.iter().map(|head| head.end).fold(start, u64::max);
    let has_room = heads.len() < MAX_HEADS;
    let from = if has_room { told } else { start };
    (written >= told + LEAST && (has_room || told > start)).then_some(Slice { start: from, end: written })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_head_takes_the_place_of_all() {
        let head = |start, end| Head { start, end, etag: String::new() };
        let mut heads = vec![head(LEAST, 2 * LEAST)];
        assert_eq!(next(&heads, LEAST, 3 * LEAST - 1), None);
        for part in 2..5 {
            assert_eq!(
                next(&heads, LEAST, (part + 1) * LEAST),
                Some(Slice { start: part * LEAST, end: (part + 1) * LEAST })
            );
            heads.push(head(part * LEAST, (part + 1) * LEAST));
        }
        assert_eq!(next(&heads, LEAST, 6 * LEAST), Some(Slice { start: LEAST, end: 6 * LEAST }));
        // The heads of a chunk before, which is on its way to the bucket.
        assert_eq!(next(&heads, 6 * LEAST, 7 * LEAST), None);
    }
}
