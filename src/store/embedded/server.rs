//! The S3 operations that pounce needs, over a [`Folder`].

use std::io;

use s3s::dto::{self, StreamingBlob, Timestamp};
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::faults::internal;
use super::folder::{Attributes, Folder, etag};

/// The header by which Tigris makes a copy a rename; this server does so too.
const RENAME: &str = "x-tigris-rename";
/// How much is read from a file at once: a client that stops reading keeps some such pieces in memory.
const READ_BYTES: usize = 64 << 10;

#[async_trait::async_trait]
impl S3 for Folder {
    async fn head_bucket(&self, _: S3Request<dto::HeadBucketInput>) -> S3Result<S3Response<dto::HeadBucketOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || {
            if folder.state().is_dir() {
                return Ok(S3Response::new(dto::HeadBucketOutput::default()));
            }
            Err(s3_error!(InternalError, "the folder is not there any more"))
        })
        .await
    }

    async fn head_object(
        &self,
        request: S3Request<dto::HeadObjectInput>,
    ) -> S3Result<S3Response<dto::HeadObjectOutput>> {
        let (folder, input) = (self.clone(), request.input);
        let (_, found, attributes) = self.blocking_s3(move || folder.look(&input.bucket, &input.key)).await?;
        Ok(S3Response::new(dto::HeadObjectOutput {
            content_length: Some(signed(found.len())),
            content_type: attributes.content_type,
            metadata: attributes.metadata,
            e_tag: Some(etag(&found)),
            last_modified: found.modified().ok().map(Timestamp::from),
            ..Default::default()
        }))
    }

    async fn get_object(&self, request: S3Request<dto::GetObjectInput>) -> S3Result<S3Response<dto::GetObjectOutput>> {
        let (folder, range) = (self.clone(), request.input.range);
        let input = request.input;
        let (file, found, attributes) = self.blocking_s3(move || folder.look(&input.bucket, &input.key)).await?;
        let size = found.len();
        let slice = match range {
            None => 0..size,
            // The last bytes of nothing are a range to the crate.
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
            e_tag: Some(etag(&found)),
            last_modified: found.modified().ok().map(Timestamp::from),
            ..Default::default()
        }))
    }

    async fn put_object(&self, request: S3Request<dto::PutObjectInput>) -> S3Result<S3Response<dto::PutObjectOutput>> {
        let mut input = request.input;
        let path = self.file(&input.bucket, &input.key)?;
        let attributes = Attributes { content_type: input.content_type.take(), metadata: input.metadata.take() };
        let file = self.receive(input.body.take()).await?;
        let folder = self.clone();
        let tag = self
            .blocking_s3(move || {
                file.as_file().sync_data().map_err(internal)?;
                let _turn = folder.turn();
                let conditions = (input.if_none_match.as_ref(), input.if_match.as_ref());
                folder.allows(&input.bucket, &input.key, conditions)?;
                let tag = etag(&file.as_file().metadata().map_err(internal)?);
                folder.commit(file, &path, &input.key, &attributes).map_err(internal)?;
                Ok(tag)
            })
            .await?;
        Ok(S3Response::new(dto::PutObjectOutput { e_tag: Some(tag), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<dto::ListObjectsV2Input>,
    ) -> S3Result<S3Response<dto::ListObjectsV2Output>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.list(request.input)).await.map(S3Response::new)
    }

    async fn list_objects(
        &self,
        request: S3Request<dto::ListObjectsInput>,
    ) -> S3Result<S3Response<dto::ListObjectsOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.list_first(request.input)).await.map(S3Response::new)
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<dto::CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CreateMultipartUploadOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.begin_upload(request.input)).await.map(S3Response::new)
    }

    async fn upload_part(
        &self,
        request: S3Request<dto::UploadPartInput>,
    ) -> S3Result<S3Response<dto::UploadPartOutput>> {
        self.take_part(request.input).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<dto::CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::CompleteMultipartUploadOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.complete_upload(request.input)).await.map(S3Response::new)
    }

    async fn list_parts(&self, request: S3Request<dto::ListPartsInput>) -> S3Result<S3Response<dto::ListPartsOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.list_parts_of(request.input)).await.map(S3Response::new)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<dto::ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<dto::ListMultipartUploadsOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.list_uploads(request.input)).await.map(S3Response::new)
    }

    async fn copy_object(
        &self,
        request: S3Request<dto::CopyObjectInput>,
    ) -> S3Result<S3Response<dto::CopyObjectOutput>> {
        let folder = self.clone();
        let rename = request.headers.get(RENAME).is_some_and(|value| value == "true");
        self.blocking_s3(move || folder.copy(&request.input, rename)).await.map(S3Response::new)
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<dto::UploadPartCopyInput>,
    ) -> S3Result<S3Response<dto::UploadPartCopyOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.copy_part(&request.input)).await.map(S3Response::new)
    }

    async fn delete_object(
        &self,
        request: S3Request<dto::DeleteObjectInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectOutput>> {
        let (folder, input) = (self.clone(), request.input);
        self.blocking_s3(move || {
            let _turn = folder.turn();
            folder.allows(&input.bucket, &input.key, (None, input.if_match.as_ref()))?;
            folder.delete(&input.bucket, &[input.key])
        })
        .await?;
        Ok(S3Response::new(dto::DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<dto::DeleteObjectsInput>,
    ) -> S3Result<S3Response<dto::DeleteObjectsOutput>> {
        let (folder, input) = (self.clone(), request.input);
        let keys: Vec<String> = input.delete.objects.into_iter().map(|object| object.key).collect();
        let deleted = keys.iter().map(|key| dto::DeletedObject { key: Some(key.clone()), ..Default::default() });
        let deleted = deleted.collect();
        self.blocking_s3(move || {
            let _turn = folder.turn();
            folder.delete(&input.bucket, &keys)
        })
        .await?;
        Ok(S3Response::new(dto::DeleteObjectsOutput { deleted: Some(deleted), ..Default::default() }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<dto::AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<dto::AbortMultipartUploadOutput>> {
        let folder = self.clone();
        self.blocking_s3(move || folder.abort_upload(&request.input.upload_id)).await.map(S3Response::new)
    }
}

impl Folder {
    /// Whether an object's present state allows a write or a delete with these conditions, `If-None-Match` and
    /// `If-Match`.
    fn allows(
        &self,
        bucket: &str,
        key: &str,
        (absent, unchanged): (Option<&dto::IfNoneMatch>, Option<&dto::IfMatch>),
    ) -> S3Result<()> {
        if absent.is_none() && unchanged.is_none() {
            return Ok(());
        }
        let found = match self.look(bucket, key) {
            Ok((_, found, _)) => Some(etag(&found)),
            Err(error) if *error.code() == s3s::S3ErrorCode::NoSuchKey => None,
            Err(error) => return Err(error),
        };
        if unchanged.is_some() && found.is_none() {
            return Err(s3_error!(NoSuchKey));
        }
        let absent = absent.is_none_or(|it| it.is_any() && found.is_none());
        let unchanged = unchanged.is_none_or(|wanted| {
            found.as_ref().is_some_and(|found| wanted.is_any() || wanted.as_etag() == Some(found))
        });
        if absent && unchanged { Ok(()) } else { Err(s3_error!(PreconditionFailed)) }
    }
}

pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
