//! How far a blob is, and up to where its readers may have it.

use std::io;

use super::FilledBlob;
use crate::registry::blob_part::BlobPart;

/// How many bytes at the end of a blob are held back from those that read up to it until the whole was verified. One
/// byte would make the blob incomplete; so many make sure that a client of a wrong blob cannot unpack it, either:
/// without its last few bytes, a compressed layer would lack only its checksum.
pub(in crate::registry) const HELD_BACK: u64 = 32 << 10;

/// How far a download is, for its readers.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry::fill) struct Watermark {
    /// So many bytes, from the beginning, are there.
    pub(in crate::registry::fill) written: u64,
    pub(in crate::registry::fill) state: BlobState,
}

/// Whether the blob can still become whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry::fill) enum BlobState {
    /// More may come.
    Coming,
    /// `written` is its size, and its digest is right.
    Verified,
    /// The same, and the bucket has the blob.
    Stored,
    /// It will never be whole.
    Failed,
}

impl BlobState {
    /// The digest is right.
    pub(in crate::registry::fill) const fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::Stored)
    }
}

/// What a client reads of a blob.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Reading {
    /// The part; `None` is the whole.
    pub(in crate::registry) part: Option<BlobPart>,
    /// The client may hold the whole in the end: it gets the last bytes after the digest was verified.
    pub(in crate::registry) verified: bool,
}

impl FilledBlob {
    pub(in crate::registry::fill) fn watermark(&self) -> Watermark {
        *self.watermark.borrow()
    }

    pub(in crate::registry::fill) fn written(&self) -> u64 {
        self.watermark().written
    }

    /// Waits until more than `bytes` are there without a gap.
    pub(in crate::registry::fill) async fn written_beyond(&self, bytes: u64) {
        let mut watermark = self.watermark.clone();
        // The download that writes has the sender.
        let _ = watermark.wait_for(|watermark| watermark.written > bytes).await;
    }

    /// Waits until more than `bytes` are there; `None` when that is all.
    pub(in crate::registry) async fn beyond(&self, bytes: u64) -> Option<u64> {
        let mut watermark = self.watermark.clone();
        let moved = |watermark: &Watermark| watermark.written > bytes || watermark.state != BlobState::Coming;
        let watermark = *watermark.wait_for(moved).await.ok()?;
        (watermark.written > bytes).then_some(watermark.written)
    }

    /// Waits until `len` bytes from `position` are there, or the blob ends; returns how many of them there are, and
    /// whether the blob ends there. For the uploader, which may have unverified bytes.
    pub(in crate::registry::fill) async fn available(&self, position: u64, len: u64) -> io::Result<(u64, bool)> {
        let watermark =
            self.wait(|watermark| watermark.written >= position + len || watermark.state.is_verified()).await?;
        let there = (watermark.written - position).min(len);
        let ends = watermark.state.is_verified() && watermark.written == position + there;
        Ok((there, ends))
    }

    /// Waits until the blob was verified, and returns its size.
    pub(in crate::registry) async fn verified(&self) -> io::Result<u64> {
        Ok(self.wait(|watermark| watermark.state.is_verified()).await?.written)
    }

    /// Waits until the watermark is as wanted.
    ///
    /// # Errors
    /// The blob will not become whole.
    pub(in crate::registry::fill) async fn wait(&self, reached: impl Fn(&Watermark) -> bool) -> io::Result<Watermark> {
        let failed = || io::Error::other("the blob cannot be had whole");
        let mut watermark = self.watermark.clone();
        let reached = watermark.wait_for(|watermark| reached(watermark) || watermark.state == BlobState::Failed).await;
        match reached {
            Ok(watermark) if watermark.state != BlobState::Failed => Ok(*watermark),
            _ => Err(failed()),
        }
    }

    /// Up to where the bytes from `position` on may be read.
    pub(in crate::registry::fill) fn released(&self, position: u64, watermark: &Watermark, reading: Reading) -> u64 {
        let there = if position < watermark.written { watermark.written } else { self.there().end_from(position) };
        if watermark.state.is_verified() {
            return there;
        }
        match self.size {
            Some(_) if !reading.verified => there,
            Some(size) => there.min(size.saturating_sub(HELD_BACK)),
            // Any byte may be among the last, and of a part only a manifest says where they are.
            None => there.min(reading.part.map_or(u64::MAX, |part| part.of)).saturating_sub(HELD_BACK),
        }
    }
}
