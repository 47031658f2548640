//! Moving an object that was uploaded under a name of its own to its final key.
//!
//! At Tigris that is a rename: metadata only, whatever the size. Elsewhere the store copies, in parallel parts where
//! the object is large, and the original is deleted afterwards. Nothing can be read under the final key before all of
//! it is there.

use futures_util::{StreamExt, TryStreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::{failure, translate};
use super::leader::at_leader;
use super::multipart::unnamed;
use super::{Key, Multipart, Part, Store, StoreError, part_size};

/// The header by which Tigris makes a copy a rename.
const RENAME: &str = "x-tigris-rename";

/// What stays as it is in the path of a copy's source.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How objects are copied where they cannot be renamed (`storage.s3.multipartcopy*`).
#[derive(Clone, Copy, Debug)]
pub(super) struct CopyOptions {
    /// In bytes; smaller objects are copied in one request.
    pub(super) threshold: u64,
    /// In bytes.
    pub(super) chunk: u64,
    pub(super) parallel: usize,
}

impl Store {
    /// Whether the bucket renames objects, instead of copying them.
    #[must_use]
    pub fn renames(&self) -> bool {
        self.inner.renames
    }

    /// Moves an object of `size` bytes; `false` when it is not there.
    ///
    /// # Errors
    /// The bucket did not do it. The object may then be at either key, or at both.
    pub async fn relocate(&self, from: Key<'_>, to: Key<'_>, size: u64) -> Result<bool, StoreError> {
        if self.inner.renames {
            return self.copy_whole(from, to, true).await;
        }
        let copied = if size <= self.inner.copy.threshold {
            self.copy_whole(from, to, false).await?
        } else {
            let chunk = part_size(self.inner.copy.chunk, size);
            self.copy_in_parts(from, to, size, chunk).await?
        };
        if copied {
            // What is left over is swept with its upload.
            if let Err(error) = self.delete(from).await {
                tracing::debug!(%error, "the original of a moved object is left over");
            }
        }
        Ok(copied)
    }

    async fn copy_whole(&self, from: Key<'_>, to: Key<'_>, rename: bool) -> Result<bool, StoreError> {
        let put = self.inner.put.clone();
        let request = self
            .inner
            .bulk
            .copy_object()
            .bucket(&self.inner.bucket)
            .key(self.path(&to))
            .copy_source(self.source(&from))
            .set_server_side_encryption(put.encryption)
            .set_ssekms_key_id(put.kms_key)
            .set_storage_class(put.storage_class)
            .set_acl(put.acl)
            .customize()
            .mutate_request(at_leader(self.inner.lags))
            .mutate_request(move |request| {
                if rename {
                    request.headers_mut().insert(RENAME, "true");
                }
            });
        match Box::pin(request.send()).await {
            Ok(_) => Ok(true),
            Err(error) => translate("CopyObject", &error).map_or(Ok(false), Err),
        }
    }

    /// Copies an object of `size` bytes in parts of `chunk`; `false` when it is not there.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn copy_in_parts(&self, from: Key<'_>, to: Key<'_>, size: u64, chunk: u64) -> Result<bool, StoreError> {
        let upload = self.begin(to).await?;
        let source = self.source(&from);
        let parts: Result<Vec<Option<Part>>, StoreError> = stream::iter((0..size.div_ceil(chunk)).zip(1_i32..))
            .map(|(index, number)| {
                let (start, end) = (index * chunk, size.min((index + 1) * chunk));
                let range = format!("bytes={start}-{}", end - 1);
                Ok(upload.part_copy(number, end - start, &source, range))
            })
            .try_buffer_unordered(self.inner.copy.parallel)
            .try_collect()
            .await;
        let completed = match parts.map(|parts| parts.into_iter().collect::<Option<Vec<_>>>()) {
            Ok(Some(parts)) => upload.complete_copied(parts).await,
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        if !matches!(completed, Ok(true))
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, "an upload was left over in the bucket");
        }
        completed
    }

    /// `bucket/key`, as the copy operations want it.
    fn source(&self, key: &Key<'_>) -> String {
        let path = self.path(key);
        format!("{}/{}", self.inner.bucket, utf8_percent_encode(&path, PATH))
    }
}

impl Multipart {
    /// Makes the object appear if the bucket copied what it was asked to: one that does not know ranges copies the
    /// whole for each part.
    async fn complete_copied(&self, mut parts: Vec<Part>) -> Result<bool, StoreError> {
        parts.sort_by_key(|part| part.number);
        let sizes = |parts: &[Part]| -> Vec<u64> { parts.iter().map(|part| part.len).collect() };
        match self.parts(0, parts.len()).await {
            Ok(Some(listed)) if sizes(&listed) == sizes(&parts) => {}
            Ok(Some(_)) => {
                return Err(StoreError::Corrupt {
                    key: self.path.clone(),
                    cause: "the bucket copied other parts than it was asked for".to_owned(),
                });
            }
            Ok(None) => return Ok(false),
            // Some stores list no parts.
            Err(error) => tracing::debug!(%error, "copied parts were not looked at"),
        }
        self.complete(parts).await.map(|()| true)
    }

    /// Makes one part of `len` bytes from another object's; `None` when that object is not there.
    async fn part_copy(&self, number: i32, len: u64, source: &str, range: String) -> Result<Option<Part>, StoreError> {
        let inner = &self.store.inner;
        let request = inner
            .bulk
            .upload_part_copy()
            .bucket(&inner.bucket)
            .key(&self.path)
            .upload_id(&self.upload_id)
            .part_number(number)
            .copy_source(source)
            .copy_source_range(range);
        match Box::pin(request.send()).await {
            Ok(copied) => {
                let etag = copied
                    .copy_part_result()
                    .and_then(|result| result.e_tag())
                    .ok_or_else(|| unnamed("UploadPartCopy"))?;
                Ok(Some(Part::new(number, len, etag)))
            }
            Err(error) if translate("UploadPartCopy", &error).is_none() => Ok(None),
            Err(error) => Err(failure("UploadPartCopy", &error)),
        }
    }
}
