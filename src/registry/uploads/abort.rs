//! Aborting an upload (end-14), and deleting what the bucket has of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::Uploads;
use super::request::UploadRequest;
use super::state::UploadState;
use crate::oci::{Error, MediaType};
use crate::store::{Condition, Key, Metadata, StoreError};

impl Uploads {
    /// Aborts an upload (end-14), whichever of its URLs the client asks, and tells requests that go on with another
    /// one.
    ///
    /// # Errors
    /// `BLOB_UPLOAD_UNKNOWN`, `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn abort(self: &Arc<Self>, upload: UploadRequest<'_>) -> Result<(), Error> {
        self.changes.allow_push()?;
        let state = self.newest(upload, self.verified(upload)?).await?;
        self.require_alive(upload, &state).await?;
        let (uploads, name, id) = (Arc::clone(self), upload.name.clone(), upload.id);
        let abort = async move {
            let upload = UploadRequest { name: &name, id, state: "" };
            Ok(uploads.write_cancelled(upload, &state).await?)
        };
        self.background.complete(abort).await
    }

    async fn write_cancelled(&self, upload: UploadRequest<'_>, state: &UploadState) -> Result<(), StoreError> {
        let (store, directory) = (&self.store, Key::Upload(upload.name, &upload.id));
        self.discard(upload, state).await?;
        let all = SystemTime::now() + Duration::from_hours(24);
        store.abort_uploads_before(directory, all, false).await?;
        let key = Key::UploadCancelled(upload.name, &upload.id);
        let (empty, media_type) = (Bytes::new(), MediaType::OCTET_STREAM);
        store.put(key, empty, &media_type, &Metadata::new(), Condition::Always).await.map(drop)
    }

    /// Deletes all that the bucket has of an upload.
    pub(super) async fn discard(&self, upload: UploadRequest<'_>, state: &UploadState) -> Result<(), StoreError> {
        if let Some(data) = &state.data {
            let key = Key::UploadData(upload.name, &upload.id, &data.key);
            self.store.resume(key, data.upload_id.clone()).abort().await?;
        }
        self.store.delete_directory(Key::Upload(upload.name, &upload.id)).await.map(drop)
    }

    /// Deletes the objects of an upload that has ended, in the background.
    pub(super) async fn delete_leftovers(self: &Arc<Self>, upload: UploadRequest<'_>) {
        let (uploads, name, id) = (Arc::clone(self), upload.name.clone(), upload.id);
        let delete = async move {
            if let Err(error) = uploads.store.delete_directory(Key::Upload(&name, &id)).await {
                tracing::debug!(repository = %name, %error, "an upload's objects are left over in the bucket");
            }
        };
        self.background.run_or_wait(delete).await;
    }
}
