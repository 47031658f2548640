//! Deleting objects, one by one or below a directory key.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::delete_object::{DeleteObjectError, DeleteObjectOutput};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::handle::Store;
use super::object::Object;
use crate::store::error::{Refusal, StoreError, found, refusal};
use crate::store::key::Key;

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

    /// Deletes an object if it is still the one that was read; `false` when it is another one. One that is not there is
    /// fine. A store that ignores conditions always deletes.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn delete_unchanged(&self, key: Key<'_>, read: &Object) -> Result<bool, StoreError> {
        let Err(error) = self.send_delete(self.path(&key), read.etag.clone()).await else {
            return Ok(true);
        };
        match refusal(&error) {
            Some(Refusal::Unmet) => Ok(false),
            Some(Refusal::Unknown) => self.delete(key).await.map(|()| true),
            None => found("DeleteObject", Err::<(), _>(error)).map(|_| true),
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
