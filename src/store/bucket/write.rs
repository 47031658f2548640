//! Writing whole objects: small ones, on conditions, and blobs that fit into one request.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::operation::put_object::{PutObjectError, PutObjectOutput};
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::handle::Store;
use super::object::Metadata;
use super::read::UNMET;
use crate::oci::MediaType;
use crate::store::body::{PartSource, body};
use crate::store::error::{Refusal, StoreError, failure, found, refusal};
use crate::store::filled_for::FilledFor;
use crate::store::key::Key;
use crate::store::lengths::signed;
use crate::store::options::{PutOptions, with_put_options};
use crate::store::sdk_config::chunk_attempts;

const OPERATION: &str = "PutObject";

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

/// The outcome of a write on a condition that is never repeated without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped<T = String> {
    /// The object is written, and has this `ETag`, as the bucket spells it.
    Written(T),
    /// The condition does not hold, or another such write was under way. The object may all the same be that of this
    /// call's first attempt, whose answer was lost: only reading it tells.
    Unmet,
    /// The bucket does not know conditions; nothing was written.
    Unsupported,
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
        let send = |condition| {
            let request = self.put_request(&inner.client, &path, media_type, &inner.put, condition);
            let request = request.set_metadata(Some(metadata.clone())).body(ByteStream::from(bytes.clone()));
            Box::pin(request.send())
        };
        match written(send(condition).await, condition)? {
            Swapped::Written(_) => Ok(true),
            Swapped::Unmet => Ok(false),
            // If the reason was another, this fails, too.
            Swapped::Unsupported => written(send(Condition::Always).await, Condition::Always).map(|_| true),
        }
    }

    /// Writes a small object in place of the one with this `ETag`, and never without that condition.
    ///
    /// # Errors
    /// The bucket did not take it; it may have written the object.
    pub async fn replace(
        &self,
        key: Key<'_>,
        bytes: Bytes,
        metadata: &Metadata,
        etag: &str,
    ) -> Result<Swapped, StoreError> {
        let (path, inner, condition) = (self.path(&key), &self.inner, Condition::IfUnchanged(etag));
        inner.recent_writes.insert(&path);
        let request = self.put_request(&inner.client, &path, &MediaType::OCTET_STREAM, &inner.put, condition);
        let request = request.set_metadata(Some(metadata.clone())).body(ByteStream::from(bytes));
        Ok(match written(Box::pin(request.send()).await, condition)? {
            Swapped::Written(etag) => Swapped::Written(named(etag)?),
            Swapped::Unmet => Swapped::Unmet,
            Swapped::Unsupported => Swapped::Unsupported,
        })
    }

    /// Writes a small object whose key determines its bytes, unless it is there.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn put_once(&self, key: Key<'_>, bytes: Bytes, media_type: &MediaType) -> Result<(), StoreError> {
        let metadata = Metadata::new();
        if !self.keeps_conditions().await && self.exists(key).await? {
            return Ok(());
        }
        let (path, inner) = (self.path(&key), &self.inner);
        inner.recent_writes.insert(&path);
        let request = self.put_request(&inner.client, &path, media_type, &inner.put, Condition::IfAbsent);
        let sent = Box::pin(request.body(ByteStream::from(bytes.clone())).send()).await;
        // RFC 9110, section 15.5.13: the condition is false, so there is one. A store that only says that another
        // writer is under way, perhaps in vain, answers 409.
        if sent.as_ref().is_err_and(|error| error.raw_response().is_some_and(|it| it.status().as_u16() == UNMET)) {
            return Ok(());
        }
        match written(sent, Condition::IfAbsent)? {
            Swapped::Written(_) => Ok(()),
            Swapped::Unmet if self.exists(key).await? => Ok(()),
            Swapped::Unmet | Swapped::Unsupported => {
                self.put(key, bytes, media_type, &metadata, Condition::Always).await.map(drop)
            }
        }
    }

    /// Writes an object of exactly `len` bytes under a key that is written once, and returns its `ETag`, as the bucket
    /// spells it. `None`: there is one, which may be that of an attempt whose answer was lost. A bucket that does not
    /// keep conditions replaces it instead. Each of 3 attempts takes at most a minute.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn put_chunk(&self, key: Key<'_>, len: u64, source: PartSource) -> Result<Option<String>, StoreError> {
        let (path, inner) = (self.path(&key), &self.inner);
        let keeps_conditions = self.keeps_conditions_of_writes().await;
        let condition = if keeps_conditions { Condition::IfAbsent } else { Condition::Always };
        let put = inner.put.short_lived();
        let request = self.put_request(&inner.bulk, &path, &MediaType::OCTET_STREAM, &put, condition);
        let request = request.content_length(signed(len)).body(body(len, source));
        let sent = Box::pin(request.customize().config_override(chunk_attempts()).send()).await;
        match written(sent, condition)? {
            Swapped::Written(etag) => Ok(Some(named(etag)?)),
            Swapped::Unmet => Ok(None),
            Swapped::Unsupported => Err(StoreError::Unavailable {
                operation: OPERATION,
                cause: "the bucket refused a condition that it kept before".to_owned(),
            }),
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
        let request = self
            .put_request(client, &self.path(&key), &MediaType::OCTET_STREAM, &inner.put, Condition::Always)
            .content_length(signed(len))
            .set_metadata(filled_for.map(FilledFor::metadata))
            .body(body(len, source));
        Box::pin(request.send()).await.map_err(|error| failure(OPERATION, &error))?;
        Ok(())
    }

    /// A PUT that lacks its content.
    pub(super) fn put_request(
        &self,
        client: &aws_sdk_s3::Client,
        path: &str,
        media_type: &MediaType,
        put: &PutOptions,
        condition: Condition<'_>,
    ) -> PutObjectFluentBuilder {
        let request = client.put_object().bucket(&self.inner.bucket).key(path).content_type(media_type.as_str());
        let request = with_put_options!(request, put);
        match condition {
            Condition::Always => request,
            Condition::IfAbsent => request.if_none_match("*"),
            Condition::IfUnchanged(etag) => request.if_match(etag),
        }
    }
}

/// What became of a PUT on this condition.
pub(super) fn written(
    sent: Result<PutObjectOutput, SdkError<PutObjectError>>,
    condition: Condition<'_>,
) -> Result<Swapped<Option<String>>, StoreError> {
    let error = match sent {
        Ok(output) => return Ok(Swapped::Written(output.e_tag)),
        Err(error) if condition == Condition::Always => return Err(failure(OPERATION, &error)),
        Err(error) => error,
    };
    match refusal(&error) {
        Some(Refusal::Unmet) => Ok(Swapped::Unmet),
        Some(Refusal::Unknown) => Ok(Swapped::Unsupported),
        // Not there: the object that was to be unchanged is gone.
        None => found(OPERATION, Err::<(), _>(error)).map(|_| Swapped::Unmet),
    }
}

/// The `ETag` of an object that was written, which every S3 names.
pub(super) fn named(etag: Option<String>) -> Result<String, StoreError> {
    let cause = || StoreError::Unavailable { operation: OPERATION, cause: "the bucket did not name the ETag".into() };
    etag.ok_or_else(cause)
}
