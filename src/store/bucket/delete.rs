//! Deleting objects, one by one or below a directory key.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::delete_object::{DeleteObjectError, DeleteObjectOutput};
use aws_sdk_s3::types::{Delete, Error, ObjectIdentifier};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::handle::Store;
use crate::store::error::{Refusal, StoreError, failure, found, refusal};
use crate::store::key::Key;

/// How many objects are deleted at once, one by one.
const PARALLEL: usize = 16;

/// How many objects one request deletes: S3's limit.
const BATCH: usize = 1000;

const BATCH_OPERATION: &str = "DeleteObjects";

impl Store {
    /// Deletes an object. One that is not there is fine.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn delete(&self, key: Key<'_>) -> Result<(), StoreError> {
        self.delete_path(self.path(&key)).await
    }

    /// Deletes an object if it still has this `ETag`, if that is known; `false` when it is another one. One that is not
    /// there is fine. A store that ignores conditions always deletes.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn delete_unchanged(&self, key: Key<'_>, etag: Option<&str>) -> Result<bool, StoreError> {
        let Err(error) = self.send_delete(self.path(&key), etag.map(str::to_owned)).await else {
            return Ok(true);
        };
        match refusal(&error) {
            Some(Refusal::Unmet) => Ok(false),
            Some(Refusal::Unknown) => self.delete(key).await.map(|()| true),
            None => found("DeleteObject", Err::<(), _>(error)).map(|_| true),
        }
    }

    /// Deletes objects, 1,000 a request. One that is not there is fine.
    ///
    /// # Errors
    /// The bucket did not do it, or not all of it.
    pub async fn delete_all(&self, keys: &[Key<'_>]) -> Result<(), StoreError> {
        for keys in keys.chunks(BATCH) {
            self.delete_paths(keys.iter().map(|key| self.path(key)).collect()).await?;
        }
        Ok(())
    }

    /// `false` when the bucket refused to delete several objects by one request.
    #[must_use]
    pub fn deletes_batches(&self) -> bool {
        !self.inner.lacks_batch_deletes.is_set()
    }

    /// Deletes everything below a directory key; returns how many objects that were.
    ///
    /// # Errors
    /// The bucket did not do it, or not all of it.
    pub async fn delete_directory(&self, directory: Key<'_>) -> Result<usize, StoreError> {
        let prefix = self.path(&directory);
        let mut deleted = 0;
        loop {
            let (listed, more) = self.objects(directory, None, 1000).await?;
            deleted += listed.len();
            let paths: Vec<_> = listed.into_iter().map(|object| format!("{prefix}{}", object.path)).collect();
            for path in &paths {
                self.inner.recent_writes.insert(path);
            }
            self.delete_paths(paths).await?;
            if !more {
                return Ok(deleted);
            }
        }
    }

    /// Deletes at most [`BATCH`] objects: by one request, or one by one where the bucket does not know that.
    async fn delete_paths(&self, paths: Vec<String>) -> Result<(), StoreError> {
        let is_batch = paths.len() > 1 && self.deletes_batches();
        if is_batch && self.delete_batch(&paths).await? {
            return Ok(());
        }
        let deletes = stream::iter(paths).map(|path| Ok(self.delete_path(path)));
        deletes.try_buffer_unordered(PARALLEL).try_collect().await
    }

    /// Deletes objects by one request; `false`: the bucket does not know it.
    async fn delete_batch(&self, paths: &[String]) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let objects: Result<Vec<_>, _> =
            paths.iter().map(|path| ObjectIdentifier::builder().key(path).build()).collect();
        let delete = objects.and_then(|objects| Delete::builder().set_objects(Some(objects)).quiet(true).build());
        let delete = delete.unwrap_or_else(|_| unreachable!("all that is required is given"));
        let request = inner.bulk.delete_objects().bucket(&inner.bucket).delete(delete);
        let error = match Box::pin(request.send()).await {
            Ok(deleted) => return failed_delete(deleted.errors()).map_or(Ok(true), Err),
            Err(error) => error,
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if is_unknown(status, code) {
            let status = status.unwrap_or_default();
            tracing::debug!(status, code, "the bucket refuses to delete several objects by one request");
            inner.lacks_batch_deletes.set();
            return Ok(false);
        }
        Err(failure(BATCH_OPERATION, &error))
    }

    async fn delete_path(&self, path: String) -> Result<(), StoreError> {
        found("DeleteObject", self.send_delete(path, None).await).map(drop)
    }

    /// Deletes an object, on the condition, if any, that it has this `ETag`.
    pub(super) async fn send_delete(
        &self,
        path: String,
        etag: Option<String>,
    ) -> Result<DeleteObjectOutput, SdkError<DeleteObjectError>> {
        let inner = &self.inner;
        inner.recent_writes.insert(&path);
        let request = inner.client.delete_object().bucket(&inner.bucket).key(path).set_if_match(etag);
        Box::pin(request.send()).await
    }
}

/// Whether a store that answers like this does not know `DeleteObjects`. Some demand a `Content-MD5`, which the SDK
/// does not send (`MinIO` until 2025), and some have no such operation.
fn is_unknown(status: Option<u16>, code: Option<&str>) -> bool {
    let codes = ["InvalidArgument", "InvalidRequest", "MalformedXML", "MissingContentMD5", "MissingRequestBodyError"];
    match status {
        Some(405 | 411 | 501) => true,
        Some(400) => code.is_none_or(|code| codes.contains(&code)),
        _ => false,
    }
}

/// The first failure among the objects of one request.
fn failed_delete(errors: &[Error]) -> Option<StoreError> {
    let error = errors.iter().find(|error| !matches!(error.code(), Some("NoSuchKey")))?;
    let (code, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let cause = format!("it answered {code}: {message}, for {}", error.key().unwrap_or_default());
    Some(match code {
        "AccessDenied" => StoreError::Denied { operation: BATCH_OPERATION, cause },
        _ => StoreError::Unavailable { operation: BATCH_OPERATION, cause },
    })
}
