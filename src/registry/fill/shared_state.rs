//! What another process's fill of the same blob changes in a [`FilledBlob`].

use std::collections::BTreeMap;

use tokio::sync::watch;
use uuid::Uuid;

use super::bucket_chunks::BucketChunks;
use super::chunks::Stored;
use super::filled_blob::{BlobState, FilledBlob, Place, Watermark};
use super::held_lease::Progress;
use super::lease::{Hashed, Head, MAX_HEADS};
use super::runs;
use crate::oci::Hasher;

impl FilledBlob {
    /// The bucket has these chunks and heads and no others, and memory has none: another generation begins, or ended. To
    /// be called when nothing is written any more. That a blob was verified is true of its very chunks only.
    pub(super) fn replace_chunks(
        &self,
        (stored, heads): (BTreeMap<u64, Stored>, Vec<(Head, Uuid)>),
        watermark: &watch::Sender<Watermark>,
    ) {
        let Some(chunks) = self.chunks() else {
            return;
        };
        let is_whole = self.layout().size.is_some_and(|size| stored.len() as u64 == self.layout().count(size));
        let before = chunks.all().into_iter().map(|(number, stored)| (number, stored.generation));
        if !is_whole || !before.eq(stored.iter().map(|(number, stored)| (*number, stored.generation))) {
            // First, so that no client takes what comes for what was verified.
            watermark.send_modify(|watermark| {
                if watermark.state == BlobState::Verified {
                    watermark.state = BlobState::Coming;
                }
            });
        }
        if let Place::Memory(window) = self.place() {
            window.clear();
        }
        let mut there = self.there();
        there.clear();
        for number in stored.keys().copied() {
            let slice = self.layout().slice(number);
            there.insert(slice.start, slice.end);
        }
        for (head, _) in &heads {
            there.insert(head.start, head.end);
        }
        chunks.replace(stored, heads);
        let written = there.end_from(0);
        if !there.is_empty() {
            self.meter.received(|| there.len());
        }
        drop(there);
        watermark.send_modify(|watermark| watermark.written = written);
        self.changed().notify_waiters();
    }

    /// How far it is: what a lease says of it.
    pub(super) fn progress(&self) -> Progress {
        let (stored, hashed) = self.chunks().map(|chunks| (chunks.all(), chunks.progress())).unwrap_or_default();
        // What was stored since is for the next time.
        let prefix = (0..).zip(&stored).take_while(|(expected, (number, _))| expected == number).count() as u64;
        let nothing = || (0, Hasher::new(self.digest().algorithm()));
        let (chunks, state) = hashed.filter(|(chunks, _)| *chunks <= prefix).unwrap_or_else(nothing);
        let count = usize::try_from(chunks).unwrap_or(usize::MAX);
        // A chunk that this process sent or hashed has an ETag.
        let etags = stored.iter().take(count).map(|(_, chunk)| chunk.etag.as_deref().unwrap_or_default());
        let chain = runs::chain(etags, self.layout());
        let chunks_of = stored.iter().map(|(number, chunk)| (*number, chunk.generation)).collect();
        let heads = self.chunks().map(BucketChunks::heads).unwrap_or_default();
        let heads = heads.into_iter().map(|(head, _)| head).take(MAX_HEADS).collect();
        Progress { chunks: chunks_of, heads, hashed: Hashed { chunks, hasher: state, chain } }
    }

    /// The generation that has the right to a chunk: the one in the bucket, or in memory.
    pub(super) fn generation_of(&self, number: u64) -> Option<Uuid> {
        let stored = self.chunks().and_then(|chunks| chunks.get(number));
        stored.map(|stored| stored.generation).or_else(|| self.generation_in_memory(number))
    }

    /// The generation whose bytes of a chunk memory has.
    fn generation_in_memory(&self, number: u64) -> Option<Uuid> {
        match self.place() {
            Place::File(_) => None,
            Place::Memory(window) => window.generation(number),
        }
    }
}
