//! The bytes of a blob that is being filled, from wherever they are: its place, chunks in the bucket, or the stored blob.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use uuid::Uuid;

use super::{FilledBlob, Place};
use crate::oci::Slice;
use crate::registry::fill::bucket_chunks::ChunkBytes;
use crate::store::{Key, ObjectStream, PartSource, StoreError};

/// How many bytes are read at once for a part of an upload.
const PART_PIECE: u64 = 128 << 10;

impl FilledBlob {
    /// At most `len` bytes from `position` on that are there, copied out of their place; `None` if the place does not
    /// have them any more. With the generation whose bytes they are; nil, if the blob is not cut into chunks.
    pub(in crate::registry::fill) async fn piece(&self, position: u64, len: u64) -> io::Result<Option<(Bytes, Uuid)>> {
        match &self.place {
            Place::File(file) => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                file.read_at(position, len).await.map(|bytes| Some((bytes, Uuid::nil())))
            }
            // Copied, because a client that stops reading would otherwise keep the memory of the whole chunk.
            Place::Memory(window) => Ok(window.read_of(position, len, Bytes::copy_from_slice)),
        }
    }

    /// Whether the place has the byte at `position`.
    pub(in crate::registry::fill) fn has_at_hand(&self, position: u64) -> bool {
        match &self.place {
            Place::File(_) => true,
            Place::Memory(window) => window.read(position, 1, |_| ()).is_some(),
        }
    }

    /// The stored blob from `position` on.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(in crate::registry::fill) async fn stream_stored(
        &self,
        slice: Slice,
    ) -> Result<Option<ObjectStream>, StoreError> {
        self.store.leader().stream(Key::Blob(&self.digest), Some(slice)).await
    }

    /// Bytes of one chunk from the bucket, which is looked for for a while; `None` if it does not have it.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub(in crate::registry::fill) async fn stream_chunk(
        &self,
        slice: Slice,
    ) -> io::Result<Option<BoxStream<'static, io::Result<Bytes>>>> {
        let Some(chunks) = self.chunks() else {
            return Ok(None);
        };
        let stream = chunks.look_for(slice).await.map_err(io::Error::other)?;
        Ok(stream.map(|stream| stream.bytes))
    }

    /// Whether each of the first `count` chunks is in the bucket, or whole in memory.
    pub(in crate::registry::fill) fn has_chunks(&self, count: u64) -> bool {
        let is_stored = |number| self.chunks().is_some_and(|chunks| chunks.is_stored(number));
        let is_in_memory = |number| match &self.place {
            Place::File(_) => false,
            Place::Memory(window) => window.chunk(number).is_some(),
        };
        (0..count).all(|number| is_stored(number) || is_in_memory(number))
    }

    /// A part of the blob that is in its place, for a request to the bucket.
    pub(in crate::registry::fill) fn part(self: &Arc<Self>, start: u64, end: u64) -> PartSource {
        let blob = Arc::clone(self);
        Arc::new(move || blob.read_written(start, end))
    }

    /// A whole chunk, for a request to the bucket.
    pub(in crate::registry::fill) fn chunk_bytes(self: &Arc<Self>, number: u64, len: u64) -> ChunkBytes {
        if let Place::Memory(window) = &self.place
            && let Some(bytes) = window.chunk(number)
        {
            return ChunkBytes::Memory(bytes);
        }
        let start = self.layout.slice(number).start;
        ChunkBytes::Source(len, self.part(start, start + len))
    }

    fn read_written(self: &Arc<Self>, start: u64, end: u64) -> BoxStream<'static, io::Result<Bytes>> {
        stream::try_unfold((Arc::clone(self), start), move |(blob, position)| async move {
            if position >= end {
                return Ok(None);
            }
            let bytes = blob.piece(position, (end - position).min(PART_PIECE)).await?;
            let (bytes, _) =
                bytes.ok_or_else(|| io::Error::other(format!("the byte at {position} is not in memory any more")))?;
            let position = position + bytes.len() as u64;
            Ok(Some((bytes, (blob, position))))
        })
        .boxed()
    }
}
