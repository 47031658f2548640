//! The thread that writes a blob into the spool and hashes it.
//!
//! Batches come from several connections in any order. One that comes in order is hashed from memory; one that came too
//! early is read back later, from the page cache.

use std::io;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::spool::Spool;
use super::spooled_blob::{SpooledBlob, Watermark};
use crate::oci::{Digest, Hasher};

/// How many bytes are read back at once: they stay in the processor's cache.
const READ_BYTES: usize = 256 << 10;
/// How often bytes are read back while a batch waits: more than a batch has, so that the digest catches up, and little
/// enough that connections do not stand still where a large part of the blob was there before what lies before it.
const READS: u32 = 4;

/// Bytes that go to the spool.
pub(super) struct Batch {
    /// Where the first of them lies in the blob.
    pub(super) position: u64,
    pub(super) pieces: Vec<Bytes>,
}

/// The result of the thread.
pub(super) struct Written {
    pub(super) bytes: u64,
    pub(super) digest: Digest,
}

/// Writes and hashes batches until there are no more; blocks. The watermark moves before a batch is hashed: readers
/// of the whole get the last [`HELD_BACK`](super::spooled_blob::HELD_BACK) bytes only after the digest was compared.
///
/// # Errors
/// The spool cannot be written or read.
pub(super) fn run(
    spooled: &SpooledBlob,
    mut batches: mpsc::Receiver<Batch>,
    watermark: &watch::Sender<Watermark>,
    hasher: Hasher,
) -> io::Result<Written> {
    let mut done = Hashed { hasher, bytes: 0, buffer: Vec::new() };
    let spool = spooled.spool();
    let mut in_order = 0;
    let mut written = 0;
    while let Some(batch) = batches.blocking_recv() {
        let mut position = batch.position;
        for piece in &batch.pieces {
            spool.write_at(piece, position)?;
            position += piece.len() as u64;
        }
        written = spooled.add(batch.position, position);
        if batch.position == in_order {
            let mut tail = spooled.tail();
            let mut position = batch.position;
            for piece in batch.pieces.iter().filter(|piece| !piece.is_empty()) {
                tail.push(position, piece);
                position += piece.len() as u64;
            }
        }
        in_order = written;
        // Readers of a later part look as well, so all of them are woken: they are at most the clients, and a batch has
        // up to 256 KiB.
        watermark.send_modify(|watermark| watermark.written = written);
        if done.bytes == batch.position {
            batch.pieces.iter().for_each(|piece| done.add(piece));
        }
        let mut reads = 0;
        while done.bytes < written && (reads < READS || batches.is_empty()) {
            reads += 1;
            done.read_back(spool, written)?;
        }
    }
    while done.bytes < written {
        done.read_back(spool, written)?;
    }
    Ok(Written { bytes: done.bytes, digest: done.hasher.finish() })
}

struct Hashed {
    hasher: Hasher,
    bytes: u64,
    buffer: Vec<u8>,
}

impl Hashed {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Adds the next bytes in the spool, up to `written`.
    fn read_back(&mut self, spool: &Spool, written: u64) -> io::Result<()> {
        let left = usize::try_from(written - self.bytes).unwrap_or(READ_BYTES);
        self.buffer.resize(left.min(READ_BYTES), 0);
        spool.read_exact_at(&mut self.buffer, self.bytes)?;
        self.hasher.update(&self.buffer);
        self.bytes += self.buffer.len() as u64;
        Ok(())
    }
}
