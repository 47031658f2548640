//! How the parts of pushes are sent: a few at a time, while more bytes arrive.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::buffer::Buffer;
use crate::oci::{Error, ErrorCode};
use crate::registry::runtime::Background;
use crate::store::{Multipart, PartSender, PartSizes};

/// How many parts of one push are in flight. Their bytes are in memory.
const PARALLEL: usize = 2;
/// How many parts of all pushes together are in flight.
const PARALLEL_IN_ALL: usize = 12;
/// The most bytes of a part: all pushes share the memory of parts.
pub(in crate::registry) const LARGEST: u64 = 64 << 20;

/// The sizes of the parts of a push, of which so many bytes are announced.
pub(in crate::registry) fn part_sizes(configured: u64, announced: Option<u64>) -> PartSizes {
    PartSizes::doubling(configured, announced.unwrap_or(0), LARGEST)
}

/// Makes senders, which share a bound.
#[derive(Debug)]
pub(in crate::registry) struct PartSenders {
    permits: Arc<Semaphore>,
    background: Arc<Background>,
}

impl PartSenders {
    pub(super) fn new(background: &Arc<Background>) -> Self {
        Self { permits: Arc::new(Semaphore::new(PARALLEL_IN_ALL)), background: Arc::clone(background) }
    }

    /// Continues an upload that has `parts` parts.
    pub(in crate::registry) fn resume(&self, upload: Multipart, parts: i32) -> PartSender {
        PartSender::new(upload, PARALLEL).sharing(Arc::clone(&self.permits)).after(parts)
    }

    /// Sends the parts of an upload that began for this push. Dropped early, the sender aborts the upload.
    pub(in crate::registry) fn begin(&self, upload: Multipart) -> PartSender {
        let background = Arc::clone(&self.background);
        self.resume(upload, 0).owned(move |abort| background.spawn(abort))
    }
}

/// Sends a part, and returns when it is in flight. `false`: the upload is gone.
///
/// # Errors
/// `SIZE_INVALID`: the upload has as many parts as S3 allows. `UNAVAILABLE`.
pub(in crate::registry) async fn send(sender: &mut PartSender, part: Buffer) -> Result<bool, Error> {
    if sender.is_full() {
        return Err(Error::new(ErrorCode::TooLarge, "the blob is too large to be pushed in one upload"));
    }
    let (len, (source, memory)) = (part.len(), part.into_source());
    Ok(sender.send(len, source, memory).await?)
}
