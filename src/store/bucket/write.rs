//! Writing whole objects: small ones, on conditions, and blobs that fit into one request.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::handle::Store;
use super::object::Metadata;
use crate::oci::MediaType;
use crate::store::body::{PartSource, body};
use crate::store::error::{Refusal, StoreError, failure, found, refusal};
use crate::store::filled_for::FilledFor;
use crate::store::key::Key;
use crate::store::lengths::signed;
use crate::store::options::with_put_options;

/// Blobs of up to so many bytes are sent with the short timeouts of small requests, so that the client soon hears of a
/// bucket that does not answer.
const SMALL: u64 = 1 << 20;

/// When an object may be written. Some stores ignore conditions and always write: see [`Store::keeps_conditions`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// In any case.
    Always,
    /// If there is none yet.
    IfAbsent,
    /// If it still has this `ETag`.
    IfUnchanged(&'a str),
}

impl Store {
    /// Writes a small object; `false` when the condition does not hold.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn put(
        &self,
        key: Key<'_>,
        bytes: Bytes,
        media_type: &MediaType,
        metadata: &Metadata,
        condition: Condition<'_>,
    ) -> Result<bool, StoreError> {
        let (path, inner) = (self.path(&key), &self.inner);
        inner.recent_writes.insert(&path);
        let send = |condition: Condition<'_>| {
            let request = inner.client.put_object().bucket(&inner.bucket).key(&path);
            let request = with_put_options!(request, inner.put)
                .content_type(media_type.as_str())
                .set_metadata(Some(metadata.clone()))
                .body(ByteStream::from(bytes.clone()));
            Box::pin(match condition {
                Condition::Always => request.send(),
                Condition::IfAbsent => request.if_none_match("*").send(),
                Condition::IfUnchanged(etag) => request.if_match(etag).send(),
            })
        };
        let Err(error) = send(condition).await else {
            return Ok(true);
        };
        if condition == Condition::Always {
            return Err(failure("PutObject", &error));
        }
        match refusal(&error) {
            Some(Refusal::Unmet) => Ok(false),
            Some(Refusal::Unknown) => {
                let written = send(Condition::Always).await;
                written.map(|_| true).map_err(|error| failure("PutObject", &error))
            }
            // Not there: the object that was to be unchanged is gone.
            None => found("PutObject", Err::<(), _>(error)).map(|_| false),
        }
    }

    /// Writes a blob of exactly `len` bytes that fits into one request. The bytes were verified.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn put_blob(&self, key: Key<'_>, len: u64, source: PartSource) -> Result<(), StoreError> {
        self.put_bytes(key, len, source, None).await
    }

    /// [`put_blob`](Self::put_blob), of a blob that is filled for a repository.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn put_filled(
        &self,
        key: Key<'_>,
        len: u64,
        source: PartSource,
        filled_for: FilledFor,
    ) -> Result<(), StoreError> {
        self.put_bytes(key, len, source, Some(filled_for)).await
    }

    async fn put_bytes(
        &self,
        key: Key<'_>,
        len: u64,
        source: PartSource,
        filled_for: Option<FilledFor>,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        let client = if len <= SMALL { &inner.client } else { &inner.bulk };
        let request = client.put_object().bucket(&inner.bucket).key(self.path(&key));
        let request = with_put_options!(request, inner.put)
            .content_type(MediaType::OCTET_STREAM.as_str())
            .content_length(signed(len))
            .set_metadata(filled_for.map(FilledFor::metadata))
            .body(body(len, source));
        Box::pin(request.send()).await.map_err(|error| failure("PutObject", &error))?;
        Ok(())
    }
}
