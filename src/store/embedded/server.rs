//! The S3 operations that pounce needs, over a [`Folder`].

use std::io;

use s3s::dto::{self, StreamingBlob, Timestamp};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::faults::internal;
use super::folder::{Attributes, Folder, etag, matches};
use crate::store::lengths::signed;

/// The header by which Tigris makes a copy a rename; this server does so too.
const RENAME: &str = "x-tigris-rename";
/// How much is read from a file at once: a client that stops reading keeps some such pieces in memory.
const READ_BYTES: usize = 64 << 10;

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait::async_trait]
impl S3 for Folder {
    async fn head_bucket(&self, request: S3Request<dto::HeadBucketInput>) -> Answer<dto::HeadBucketOutput> {
        self.run(request, |folder, _| {
            let is_there = folder.state().is_dir().then(dto::HeadBucketOutput::default);
            is_there.ok_or_else(|| s3_error!(InternalError, "the folder is not there any more"))
        })
        .await
    }

    async fn head_object(&self, request: S3Request<dto::HeadObjectInput>) -> Answer<dto::HeadObjectOutput> {
        self.run(request, |folder, input| {
            let (_, found, attributes) = folder.open_object(&input.bucket, &input.key)?;
            Ok(dto::HeadObjectOutput {
                content_length: Some(signed(found.len())),
                content_type: attributes.content_type,
                metadata: attributes.metadata,
                e_tag: Some(etag(&found)),
                last_modified: found.modified().ok().map(Timestamp::from),
                ..Default::default()
            })
        })
        .await
    }

    async fn get_object(&self, request: S3Request<dto::GetObjectInput>) -> Answer<dto::GetObjectOutput> {
        let (folder, input) = (self.clone(), request.input);
        let (range, if_match, if_none_match) = (input.range, input.if_match, input.if_none_match);
        let (file, found, attributes) = self.blocking(move || folder.open_object(&input.bucket, &input.key)).await?;
        let (size, tag) = (found.len(), etag(&found));
        if if_match.is_some_and(|wanted| !matches(&wanted, &tag)) {
            return Err(s3_error!(PreconditionFailed));
        }
        if if_none_match.is_some_and(|known| matches(&known, &tag)) {
            return Err(s3_error!(NotModified));
        }
        let slice = match range {
            None => 0..size,
            // The crate accepts the last bytes of an empty object.
            Some(_) if size == 0 => return Err(s3_error!(InvalidRange)),
            Some(range) => range.check(size)?,
        };
        let len = slice.end - slice.start;
        let mut file = tokio::fs::File::from_std(file);
        file.set_max_buf_size(READ_BYTES);
        file.seek(io::SeekFrom::Start(slice.start)).await.map_err(internal)?;
        let body = ReaderStream::with_capacity(file.take(len), READ_BYTES);
        Ok(S3Response::new(dto::GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            content_length: Some(signed(len)),
            content_range: range.map(|_| format!("bytes {}-{}/{size}", slice.start, slice.end - 1)),
            accept_ranges: Some("bytes".into()),
            content_type: attributes.content_type,
            metadata: attributes.metadata,
            e_tag: Some(tag),
            last_modified: found.modified().ok().map(Timestamp::from),
            ..Default::default()
        }))
    }

    async fn put_object(&self, mut request: S3Request<dto::PutObjectInput>) -> Answer<dto::PutObjectOutput> {
        self.file(&request.input.bucket, &request.input.key)?;
        let file = self.receive(request.input.body.take()).await?;
        self.run(request, |folder, input| {
            file.as_file().sync_data().map_err(internal)?;
            let _lock = folder.lock();
            folder.check_conditions(
                &input.bucket,
                &input.key,
                input.if_none_match.as_ref(),
                input.if_match.as_ref(),
            )?;
            let tag = etag(&file.as_file().metadata().map_err(internal)?);
            let attributes = Attributes { content_type: input.content_type, metadata: input.metadata };
            let path = folder.file(&input.bucket, &input.key)?;
            folder.commit(file, &path, &input.key, &attributes).map_err(internal)?;
            Ok(dto::PutObjectOutput { e_tag: Some(tag), ..Default::default() })
        })
        .await
    }

    async fn list_objects_v2(&self, request: S3Request<dto::ListObjectsV2Input>) -> Answer<dto::ListObjectsV2Output> {
        self.run(request, Self::list).await
    }

    async fn list_objects(&self, request: S3Request<dto::ListObjectsInput>) -> Answer<dto::ListObjectsOutput> {
        self.run(request, Self::list_v1).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> Answer<dto::CreateMultipartUploadOutput> {
        self.run(request, Self::begin_upload).await
    }

    async fn upload_part(&self, request: S3Request<dto::UploadPartInput>) -> Answer<dto::UploadPartOutput> {
        self.receive_part(request.input).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> Answer<dto::CompleteMultipartUploadOutput> {
        self.run(request, Self::complete_upload).await
    }

    async fn list_parts(&self, request: S3Request<dto::ListPartsInput>) -> Answer<dto::ListPartsOutput> {
        self.run(request, Self::parts_of).await
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> Answer<dto::ListMultipartUploadsOutput> {
        self.run(request, Self::list_uploads).await
    }

    async fn copy_object(&self, request: S3Request<dto::CopyObjectInput>) -> Answer<dto::CopyObjectOutput> {
        let rename = request.headers.get(RENAME).is_some_and(|value| value == "true");
        self.run(request, move |folder, input| folder.copy(&input, rename)).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> Answer<dto::UploadPartCopyOutput> {
        self.run(request, |folder, input| folder.copy_part(&input)).await
    }

    async fn delete_object(&self, request: S3Request<dto::DeleteObjectInput>) -> Answer<dto::DeleteObjectOutput> {
        self.run(request, |folder, input| {
            let _lock = folder.lock();
            folder.check_conditions(&input.bucket, &input.key, None, input.if_match.as_ref())?;
            folder.delete_keys(&input.bucket, &[input.key])?;
            Ok(dto::DeleteObjectOutput::default())
        })
        .await
    }

    async fn delete_objects(&self, request: S3Request<dto::DeleteObjectsInput>) -> Answer<dto::DeleteObjectsOutput> {
        self.run(request, |folder, input| {
            let keys: Vec<String> = input.delete.objects.into_iter().map(|object| object.key).collect();
            let _lock = folder.lock();
            folder.delete_keys(&input.bucket, &keys)?;
            let deleted = keys.into_iter().map(|key| dto::DeletedObject { key: Some(key), ..Default::default() });
            Ok(dto::DeleteObjectsOutput { deleted: Some(deleted.collect()), ..Default::default() })
        })
        .await
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> Answer<dto::AbortMultipartUploadOutput> {
        self.run(request, |folder, input| folder.abort_upload(&input.upload_id)).await
    }
}

impl Folder {
    /// Answers a request by work on files, off the async threads.
    async fn run<I: Send + 'static, O: Send + 'static>(
        &self,
        request: S3Request<I>,
        work: impl FnOnce(&Self, I) -> S3Result<O> + Send + 'static,
    ) -> Answer<O> {
        let folder = self.clone();
        self.blocking(move || work(&folder, request.input)).await.map(S3Response::new)
    }

    /// Checks the conditions of a write or a delete against the object's present state.
    fn check_conditions(
        &self,
        bucket: &str,
        key: &str,
        if_none_match: Option<&dto::IfNoneMatch>,
        if_match: Option<&dto::IfMatch>,
    ) -> S3Result<()> {
        if if_none_match.is_none() && if_match.is_none() {
            return Ok(());
        }
        let found = match self.open_object(bucket, key) {
            Ok((_, found, _)) => Some(etag(&found)),
            Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchKey => None,
            Err(error) => return Err(error),
        };
        if if_match.is_some() && found.is_none() {
            return Err(s3_error!(NoSuchKey));
        }
        let absent = if_none_match.is_none_or(|it| it.is_any() && found.is_none());
        let unchanged = if_match.is_none_or(|wanted| found.as_ref().is_some_and(|found| matches(wanted, found)));
        if absent && unchanged { Ok(()) } else { Err(s3_error!(PreconditionFailed)) }
    }
}
