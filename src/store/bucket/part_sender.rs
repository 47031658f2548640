//! The parts of one multipart upload on their way to the bucket, a few at a time.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use super::multipart::{Multipart, Part};
use crate::oci::Slice;
use crate::store::body::PartSource;
use crate::store::error::StoreError;
use crate::store::part_sizes::MAX_PARTS;
use crate::telemetry::InScope;

/// `None`: the upload is gone from the bucket.
type Sent = Result<Option<Part>, StoreError>;

/// Sends the parts of one multipart upload, in the background of the task that has their bytes.
///
/// - At most `parallel` parts are in flight; [`sharing`](Self::sharing) bounds those of many senders together.
/// - After an error, or when the upload is gone, nothing more may be sent.
/// - Dropped, it stops what is in flight; and it aborts the upload if it [owns](Self::owned) it.
pub struct PartSender {
    upload: Multipart,
    next: i32,
    parallel: usize,
    permits: Option<Arc<Semaphore>>,
    in_flight: JoinSet<Sent>,
    sent: Vec<Part>,
    spawn_abort: Option<Box<dyn FnOnce(BoxFuture<'static, ()>) + Send + Sync>>,
}

impl PartSender {
    /// Sends parts from number 1 on.
    #[must_use]
    pub fn new(upload: Multipart, parallel: usize) -> Self {
        let (in_flight, sent) = (JoinSet::new(), Vec::new());
        Self { upload, next: 1, parallel, permits: None, in_flight, sent, spawn_abort: None }
    }

    /// Continues an upload that has `parts` parts.
    #[must_use]
    pub fn after(mut self, parts: i32) -> Self {
        self.next = parts + 1;
        self
    }

    /// Takes one of these permits for each part in flight.
    #[must_use]
    pub fn sharing(mut self, permits: Arc<Semaphore>) -> Self {
        self.permits = Some(permits);
        self
    }

    /// Makes the sender abort the upload when it is dropped, by a future that is given to `spawn` then.
    #[must_use]
    pub fn owned(mut self, spawn: impl FnOnce(BoxFuture<'static, ()>) + Send + Sync + 'static) -> Self {
        self.spawn_abort = Some(Box::new(spawn));
        self
    }

    /// The upload that the parts belong to.
    #[must_use]
    pub const fn upload(&self) -> &Multipart {
        &self.upload
    }

    /// The number of the next part.
    #[must_use]
    pub const fn next_number(&self) -> i32 {
        self.next
    }

    /// The upload has as many parts as S3 allows.
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.next.unsigned_abs()) > MAX_PARTS
    }

    /// Sends a part of exactly `len` bytes, and returns when it is in flight. `held` is dropped when the part is in the
    /// bucket: the memory of its bytes, say. `false`: the upload is gone.
    ///
    /// # Errors
    /// The bucket did not take this part or one before.
    pub async fn send(&mut self, len: u64, source: PartSource, held: impl Send + 'static) -> Result<bool, StoreError> {
        let (upload, number) = (self.upload.clone(), self.next);
        let part = async move {
            let sent = upload.part(number, len, source).await;
            drop(held);
            sent
        };
        self.start(part).await
    }

    /// Lets the bucket make the next part of a slice of another of its objects, whose `copy_source` that is. `false`:
    /// the upload or the object is gone.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(super) async fn copy(&mut self, copy_source: String, slice: Slice) -> Result<bool, StoreError> {
        let (upload, number) = (self.upload.clone(), self.next);
        self.start(async move { upload.part_copy(number, &copy_source, slice).await }).await
    }

    async fn start(&mut self, part: impl Future<Output = Sent> + Send + 'static) -> Result<bool, StoreError> {
        while self.in_flight.len() >= self.parallel {
            if !self.collect_one().await? {
                return Ok(false);
            }
        }
        let permit = match &self.permits {
            // The semaphore is never closed.
            Some(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            None => None,
        };
        self.next += 1;
        let sent = async move {
            let sent = part.await;
            drop(permit);
            sent
        };
        self.in_flight.spawn(sent.in_current_trace());
        Ok(true)
    }

    /// Waits for `ready`, unless a part fails meanwhile; `None`: the upload is gone.
    ///
    /// # Errors
    /// The bucket did not take a part.
    pub async fn unless_failed<T>(&mut self, ready: impl Future<Output = T>) -> Result<Option<T>, StoreError> {
        let mut ready = std::pin::pin!(ready);
        loop {
            tokio::select! {
                ready = &mut ready => return Ok(Some(ready)),
                Some(ended) = self.in_flight.join_next() => if !self.collect(ended)? {
                    return Ok(None);
                },
            }
        }
    }

    /// Waits for all parts, and returns those that this sender sent, by number; `None`: the upload is gone.
    ///
    /// # Errors
    /// The bucket did not take a part.
    pub async fn finish(&mut self) -> Result<Option<Vec<Part>>, StoreError> {
        while !self.in_flight.is_empty() {
            if !self.collect_one().await? {
                return Ok(None);
            }
        }
        let mut parts = std::mem::take(&mut self.sent);
        parts.sort_by_key(|part| part.number);
        Ok(Some(parts))
    }

    /// Waits for one part; `false`: the upload is gone.
    async fn collect_one(&mut self) -> Result<bool, StoreError> {
        match self.in_flight.join_next().await {
            Some(ended) => self.collect(ended),
            None => Ok(true),
        }
    }

    fn collect(&mut self, ended: Result<Sent, JoinError>) -> Result<bool, StoreError> {
        let failed = |error: JoinError| StoreError::Unavailable { operation: "UploadPart", cause: error.to_string() };
        let part = ended.map_err(failed)??;
        let is_there = part.is_some();
        self.sent.extend(part);
        Ok(is_there)
    }

    /// Stops what is in flight, and aborts the upload. A failure to do so is logged.
    pub async fn abort(mut self) {
        self.disown();
        self.in_flight.shutdown().await;
        self.upload.abort_or_log().await;
    }

    /// Leaves the upload as it is when this is dropped: it was completed, or another request continues it.
    pub fn disown(&mut self) {
        self.spawn_abort = None;
    }
}

impl Drop for PartSender {
    fn drop(&mut self) {
        self.in_flight.abort_all();
        if let Some(spawn) = self.spawn_abort.take() {
            let upload = self.upload.clone();
            spawn(async move { upload.abort_or_log().await }.boxed());
        }
    }
}
