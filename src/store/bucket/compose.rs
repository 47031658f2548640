//! An object made of whole other objects, by `UploadPartCopy`: none of its bytes leaves the bucket.
//!
//! Each source is named by its `ETag`, too (`x-amz-copy-source-if-match`), so that the bucket refuses one that is not
//! the one that the caller verified. A bucket that ignores the header copies whatever is there: a caller to which that
//! matters compares the sources by a list once more before it completes the upload.

use aws_sdk_s3::error::ProvideErrorMetadata;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::handle::Store;
use super::multipart::{Multipart, Part};
use crate::store::error::{Refusal, StoreError, found, refusal};
use crate::store::key::Key;

const OPERATION: &str = "UploadPartCopy";

/// How many objects are copied at once at most, whatever `storage.s3.multipartcopymaxconcurrency` says: its default is
/// for rare copies, and fills are many.
const MAX_PARALLEL: usize = 16;

/// An object that becomes a part of another one.
#[derive(Clone, Copy, Debug)]
pub struct ComposeSource<'a> {
    /// Where it is.
    pub key: Key<'a>,
    /// The `ETag` that it must have, as the bucket spells it.
    pub etag: &'a str,
    /// Its size in bytes: 5 MiB to 5 GiB, but for the last one.
    pub len: u64,
}

/// The outcome of [`Store::compose`].
#[derive(Debug)]
pub enum Composed {
    /// The upload has these parts, in the order of the sources. The caller completes it.
    Parts(Vec<Part>),
    /// The source of this index, from 0, has another `ETag`.
    SourceChanged(usize),
    /// The source of this index is not there.
    SourceMissing(usize),
    /// The upload is gone.
    Gone,
    /// The bucket does not copy objects into parts, or not these.
    Unsupported,
}

/// What one source becomes.
enum Copied {
    Part(Part),
    Not(Composed),
}

impl Store {
    /// Makes the parts of an upload, from number 1 on, of whole objects. The upload stays as it is after any other
    /// outcome than [`Composed::Parts`]; the caller aborts it, or sends the parts itself.
    ///
    /// # Errors
    /// The bucket did not copy one.
    pub async fn compose(&self, upload: &Multipart, sources: &[ComposeSource<'_>]) -> Result<Composed, StoreError> {
        if self.inner.lacks_part_copies.is_set() {
            return Ok(Composed::Unsupported);
        }
        let parallel = self.inner.copy.parallel.min(MAX_PARALLEL);
        let (mut left, mut copies) = ((0..).zip(sources), FuturesUnordered::new());
        let mut parts = Vec::with_capacity(sources.len());
        loop {
            while copies.len() < parallel
                && let Some((index, source)) = left.next()
            {
                copies.push(self.copy_source_whole(upload, index, source));
            }
            match copies.next().await.transpose()? {
                Some(Copied::Part(part)) => parts.push(part),
                Some(Copied::Not(outcome)) => return Ok(outcome),
                None => break,
            }
        }
        parts.sort_by_key(|part| part.number);
        Ok(Composed::Parts(parts))
    }

    async fn copy_source_whole(
        &self,
        upload: &Multipart,
        index: usize,
        source: &ComposeSource<'_>,
    ) -> Result<Copied, StoreError> {
        // S3 refuses numbers over 10,000.
        let number = i32::try_from(index + 1).unwrap_or(i32::MAX);
        let request = upload.part_copy_request(number, &self.copy_source(&source.key));
        let copied = Box::pin(request.copy_source_if_match(source.etag).send()).await;
        let error = match copied {
            Ok(copied) => {
                let etag = copied.copy_part_result().and_then(|result| result.e_tag());
                return Part::new(OPERATION, number, source.len, etag).map(Copied::Part);
            }
            Err(error) => error,
        };
        if error.as_service_error().and_then(ProvideErrorMetadata::code) == Some("NoSuchUpload") {
            return Ok(Copied::Not(Composed::Gone));
        }
        match refusal(&error) {
            Some(Refusal::Unmet) => Ok(Copied::Not(Composed::SourceChanged(index))),
            Some(Refusal::Unknown) => {
                let status = error.raw_response().map(|response| response.status().as_u16());
                // Other refusals may be about these objects.
                if matches!(status, Some(405 | 501)) {
                    self.inner.lacks_part_copies.set();
                }
                tracing::info!(%error, "the bucket does not copy objects into parts: they are sent once more instead");
                Ok(Copied::Not(Composed::Unsupported))
            }
            None => found(OPERATION, Err::<(), _>(error)).map(|_| Copied::Not(Composed::SourceMissing(index))),
        }
    }
}
