//! Writing small objects, on conditions.

use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::error::{Refusal, failure, refusal, translate};
use super::leader::at_leader;
use super::object::Metadata;
use super::{Key, Store, StoreError};
use crate::oci::MediaType;

/// When an object may be written. Some stores do not know conditions and write always: see [`Store::keeps_conditions`].
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
    /// Writes an object whole; `false` when the condition does not hold.
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
        let (path, put) = (self.path(&key), &self.inner.put);
        self.changes(&path);
        let send = |condition: Condition<'_>| {
            let request = self
                .inner
                .client
                .put_object()
                .bucket(&self.inner.bucket)
                .key(&path)
                .content_type(media_type.as_str())
                .set_metadata(Some(metadata.clone()))
                .set_server_side_encryption(put.encryption.clone())
                .set_ssekms_key_id(put.kms_key.clone())
                .set_storage_class(put.storage_class.clone())
                .set_acl(put.acl.clone())
                .body(ByteStream::from(bytes.clone()));
            let request = match condition {
                Condition::Always => request,
                Condition::IfAbsent => request.if_none_match("*"),
                Condition::IfUnchanged(etag) => request.if_match(etag),
            };
            // What is written here is what replicas in other regions look for.
            let request = request.customize().mutate_request(at_leader(self.inner.lags));
            Box::pin(request.send())
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
            // What was to be unchanged is gone.
            None => translate("PutObject", &error).map_or(Ok(false), Err),
        }
    }
}
