//! Sends the chunks of a blob to the bucket as soon as each is whole, in any order.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use super::filled_blob::FilledBlob;
use crate::store::StoreError;

/// How many chunks of one fill are on their way at once.
const PARALLEL: usize = 4;
/// How many chunks of all fills are on their way at once.
pub(super) const PARALLEL_IN_ALL: usize = 8;

/// Sends the chunks of one generation.
pub(super) struct ChunkSender<'a> {
    blob: &'a Arc<FilledBlob>,
    generation: Uuid,
    permits: &'a Arc<Semaphore>,
    in_flight: JoinSet<(u64, Result<(), StoreError>)>,
}

impl<'a> ChunkSender<'a> {
    /// Sends under this generation, with one of these permits for each chunk in flight. Dropped, it stops what is in
    /// flight.
    pub(super) fn new(blob: &'a Arc<FilledBlob>, generation: Uuid, permits: &'a Arc<Semaphore>) -> Self {
        Self { blob, generation, permits, in_flight: JoinSet::new() }
    }

    /// Sends chunks until no more are told to be whole, and all of them are stored. The blob gets to know each.
    ///
    /// # Errors
    /// The bucket did not take one.
    pub(super) async fn run(&mut self, whole: &mut mpsc::UnboundedReceiver<u64>) -> Result<(), String> {
        loop {
            tokio::select! {
                next = whole.recv(), if self.in_flight.len() < PARALLEL => match next {
                    Some(number) => {
                        let slice = self.blob.layout().slice(number);
                        self.send(number, slice.end - slice.start);
                    }
                    None => break,
                },
                Some(ended) = self.in_flight.join_next() => self.ended(ended)?,
            }
        }
        self.finish().await
    }

    /// Sends one more chunk, of `len` bytes.
    pub(super) fn send(&mut self, number: u64, len: u64) {
        let (blob, generation, permits) = (Arc::clone(self.blob), self.generation, Arc::clone(self.permits));
        self.in_flight.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await;
            let Some(chunks) = blob.chunks() else {
                return (number, Ok(()));
            };
            let bytes = blob.chunk_bytes(number, len);
            (number, chunks.put(number, generation, &bytes).await)
        });
    }

    /// Waits until all chunks are stored.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub(super) async fn finish(&mut self) -> Result<(), String> {
        while let Some(ended) = self.in_flight.join_next().await {
            self.ended(ended)?;
        }
        Ok(())
    }

    fn ended(&self, ended: Result<(u64, Result<(), StoreError>), JoinError>) -> Result<(), String> {
        let (number, stored) = ended.map_err(|error| error.to_string())?;
        stored.map_err(|error| format!("a chunk could not be stored: {error}"))?;
        self.blob.stored(number);
        Ok(())
    }
}
