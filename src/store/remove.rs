//! Taking objects away: single ones, directories, and uploads that were abandoned.

use std::time::SystemTime;

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::{DeleteObjectError, DeleteObjectOutput};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::error::{Refusal, failure, refusal, translate};
use super::leader::at_leader;
use super::object::Object;
use super::{Key, Store, StoreError};

/// How many objects of a directory are deleted at once.
const PARALLEL: usize = 16;

impl Store {
    /// Deletes an object. One that is not there is fine.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn delete(&self, key: Key<'_>) -> Result<(), StoreError> {
        self.delete_path(self.path(&key)).await
    }

    /// Deletes an object if it still is the one that was read; `false` when it is another one. One that is not there is
    /// fine. A store that does not know conditions deletes it always.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn delete_unchanged(&self, key: Key<'_>, read: &Object) -> Result<bool, StoreError> {
        let path = self.path(&key);
        let Err(error) = self.send_delete(path, read.etag.clone()).await else {
            return Ok(true);
        };
        match refusal(&error) {
            Some(Refusal::Unmet) => Ok(false),
            Some(Refusal::Unknown) => self.delete(key).await.map(|()| true),
            None => translate("DeleteObject", &error).map_or(Ok(true), Err),
        }
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
            stream::iter(listed)
                .map(|object| Ok(self.delete_path(format!("{prefix}{}", object.path))))
                .try_buffer_unordered(PARALLEL)
                .try_collect::<()>()
                .await?;
            if !more {
                return Ok(deleted);
            }
        }
    }

    /// Aborts the multipart uploads below a directory key that were begun before `limit`, whoever began them. Returns
    /// how many were aborted, or, in a `dry_run`, would be. Some stores list an upload only by its whole key (`MinIO`):
    /// nothing is found there.
    ///
    /// # Errors
    /// The bucket did not list them, or did not abort one; the others are aborted all the same.
    pub async fn abort_uploads_before(
        &self,
        directory: Key<'_>,
        limit: SystemTime,
        dry_run: bool,
    ) -> Result<usize, StoreError> {
        let inner = &self.inner;
        let (mut aborted, mut failed) = (0, None);
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = inner
                .client
                .list_multipart_uploads()
                .bucket(&inner.bucket)
                .prefix(self.path(&directory))
                .set_key_marker(key_marker)
                .set_upload_id_marker(id_marker)
                .customize()
                .mutate_request(at_leader(inner.lags));
            let page = Box::pin(request.send()).await.map_err(|error| failure("ListMultipartUploads", &error))?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                let begun = upload.initiated().and_then(|time| SystemTime::try_from(*time).ok());
                if begun.is_some_and(|begun| begun < limit) {
                    aborted += 1;
                    if !dry_run && let Err(error) = self.abort_path(key, id).await {
                        failed = Some(error);
                    }
                }
            }
            (key_marker, id_marker) =
                (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
            if page.is_truncated() != Some(true) || key_marker.is_none() {
                return failed.map_or(Ok(aborted), Err);
            }
        }
    }

    pub(super) async fn delete_path(&self, path: String) -> Result<(), StoreError> {
        match self.send_delete(path, None).await {
            Ok(_) => Ok(()),
            Err(error) => translate("DeleteObject", &error).map_or(Ok(()), Err),
        }
    }

    /// On the condition, if there is one, that it has this `ETag`.
    pub(super) async fn send_delete(
        &self,
        path: String,
        etag: Option<String>,
    ) -> Result<DeleteObjectOutput, SdkError<DeleteObjectError>> {
        self.changes(&path);
        let request = self
            .inner
            .client
            .delete_object()
            .bucket(&self.inner.bucket)
            .key(path)
            .set_if_match(etag)
            .customize()
            .mutate_request(at_leader(self.inner.lags));
        Box::pin(request.send()).await
    }

    /// Throws an upload's parts away. One that is already gone is fine.
    pub(super) async fn abort_path(&self, path: &str, id: &str) -> Result<(), StoreError> {
        let request = self
            .inner
            .client
            .abort_multipart_upload()
            .bucket(&self.inner.bucket)
            .key(path)
            .upload_id(id)
            .customize()
            .mutate_request(at_leader(self.inner.lags));
        match Box::pin(request.send()).await {
            Ok(_) => Ok(()),
            Err(error) => translate("AbortMultipartUpload", &error).map_or(Ok(()), Err),
        }
    }
}
