//! A client that reads along with a fill: from memory what is there, and what is not any more from the bucket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::bucket_chunks::{MISSING_TIMEOUT, PAUSE};
use super::bucket_readers::{BucketRead, BucketReaders, TURN_BYTES};
use super::filled_blob::{BlobState, FilledBlob, HELD_BACK, Reading};
use super::origins::Origins;
use crate::oci::Slice;
use crate::store::{ObjectStream, StoreError};

/// How many bytes are copied out of memory at once. A client that stops reading keeps up to three of them: the server
/// takes the next one until it has 64 KiB that it cannot send.
const READ_BYTES: u64 = 32 << 10;
/// With so many bytes left of a chunk, the next one is asked for: otherwise each chunk would cost a round trip.
const AHEAD: u64 = 4 << 20;

/// A chunk's bytes, and its generation.
type Opened = Result<Option<(ObjectStream, Uuid)>, StoreError>;

struct Reader {
    blob: Arc<FilledBlob>,
    reading: Reading,
    position: u64,
    /// The bytes from `position` on, from the bucket.
    object: Option<OpenObject>,
    /// The chunk behind it, which begins at this position.
    next: Option<(u64, BucketRead, JoinSet<Opened>)>,
    /// Since when the bucket does not have what it should have.
    missing: Option<Instant>,
    /// Where the bytes came from that the client has.
    origins: Origins,
    /// The generation of the last of them.
    last: Uuid,
    /// The chunk and the generation at which they were last checked.
    checked: (u64, Uuid),
}

struct OpenObject {
    bytes: BoxStream<'static, io::Result<Bytes>>,
    /// The generation of a chunk; `None` is the stored blob.
    generation: Option<Uuid>,
    end: u64,
    /// The beginning of what is next, which the client may not have yet.
    held: Bytes,
    _permit: Option<BucketRead>,
}

impl FilledBlob {
    /// The blob, or a part of it, as its bytes come.
    pub(in crate::registry) fn read(self: &Arc<Self>, reading: Reading) -> BoxStream<'static, io::Result<Bytes>> {
        let position = reading.part.map_or(0, |part| part.slice.start);
        let blob = Arc::clone(self);
        blob.meter.readers.fetch_add(1, Ordering::Relaxed);
        let reader = Reader {
            blob,
            reading,
            position,
            object: None,
            next: None,
            missing: None,
            origins: Origins::default(),
            last: Uuid::nil(),
            checked: (0, Uuid::nil()),
        };
        stream::try_unfold(reader, |mut reader| async move { Ok(reader.next().await?.map(|piece| (piece, reader))) })
            .boxed()
    }

    /// Up to where a client may read on from `position`, as soon as that is further; `None` at the end of what it
    /// reads.
    async fn readable(&self, position: u64, reading: Reading) -> io::Result<Option<u64>> {
        let end = reading.part.map(|part| part.slice.end);
        if end.is_some_and(|end| position >= end) {
            return Ok(None);
        }
        let upto = |watermark: &_| self.released(position, watermark, reading).min(end.unwrap_or(u64::MAX));
        let mut watermark = self.watermark();
        if upto(&watermark) <= position || watermark.state == BlobState::Failed {
            let _waiting = self.readers.wait_at(position);
            watermark = self.wait(|watermark| upto(watermark) > position || watermark.state.is_verified()).await?;
        }
        // A part is of the size that was announced, which is wrong if the blob turns out to have another.
        if let Some(part) = reading.part
            && watermark.state.is_verified()
            && watermark.written != part.of
        {
            return Err(io::Error::other("the blob has another size than was said"));
        }
        Ok(Some(upto(&watermark)).filter(|upto| *upto > position))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.blob.meter.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Reader {
    /// The next bytes, or `None` at the end of what is read.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(upto) = self.blob.readable(self.position, self.reading).await? else {
            return Ok(None);
        };
        let before = self.position;
        let piece = self.piece(upto).await?;
        self.position += piece.len() as u64;
        self.missing = None;
        // Early, so that a client does not get the rest in vain. The search costs little, once a chunk or once a change.
        let number = self.blob.layout().number(before);
        if self.reading.verified
            && std::mem::replace(&mut self.checked, (number, self.last)) != (number, self.last)
            && self.origins.contradict(|number| self.blob.generation_of(number))
        {
            return Err(io::Error::other("another process goes on with other chunks than were sent"));
        }
        let is_end = |size: u64| self.position > size.saturating_sub(HELD_BACK);
        if self.reading.verified
            && self.blob.size().is_some_and(is_end)
            && !self.origins.agree(|number| self.blob.generation_of(number))
        {
            return Err(io::Error::other("another process found other bytes than those that were sent"));
        }
        Ok(Some(piece))
    }

    /// Notes that the client gets bytes of the chunk at its position from this generation.
    fn note(&mut self, generation: Uuid) {
        if self.blob.chunks().is_some() {
            self.origins.add(self.blob.layout().number(self.position), generation);
            self.last = generation;
        }
    }

    async fn piece(&mut self, upto: u64) -> io::Result<Bytes> {
        loop {
            if self.object.is_none() {
                let len = (upto - self.position).min(READ_BYTES);
                if let Some((piece, generation)) = self.blob.piece(self.position, len).await? {
                    self.note(generation);
                    return Ok(piece);
                }
                self.object = self.open().await?;
            }
            match self.read_object(upto).await {
                Ok(Some(piece)) => return Ok(piece),
                Ok(None) => self.object = None,
                Err(error) => {
                    self.object = None;
                    self.wait_for_missing(error).await?;
                }
            }
        }
    }

    /// The next bytes of the open object; `None` at its end, or if there is none.
    async fn read_object(&mut self, upto: u64) -> io::Result<Option<Bytes>> {
        let Some(object) = self.object.as_mut().filter(|object| self.position < object.end) else {
            return Ok(None);
        };
        while object.held.is_empty() {
            let next = object.bytes.next().await.transpose()?;
            object.held = next.ok_or_else(|| io::Error::other("the bucket sent less than it said"))?;
        }
        let len = usize::try_from(upto - self.position).unwrap_or(usize::MAX).min(object.held.len());
        let (piece, end, generation) = (object.held.split_to(len), object.end, object.generation);
        if let Some(generation) = generation {
            self.note(generation);
        }
        if end - self.position < AHEAD {
            self.open_ahead(end);
        }
        Ok(Some(piece))
    }

    /// Opens what the bucket has from the position on: the blob, if it is stored, or a chunk. `None`: it is not there.
    async fn open(&mut self) -> io::Result<Option<OpenObject>> {
        let next = self.next.take().filter(|(start, ..)| *start == self.position);
        let (permit, next) = match next {
            Some((_, permit, opening)) => (Some(permit), Some(opening)),
            None => match self.blob.bucket_readers() {
                Some(readers) => (readers.acquire().await, None),
                None => (None, None),
            },
        };
        let turn = permit.as_ref().filter(|permit| permit.is_turn).map(|_| self.position + TURN_BYTES);
        let blob = &self.blob;
        let watermark = blob.watermark();
        let (end, opened) = if watermark.state == BlobState::Stored {
            let end = self.reading.part.map_or(watermark.written, |part| part.slice.end);
            let end = end.min(turn.unwrap_or(u64::MAX));
            let opened = blob.stream_stored(Slice { start: self.position, end }).await;
            (end, opened.map(|opened| opened.map(|stream| (stream, None))))
        } else {
            let mut end = self.chunk_end(self.position).min(turn.unwrap_or(u64::MAX));
            let opened = match next {
                Some(mut opening) => opening.join_next().await.and_then(Result::ok).unwrap_or(Ok(None)),
                None => open_chunk(blob, Slice { start: self.position, end }).await,
            };
            let opened = match (opened, blob.chunks()) {
                (Ok(None), Some(chunks)) => chunks.stream_head(self.position).await.map(|head| {
                    head.map(|(stream, generation, head_end)| {
                        end = end.min(head_end);
                        (stream, generation)
                    })
                }),
                (opened, _) => opened,
            };
            (end, opened.map(|opened| opened.map(|(stream, generation)| (stream, Some(generation)))))
        };
        let missing = || io::Error::other("the bucket does not have it any more");
        let opened = match opened.map_err(io::Error::other).and_then(|opened| opened.ok_or_else(missing)) {
            Ok((ObjectStream { bytes, .. }, generation)) if turn.is_none() => {
                Ok(OpenObject { bytes, generation, end, held: Bytes::new(), _permit: permit })
            }
            Ok((ObjectStream { bytes, .. }, generation)) => {
                let held = read_all(bytes, end - self.position).await;
                held.map(|held| OpenObject { bytes: stream::empty().boxed(), generation, end, held, _permit: None })
            }
            Err(error) => Err(error),
        };
        match opened {
            Ok(opened) => Ok(Some(opened)),
            Err(error) => {
                self.wait_for_missing(error).await?;
                Ok(None)
            }
        }
    }

    /// Up to where the client reads in the stored chunk that a position is in.
    fn chunk_end(&self, position: u64) -> u64 {
        let (blob, layout) = (&self.blob, self.blob.layout());
        let end = layout.slice(layout.number(position)).end;
        // Without a size, all chunks come one after the other.
        let known = if blob.size().is_some() { end } else { end.min(blob.watermark().written) };
        known.min(self.reading.part.map_or(u64::MAX, |part| part.slice.end))
    }

    /// Begins to open the chunk at `start`, if the client reads so far and memory does not have it.
    fn open_ahead(&mut self, start: u64) {
        let blob = &self.blob;
        // Without a size, the blob ends where it was written to.
        let size = blob.size().unwrap_or_else(|| blob.written());
        let reads_on = start < self.reading.part.map_or(size, |part| part.slice.end);
        let is_stored = blob.chunks().is_some_and(|chunks| chunks.is_stored(blob.layout().number(start)));
        if self.next.is_none()
            && reads_on
            && is_stored
            && !blob.has_at_hand(start)
            && let Some(permit) = blob.bucket_readers().and_then(BucketReaders::stream)
        {
            let slice = Slice { start, end: self.chunk_end(start) };
            let (blob, mut opening) = (Arc::clone(blob), JoinSet::new());
            opening.spawn(async move { open_chunk(&blob, slice).await });
            self.next = Some((start, permit, opening));
        }
    }

    /// Pauses before the next look. A chunk is looked for until an owner that is silent would have been replaced.
    ///
    /// # Errors
    /// `error`, if it was looked for long enough, or the fill failed.
    async fn wait_for_missing(&mut self, error: io::Error) -> io::Result<()> {
        let state = self.blob.watermark().state;
        let is_first = self.missing.is_none();
        let since = *self.missing.get_or_insert_with(Instant::now);
        if state == BlobState::Failed || since.elapsed() > MISSING_TIMEOUT * 2 {
            return Err(error);
        }
        // Chunks go when the blob is stored.
        if is_first && state == BlobState::Stored {
            return Ok(());
        }
        tracing::debug!(%error, position = self.position, "a client waits for a chunk that the bucket should have");
        tokio::time::sleep(PAUSE).await;
        if state != BlobState::Stored && self.blob.there().end_from(self.position) <= self.position {
            // It is not said to be there any more: another process took over.
            self.missing = None;
        }
        Ok(())
    }
}

/// The first `len` bytes of a stream.
async fn read_all(mut stream: BoxStream<'static, io::Result<Bytes>>, len: u64) -> io::Result<Bytes> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let mut bytes = BytesMut::with_capacity(len);
    while bytes.len() < len {
        let piece = stream.next().await.transpose()?;
        let mut piece = piece.ok_or_else(|| io::Error::other("the bucket sent less than it said"))?;
        piece.truncate(len - bytes.len());
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.freeze())
}

/// Bytes of one chunk.
async fn open_chunk(blob: &FilledBlob, slice: Slice) -> Opened {
    let chunks = blob.chunks();
    let stored = chunks.and_then(|chunks| Some((chunks, chunks.get(blob.layout().number(slice.start))?)));
    match stored {
        Some((chunks, stored)) => {
            let stream = chunks.stream(slice, &stored).await?;
            Ok(stream.map(|stream| (stream, stored.generation)))
        }
        None => Ok(None),
    }
}
