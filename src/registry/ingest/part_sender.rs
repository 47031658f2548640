//! Parts of a push on their way to the bucket: a few at a time, while more bytes arrive.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::buffer::Buffer;
use crate::oci::{Error, ErrorCode};
use crate::registry::runtime::Background;
use crate::store::{MAX_PARTS, Multipart, Part, StoreError, part_size};

/// How many parts of one push are on their way at once. Their bytes are in memory.
const PARALLEL: usize = 2;
/// How many parts of all pushes together are.
pub(in crate::registry) const PARALLEL_IN_ALL: usize = 12;
/// After so many parts of a push whose size nobody knows, they are four times as large: 10,000 full ones make 250 GB
/// with the default of `storage.s3.chunksize`. A store that wants equal parts refuses such a push; one whose size is
/// announced, or with a `storage.s3.chunksize` of [`LARGEST`], never comes to that.
const LARGER_AFTER: i32 = 5_000;

/// Sends the parts of one multipart upload. Dropped early, it stops; an upload that it owns is aborted then.
pub(in crate::registry) struct PartSender {
    upload: Multipart,
    /// The name of the upload's key.
    key: Uuid,
    next: i32,
    sending: JoinSet<Result<Option<Part>, StoreError>>,
    sent: Vec<Part>,
    slots: Arc<Semaphore>,
    /// Where the upload is aborted, if nobody else is to go on with it.
    owner: Option<Arc<Background>>,
}

/// The most bytes of a part: all pushes share the memory that parts come from.
pub(in crate::registry) const LARGEST: u64 = 64 << 20;

/// The size of the parts of a push, in bytes, of which so many bytes are announced: all parts but the last are of one
/// size then.
pub(in crate::registry) fn first_part_len(configured: u64, announced: Option<u64>) -> u64 {
    // Twice as many bytes in 9,000 parts: these in fewer than make them larger.
    part_size(configured, announced.unwrap_or(0).saturating_mul(2)).min(LARGEST)
}

/// The size of part `number` of a push whose first is of `first` bytes.
pub(in crate::registry) fn part_len(first: u64, number: i32) -> u64 {
    if number > LARGER_AFTER { first.saturating_mul(4).min(LARGEST) } else { first }
}

impl PartSender {
    /// Goes on behind `parts` parts.
    pub(in crate::registry) fn new(upload: Multipart, parts: i32, slots: Arc<Semaphore>, key: Uuid) -> Self {
        Self { upload, key, next: parts + 1, sending: JoinSet::new(), sent: Vec::new(), slots, owner: None }
    }

    /// The upload was begun for this push alone.
    pub(in crate::registry) fn owned(mut self, background: &Arc<Background>) -> Self {
        self.owner = Some(Arc::clone(background));
        self
    }

    /// The number of the next part.
    pub(in crate::registry) fn next(&self) -> i32 {
        self.next
    }

    pub(in crate::registry) fn key(&self) -> Uuid {
        self.key
    }

    pub(in crate::registry) fn upload(&self) -> &Multipart {
        &self.upload
    }

    /// Sends a part when there is a place for it; returns when it is on its way. `false` when the upload is gone.
    pub(in crate::registry) async fn send(&mut self, part: Buffer) -> Result<bool, Error> {
        if u64::from(self.next.unsigned_abs()) > MAX_PARTS {
            let message = "the blob is too large to be pushed in one upload";
            return Err(Error::new(ErrorCode::TooLarge, message));
        }
        while self.sending.len() >= PARALLEL {
            if !self.collect().await? {
                return Ok(false);
            }
        }
        // The semaphore is never closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (upload, number) = (self.upload.clone(), self.next);
        let (len, (source, memory)) = (part.len(), part.into_source());
        self.next += 1;
        self.sending.spawn(async move {
            let sent = upload.part(number, len, source).await;
            drop((slot, memory));
            sent
        });
        Ok(true)
    }

    /// Waits for one part.
    async fn collect(&mut self) -> Result<bool, Error> {
        match self.sending.join_next().await {
            None => Ok(true),
            Some(Ok(Ok(Some(part)))) => {
                self.sent.push(part);
                Ok(true)
            }
            Some(Ok(Ok(None))) => Ok(false),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(error)) => {
                Err(StoreError::Unavailable { operation: "UploadPart", cause: error.to_string() }.into())
            }
        }
    }

    /// Waits for all parts; returns those that were sent here, in their order, or `None` when the upload is gone.
    pub(in crate::registry) async fn finish(&mut self) -> Result<Option<Vec<Part>>, Error> {
        while !self.sending.is_empty() {
            if !self.collect().await? {
                return Ok(None);
            }
        }
        let mut parts = std::mem::take(&mut self.sent);
        parts.sort_by_key(|part| part.number);
        Ok(Some(parts))
    }

    /// Somebody else ends the upload from now on.
    pub(in crate::registry) fn disown(&mut self) {
        self.owner = None;
    }
}

impl Drop for PartSender {
    fn drop(&mut self) {
        self.sending.abort_all();
        let Some(background) = self.owner.take() else {
            return;
        };
        let upload = self.upload.clone();
        background.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!(%error, "an upload was left over in the bucket");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn announced_parts_are_of_one_size_and_never_too_many() {
        for announced in [0, 1, 10 * MIB, 48 << 30, 100 << 30, 312 << 30] {
            let first = first_part_len(10 * MIB, Some(announced));
            let parts = announced.div_ceil(first);
            assert!((10 * MIB..=LARGEST).contains(&first), "{announced}");
            assert!(parts <= LARGER_AFTER.unsigned_abs().into(), "{announced}");
        }
        // As many as there can be of the largest.
        let first = first_part_len(10 * MIB, Some(600 << 30));
        assert_eq!((first, part_len(first, 9_000)), (LARGEST, LARGEST));
    }

    #[test]
    fn parts_grow_late_where_nothing_is_announced() {
        let first = first_part_len(10 * MIB, None);
        assert_eq!((first, part_len(first, 5_000)), (10 * MIB, 10 * MIB));
        assert_eq!(part_len(first, 5_001), 40 * MIB);
        assert_eq!(part_len(20 * MIB, 10_000), LARGEST);
    }
}
