//! Multipart uploads: how a blob of any size gets into the bucket a few parts at a time.

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::body::{PartSource, body, signed};
use super::error::{failure, translate};
use super::leader::at_leader;
use super::{FilledFor, Key, Store, StoreError};
use crate::oci::{MediaType, Slice};

/// Up to so many bytes are sent within the 5 seconds that small requests have for an attempt, so that whoever waits
/// hears soon of a bucket that does not answer.
const SMALL: u64 = 1 << 20;

/// An upload that has begun. It must be completed or aborted: the store keeps its parts until then.
#[derive(Clone, Debug)]
pub struct Multipart {
    pub(super) store: Store,
    pub(super) path: String,
    pub(super) upload_id: String,
}

/// A part that the store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its place; the first is 1.
    pub number: i32,
    /// Its size in bytes.
    pub len: u64,
    /// Tells its bytes from any others under the same number; without quotes.
    pub etag: String,
}

/// What became of [`Multipart::try_complete`].
#[derive(Debug)]
pub enum Completed {
    /// The object is there, of exactly these parts.
    Done,
    /// The upload is gone: completed before, perhaps of other parts, or aborted.
    Gone,
    /// `InvalidPart`: a part is another one by now, or the parts are not as this store wants them. Only
    /// [`Multipart::parts`] tells.
    Refused(StoreError),
}

impl Part {
    /// A part without an `ETag` could be any part: an error.
    fn new(operation: &'static str, number: i32, len: u64, etag: Option<&str>) -> Result<Self, StoreError> {
        let cause = || StoreError::Unavailable { operation, cause: "the store did not name the part's ETag".into() };
        let etag = etag.ok_or_else(cause)?.trim_matches('"').to_owned();
        Ok(Self { number, len, etag })
    }
}

impl Store {
    /// Begins an upload to the final key. Nothing can be read there before it is completed.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn begin(&self, key: Key<'_>) -> Result<Multipart, StoreError> {
        self.begin_marked(key, None).await
    }

    /// [`begin`](Self::begin), of a blob that is filled for a repository.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn begin_filled(&self, key: Key<'_>, filled_for: FilledFor) -> Result<Multipart, StoreError> {
        self.begin_marked(key, Some(filled_for)).await
    }

    async fn begin_marked(&self, key: Key<'_>, filled_for: Option<FilledFor>) -> Result<Multipart, StoreError> {
        let path = self.path(&key);
        let put = self.inner.put.clone();
        let request = self
            .inner
            .client
            .create_multipart_upload()
            .bucket(&self.inner.bucket)
            .key(&path)
            .content_type(MediaType::OCTET_STREAM.as_str())
            .set_metadata(filled_for.map(FilledFor::metadata))
            .set_server_side_encryption(put.encryption)
            .set_ssekms_key_id(put.kms_key)
            .set_storage_class(put.storage_class)
            .set_acl(put.acl)
            .customize()
            .mutate_request(at_leader(self.inner.lags));
        let begun = Box::pin(request.send()).await.map_err(|error| failure("CreateMultipartUpload", &error))?;
        let upload_id = begun.upload_id.unwrap_or_default();
        Ok(Multipart { store: self.clone(), path, upload_id })
    }

    /// An upload that another process may have begun.
    #[must_use]
    pub fn resume(&self, key: Key<'_>, upload_id: String) -> Multipart {
        Multipart { store: self.clone(), path: self.path(&key), upload_id }
    }

    /// Writes a blob of exactly `len` bytes that fits into one request. The bytes were verified.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn put_blob(&self, key: Key<'_>, len: u64, source: PartSource) -> Result<(), StoreError> {
        self.put_marked(key, len, source, None).await
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
        self.put_marked(key, len, source, Some(filled_for)).await
    }

    async fn put_marked(
        &self,
        key: Key<'_>,
        len: u64,
        source: PartSource,
        filled_for: Option<FilledFor>,
    ) -> Result<(), StoreError> {
        let put = self.inner.put.clone();
        let client = if len <= SMALL { &self.inner.client } else { &self.inner.bulk };
        let request = client
            .put_object()
            .bucket(&self.inner.bucket)
            .key(self.path(&key))
            .content_type(MediaType::OCTET_STREAM.as_str())
            .content_length(signed(len))
            .set_metadata(filled_for.map(FilledFor::metadata))
            .set_server_side_encryption(put.encryption)
            .set_ssekms_key_id(put.kms_key)
            .set_storage_class(put.storage_class)
            .set_acl(put.acl)
            .body(body(len, source))
            .customize()
            .mutate_request(at_leader(self.inner.lags));
        Box::pin(request.send()).await.map_err(|error| failure("PutObject", &error))?;
        Ok(())
    }
}

impl Multipart {
    /// Sends one part of exactly `len` bytes; numbers begin at 1. `None` when the upload is gone.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn part(&self, number: i32, len: u64, source: PartSource) -> Result<Option<Part>, StoreError> {
        let inner = &self.store.inner;
        let request = inner
            .bulk
            .upload_part()
            .bucket(&inner.bucket)
            .key(&self.path)
            .upload_id(&self.upload_id)
            .part_number(number)
            .content_length(signed(len))
            .body(body(len, source));
        match Box::pin(request.send()).await {
            Ok(sent) => Part::new("UploadPart", number, len, sent.e_tag()).map(Some),
            Err(error) => translate("UploadPart", &error).map_or(Ok(None), Err),
        }
    }

    /// Makes one part of a slice of another object, whose `copy_source` that is; `None` when the upload or that object
    /// is gone.
    pub(super) async fn part_copy(
        &self,
        number: i32,
        copy_source: &str,
        slice: Slice,
    ) -> Result<Option<Part>, StoreError> {
        let inner = &self.store.inner;
        let request = inner
            .bulk
            .upload_part_copy()
            .bucket(&inner.bucket)
            .key(&self.path)
            .upload_id(&self.upload_id)
            .part_number(number)
            .copy_source(copy_source)
            .copy_source_range(format!("bytes={}-{}", slice.start, slice.end - 1));
        match Box::pin(request.send()).await {
            Ok(copied) => {
                let etag = copied.copy_part_result().and_then(|result| result.e_tag());
                Part::new("UploadPartCopy", number, slice.end - slice.start, etag).map(Some)
            }
            Err(error) => translate("UploadPartCopy", &error).map_or(Ok(None), Err),
        }
    }

    /// What the store calls the upload.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.upload_id
    }

    /// The parts that the store has, in the order of their numbers, after number `after`, at most `limit`; `None` when
    /// the upload is gone.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn parts(&self, after: i32, limit: usize) -> Result<Option<Vec<Part>>, StoreError> {
        let inner = &self.store.inner;
        let mut parts = Vec::new();
        let mut marker = after;
        loop {
            let page = i32::try_from((limit - parts.len()).min(1000)).unwrap_or(1000);
            let request = inner
                .client
                .list_parts()
                .bucket(&inner.bucket)
                .key(&self.path)
                .upload_id(&self.upload_id)
                .part_number_marker(marker.to_string())
                .max_parts(page)
                .customize()
                .mutate_request(at_leader(inner.lags));
            let listed = match Box::pin(request.send()).await {
                Ok(listed) => listed,
                Err(error) => return translate("ListParts", &error).map_or(Ok(None), Err),
            };
            let before = marker;
            for part in listed.parts() {
                let number = part.part_number().unwrap_or_default();
                let len = u64::try_from(part.size().unwrap_or_default()).unwrap_or_default();
                parts.push(Part::new("ListParts", number, len, part.e_tag())?);
                marker = marker.max(number);
            }
            if listed.is_truncated() != Some(true) || parts.len() >= limit || marker == before {
                return Ok(Some(parts));
            }
        }
    }

    /// Makes the object appear, with these parts in the order of their numbers, where the key says what its bytes are:
    /// an object that is there already is as good.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn complete(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        let unavailable =
            |cause: &str| StoreError::Unavailable { operation: "CompleteMultipartUpload", cause: cause.into() };
        match self.try_complete(parts).await? {
            Completed::Done => Ok(()),
            Completed::Refused(error) => Err(error),
            Completed::Gone => {
                // A retried Complete finds the upload gone when the first attempt did its work unheard.
                if self.store.path_is_there_now(&self.path).await? {
                    Ok(())
                } else {
                    Err(unavailable("the upload is gone"))
                }
            }
        }
    }

    /// Makes the object appear, of exactly these parts in the order of their numbers.
    ///
    /// # Errors
    /// The bucket did not answer; it may have done it.
    pub async fn try_complete(&self, mut parts: Vec<Part>) -> Result<Completed, StoreError> {
        parts.sort_by_key(|part| part.number);
        let parts = parts
            .into_iter()
            .map(|part| CompletedPart::builder().part_number(part.number).e_tag(format!("\"{}\"", part.etag)).build())
            .collect();
        let inner = &self.store.inner;
        let request = inner
            .bulk
            .complete_multipart_upload()
            .bucket(&inner.bucket)
            .key(&self.path)
            .upload_id(&self.upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .customize()
            .mutate_request(at_leader(inner.lags));
        let Err(error) = Box::pin(request.send()).await else {
            return Ok(Completed::Done);
        };
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if matches!(code, Some("InvalidPart" | "InvalidPartOrder")) {
            return Ok(Completed::Refused(failure("CompleteMultipartUpload", &error)));
        }
        translate("CompleteMultipartUpload", &error).map_or(Ok(Completed::Gone), Err)
    }

    /// Throws the parts away. An upload that is already gone is fine.
    ///
    /// # Errors
    /// The bucket did not answer; the parts stay until they are swept.
    pub async fn abort(&self) -> Result<(), StoreError> {
        self.store.abort_path(&self.path, &self.upload_id).await
    }

    /// [`abort`](Self::abort) for callers that can do nothing about a failure.
    pub(super) async fn abort_or_log(&self) {
        if let Err(error) = self.abort().await {
            tracing::warn!(%error, key = self.path, "cannot abort a multipart upload, its parts stay until they are swept");
        }
    }
}
