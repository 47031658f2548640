//! Sends the chunks of a blob to the bucket as soon as each is whole, in any order.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use uuid::Uuid;

use super::chunk_queue::ChunkQueue;
use super::filled_blob::FilledBlob;
use crate::store::MAX_PARTS;
use crate::telemetry::InScope;

/// How many chunks of one fill are on their way at once.
const PARALLEL: usize = 4;

/// Sends the chunks of one generation.
pub(super) struct ChunkSender<'a> {
    blob: &'a Arc<FilledBlob>,
    generation: Uuid,
    queue: &'a Arc<ChunkQueue>,
    in_flight: JoinSet<(u64, Result<(), String>)>,
}

impl<'a> ChunkSender<'a> {
    /// Sends under this generation, together with other fills. Dropped, it stops what is in flight.
    pub(super) fn new(blob: &'a Arc<FilledBlob>, generation: Uuid, queue: &'a Arc<ChunkQueue>) -> Self {
        Self { blob, generation, queue, in_flight: JoinSet::new() }
    }

    /// Sends chunks until no more are told to be whole, and all of them are stored. The blob gets to know each.
    ///
    /// # Errors
    /// The bucket did not take one.
    pub(super) async fn run(&mut self, whole: &mut mpsc::UnboundedReceiver<u64>) -> Result<(), String> {
        loop {
            tokio::select! {
                next = whole.recv(), if self.in_flight.len() < PARALLEL => match next {
                    Some(number) if number >= MAX_PARTS => {
                        return Err(format!("it has more than {MAX_PARTS} chunks, and an object has no more parts"));
                    }
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
        let (blob, generation, queue) = (Arc::clone(self.blob), self.generation, Arc::clone(self.queue));
        let sent = async move {
            let Some(chunks) = blob.chunks() else {
                return (number, Ok(()));
            };
            let put = async {
                let bytes = blob.chunk_bytes(number, len);
                chunks.put(number, generation, &bytes).await
            };
            (number, queue.send((&chunks.key(number, &generation).to_string(), len), put).await)
        };
        self.in_flight.spawn(sent.in_current_trace());
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

    /// Stops what is in flight.
    pub(super) async fn stop(&mut self) {
        self.in_flight.shutdown().await;
    }

    fn ended(&self, ended: Result<(u64, Result<(), String>), JoinError>) -> Result<(), String> {
        let (number, stored) = ended.map_err(|error| error.to_string())?;
        stored?;
        self.blob.stored(number);
        Ok(())
    }
}
