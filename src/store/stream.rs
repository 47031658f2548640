//! Objects of any size, as they come. One that breaks off goes on where it broke: its reader is mostly a client of the
//! registry, which would have to begin anew.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyDataStream;

use super::error::translate;
use super::leader::at_leader;
use super::object::unsigned;
use super::{Key, Store, StoreError};
use crate::oci::Slice;

/// How often a body is asked for again in which nothing came since the last time.
const RESUMES: u32 = 3;

/// An object or a part of it, as it comes.
pub struct ObjectStream {
    /// The bytes.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

/// An object or a part of it that is being read. It must be one that never changes: blobs, and data of uploads.
struct Reading {
    store: Store,
    path: String,
    /// From the leader.
    now: bool,
    pieces: BoxStream<'static, io::Result<Bytes>>,
    /// What is still to come, in bytes of the object.
    left: Slice,
    resumes: u32,
}

impl Store {
    /// Streams an object or a part of it; `None` when it is not there. The object must be one that never changes.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn stream(&self, key: Key<'_>, slice: Option<Slice>) -> Result<Option<ObjectStream>, StoreError> {
        self.stream_from(key, slice, false).await
    }

    /// The same from the leader, for what other regions may not have yet.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn stream_now(&self, key: Key<'_>, slice: Option<Slice>) -> Result<Option<ObjectStream>, StoreError> {
        self.stream_from(key, slice, self.inner.lags).await
    }

    async fn stream_from(
        &self,
        key: Key<'_>,
        slice: Option<Slice>,
        now: bool,
    ) -> Result<Option<ObjectStream>, StoreError> {
        let path = self.path(&key);
        let Some((pieces, size)) = self.open(&path, slice, now).await? else {
            return Ok(None);
        };
        let left = slice.unwrap_or(Slice { start: 0, end: size });
        let reading = Reading { store: self.clone(), path, now, pieces, left, resumes: RESUMES };
        let bytes = stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(piece) => piece.map(|piece| (Ok(piece), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(Some(ObjectStream { bytes: bytes.boxed() }))
    }

    /// The bytes of an object or of a part of it, and how many the bucket announces.
    async fn open(
        &self,
        path: &str,
        slice: Option<Slice>,
        now: bool,
    ) -> Result<Option<(BoxStream<'static, io::Result<Bytes>>, u64)>, StoreError> {
        let range = slice.map(|slice| format!("bytes={}-{}", slice.start, slice.end - 1));
        let is_part = range.is_some();
        let request = self.inner.bulk.get_object().bucket(&self.inner.bucket).key(path).set_range(range);
        let first = request.clone().customize().mutate_request(at_leader(now));
        let answer = match Box::pin(first.send()).await {
            Err(error) if self.inner.lags && !now && translate("GetObject", &error).is_none() => {
                Box::pin(request.customize().mutate_request(at_leader(true)).send()).await
            }
            other => other,
        };
        match answer {
            // Another part of it would be taken for the one that was asked for.
            Ok(object) if is_part && object.content_range().is_none() => Err(StoreError::Corrupt {
                key: path.to_owned(),
                cause: "the bucket sent the whole in the place of a part".to_owned(),
            }),
            Ok(object) => {
                let size = unsigned(object.content_length());
                let pieces = BodyDataStream::new(object.body.into_inner());
                Ok(Some((pieces.map_err(io::Error::other).boxed(), size)))
            }
            Err(error) => translate("GetObject", &error).map_or(Ok(None), Err),
        }
    }
}

impl Reading {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let error = match self.pieces.next().await {
                Some(Ok(piece)) => {
                    self.left.start += piece.len() as u64;
                    self.resumes = RESUMES;
                    return Ok(Some(piece));
                }
                None => return Ok(None),
                Some(Err(error)) => error,
            };
            if self.resumes == 0 || self.left.start >= self.left.end {
                return Err(error);
            }
            self.resumes -= 1;
            let again = self.store.open(&self.path, Some(self.left), self.now);
            match Box::pin(again).await {
                Ok(Some((pieces, _))) => {
                    tracing::debug!(%error, key = self.path, at = self.left.start, "reading on where it broke off");
                    self.pieces = pieces;
                }
                Ok(None) => return Err(error),
                Err(refused) => return Err(io::Error::other(refused)),
            }
        }
    }
}
