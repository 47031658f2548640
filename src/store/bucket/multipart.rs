//! Multipart uploads, by which a blob of any size is stored a few parts at a time.

use std::time::SystemTime;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::upload_part_copy::builders::UploadPartCopyFluentBuilder;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::handle::Store;
use super::read::system_time;
use crate::oci::{MediaType, Slice};
use crate::store::body::{PartSource, body};
use crate::store::error::{StoreError, failure, found};
use crate::store::filled_for::FilledFor;
use crate::store::key::Key;
use crate::store::lengths::{signed, unsigned};
use crate::store::options::with_put_options;

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
    /// Its number; the first is 1.
    pub number: i32,
    /// Its size in bytes.
    pub len: u64,
    /// Differs from that of any other bytes under the same number; without quotes.
    pub etag: String,
}

/// The outcome of [`Multipart::try_complete`].
#[derive(Debug)]
pub enum Completed {
    /// The object is there, of exactly these parts.
    Done,
    /// The upload is gone: completed before, perhaps of other parts, or aborted.
    Gone,
    /// `InvalidPart`: a part was replaced, or the parts break a rule of this store. Only [`Multipart::parts`] tells.
    Refused(StoreError),
}

impl Part {
    /// A part without an `ETag` could be any part: an error.
    pub(super) fn new(operation: &'static str, number: i32, len: u64, etag: Option<&str>) -> Result<Self, StoreError> {
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
        self.begin_for(key, None).await
    }

    /// [`begin`](Self::begin), of a blob that is filled for a repository.
    ///
    /// # Errors
    /// The bucket did not answer.
    pub async fn begin_filled(&self, key: Key<'_>, filled_for: FilledFor) -> Result<Multipart, StoreError> {
        self.begin_for(key, Some(filled_for)).await
    }

    async fn begin_for(&self, key: Key<'_>, filled_for: Option<FilledFor>) -> Result<Multipart, StoreError> {
        let (path, inner) = (self.path(&key), &self.inner);
        let request = inner.client.create_multipart_upload().bucket(&inner.bucket).key(&path);
        let request = with_put_options!(request, inner.put)
            .content_type(MediaType::OCTET_STREAM.as_str())
            .set_metadata(filled_for.map(FilledFor::metadata));
        let begun = Box::pin(request.send()).await.map_err(|error| failure("CreateMultipartUpload", &error))?;
        let upload_id = begun.upload_id.unwrap_or_default();
        Ok(Multipart { store: self.clone(), path, upload_id })
    }

    /// An upload that another process may have begun.
    #[must_use]
    pub fn resume(&self, key: Key<'_>, upload_id: String) -> Multipart {
        Multipart { store: self.clone(), path: self.path(&key), upload_id }
    }

    /// Aborts the multipart uploads below a directory key that were begun before `limit`, by any process. Returns how
    /// many were aborted, or would be in a `dry_run`. Some stores list an upload only by its whole key (`MinIO`):
    /// there, none is found.
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
                .set_upload_id_marker(id_marker);
            let page = Box::pin(request.send()).await.map_err(|error| failure("ListMultipartUploads", &error))?;
            for upload in page.uploads() {
                let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else {
                    continue;
                };
                if system_time(upload.initiated()).is_some_and(|begun| begun < limit) {
                    aborted += 1;
                    let upload = Multipart { store: self.clone(), path: key.to_owned(), upload_id: id.to_owned() };
                    if !dry_run && let Err(error) = upload.abort().await {
                        failed = Some(error);
                    }
                }
            }
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) || key_marker.is_none() {
                return failed.map_or(Ok(aborted), Err);
            }
        }
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
        let sent = found("UploadPart", Box::pin(request.send()).await)?;
        sent.map(|sent| Part::new("UploadPart", number, len, sent.e_tag())).transpose()
    }

    /// Makes one part of a slice of another object, whose `copy_source` that is; `None` when the upload or that object
    /// is gone.
    pub(super) async fn part_copy(
        &self,
        number: i32,
        copy_source: &str,
        slice: Slice,
    ) -> Result<Option<Part>, StoreError> {
        let request = self.part_copy_request(number, copy_source);
        let request = request.copy_source_range(format!("bytes={}-{}", slice.start, slice.end - 1));
        let Some(copied) = found("UploadPartCopy", Box::pin(request.send()).await)? else {
            return Ok(None);
        };
        let etag = copied.copy_part_result().and_then(|result| result.e_tag());
        Part::new("UploadPartCopy", number, slice.end - slice.start, etag).map(Some)
    }

    /// A request that makes one part of another object, whose `copy_source` that is.
    pub(super) fn part_copy_request(&self, number: i32, copy_source: &str) -> UploadPartCopyFluentBuilder {
        let inner = &self.store.inner;
        let request = inner.bulk.upload_part_copy().bucket(&inner.bucket).key(&self.path).upload_id(&self.upload_id);
        request.part_number(number).copy_source(copy_source)
    }

    /// The store's id of the upload.
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
                .max_parts(page);
            let Some(listed) = found("ListParts", Box::pin(request.send()).await)? else {
                return Ok(None);
            };
            let before = marker;
            for part in listed.parts() {
                let number = part.part_number().unwrap_or_default();
                parts.push(Part::new("ListParts", number, unsigned(part.size()), part.e_tag())?);
                marker = marker.max(number);
            }
            if listed.is_truncated() != Some(true) || parts.len() >= limit || marker == before {
                return Ok(Some(parts));
            }
        }
    }

    /// Makes the object appear, of these parts in the order of their numbers. Its key must determine its bytes: an
    /// object that is there already counts as done.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn complete(&self, parts: Vec<Part>) -> Result<(), StoreError> {
        match self.try_complete(parts).await? {
            Completed::Done => Ok(()),
            Completed::Refused(error) => Err(error),
            // A retry finds the upload gone when the first attempt completed it and its response was lost.
            Completed::Gone if self.store.leader().head_path(&self.path).await?.is_some() => Ok(()),
            Completed::Gone => {
                let cause = "the upload is gone".to_owned();
                Err(StoreError::Unavailable { operation: "CompleteMultipartUpload", cause })
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
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        let Err(error) = Box::pin(request.send()).await else {
            return Ok(Completed::Done);
        };
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
        if matches!(code, Some("InvalidPart" | "InvalidPartOrder")) {
            return Ok(Completed::Refused(failure("CompleteMultipartUpload", &error)));
        }
        found("CompleteMultipartUpload", Err::<(), _>(error)).map(|_| Completed::Gone)
    }

    /// Deletes the parts. An upload that is already gone is fine.
    ///
    /// # Errors
    /// The bucket did not answer; the parts stay until they are swept.
    pub async fn abort(&self) -> Result<(), StoreError> {
        let inner = &self.store.inner;
        let request = inner.client.abort_multipart_upload().bucket(&inner.bucket).key(&self.path);
        let aborted = Box::pin(request.upload_id(&self.upload_id).send()).await;
        found("AbortMultipartUpload", aborted).map(drop)
    }

    /// [`abort`](Self::abort) for callers that can do nothing about a failure.
    pub(super) async fn abort_or_log(&self) {
        if let Err(error) = self.abort().await {
            tracing::warn!(%error, key = self.path, "cannot abort a multipart upload, its parts stay until a sweep");
        }
    }
}
