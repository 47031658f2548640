//! Objects of any size, as they come. A body that breaks off is continued where it broke, because its reader is mostly
//! a client of the registry, which would have to start over.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyDataStream;

use super::handle::Store;
use super::read::Response;
use crate::oci::Slice;
use crate::store::error::StoreError;
use crate::store::etag::{is_same_etag, is_weak_etag};
use crate::store::key::Key;
use crate::store::leader::set_consistent;
use crate::store::lengths::unsigned;

/// How often the rest of a body is requested without any progress in between.
const MAX_RESUMES: u32 = 3;

/// An object or a part of it, as it comes.
pub struct ObjectStream {
    /// Differs from that of any other content under the same key; as the bucket spells it.
    pub etag: Option<String>,
    /// How many bytes there are of what was asked for.
    pub size: u64,
    /// The bytes.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

/// Reads an object or a part of it.
struct ResumingReader {
    store: Store,
    path: String,
    /// Of the object whose bytes were read: the rest must be that object's.
    etag: Option<String>,
    pieces: BoxStream<'static, io::Result<Bytes>>,
    /// The bytes of the object that are still to come.
    left: Slice,
    resumes: u32,
}

/// The beginning of an answer to a GET.
struct Opened {
    pieces: BoxStream<'static, io::Result<Bytes>>,
    /// How many bytes the bucket announces.
    size: u64,
    etag: Option<String>,
}

impl Store {
    /// Streams an object or a part of it; `None` when it is not there. All bytes are of one object, also if another one
    /// takes its place meanwhile: the stream then fails where it would have to be continued.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn stream(&self, key: Key<'_>, slice: Option<Slice>) -> Result<Option<ObjectStream>, StoreError> {
        self.stream_of(key, slice, None).await
    }

    /// [`stream`](Self::stream), of the object with this `ETag`; `None` also when there is another one.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn stream_unchanged(
        &self,
        key: Key<'_>,
        slice: Option<Slice>,
        etag: &str,
    ) -> Result<Option<ObjectStream>, StoreError> {
        self.stream_of(key, slice, Some(etag)).await
    }

    async fn stream_of(
        &self,
        key: Key<'_>,
        slice: Option<Slice>,
        etag: Option<&str>,
    ) -> Result<Option<ObjectStream>, StoreError> {
        let path = self.path(&key);
        let Some(Opened { pieces, size, etag }) = self.open(&path, slice, etag).await? else {
            return Ok(None);
        };
        let left = slice.unwrap_or(Slice { start: 0, end: size });
        let store = self.clone();
        let reader = ResumingReader { store, path, etag: etag.clone(), pieces, left, resumes: MAX_RESUMES };
        let bytes = stream::unfold(Some(reader), |reader| async {
            let mut reader = reader?;
            match reader.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(reader))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Some(ObjectStream { etag, size, bytes: bytes.boxed() }))
    }

    /// Asks for an object or a part of it, of the object with this `ETag` if there is one.
    async fn open(&self, path: &str, slice: Option<Slice>, etag: Option<&str>) -> Result<Option<Opened>, StoreError> {
        let send = |asks_leader| {
            let range = slice.map(|slice| format!("bytes={}-{}", slice.start, slice.end - 1));
            let request = self.inner.bulk.get_object().bucket(&self.inner.bucket).key(path).set_range(range);
            // A weak one never matches (RFC 9110, section 8.8.3.2).
            let matched = etag.filter(|etag| !is_weak_etag(etag));
            let request = request.set_if_match(matched.map(str::to_owned));
            Box::pin(request.customize().mutate_request(set_consistent(asks_leader)).send())
        };
        let Some(Response { output: object, .. }) = self.read("GetObject", self.reads_leader(), send).await? else {
            return Ok(None);
        };
        // The bucket, or a proxy before it, may ignore the condition.
        let is_another = |wanted: &str| object.e_tag().is_some_and(|found| !is_same_etag(found, wanted));
        if etag.is_some_and(is_another) {
            return Ok(None);
        }
        // Otherwise the whole object would be taken for the part.
        if slice.is_some() && object.content_range().is_none() {
            let cause = "the bucket sent the whole object instead of a part".to_owned();
            return Err(StoreError::Corrupt { key: path.to_owned(), cause });
        }
        let size = unsigned(object.content_length());
        let etag = object.e_tag;
        let pieces = BodyDataStream::new(object.body.into_inner());
        Ok(Some(Opened { pieces: pieces.map_err(io::Error::other).boxed(), size, etag }))
    }
}

impl ResumingReader {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let error = match self.pieces.next().await {
                Some(Ok(piece)) => {
                    self.left.start += piece.len() as u64;
                    self.resumes = MAX_RESUMES;
                    return Ok(Some(piece));
                }
                None => return Ok(None),
                Some(Err(error)) => error,
            };
            if self.resumes == 0 || self.left.start >= self.left.end {
                return Err(error);
            }
            self.resumes -= 1;
            match Box::pin(self.store.open(&self.path, Some(self.left), self.etag.as_deref())).await {
                Ok(Some(Opened { pieces, .. })) => {
                    tracing::debug!(%error, key = self.path, at = self.left.start, "resuming a body that broke off");
                    self.pieces = pieces;
                }
                Ok(None) => return Err(error),
                Err(refused) => return Err(io::Error::other(refused)),
            }
        }
    }
}
