//! Moving an object that was uploaded under a name of its own to its final key.
//!
//! At Tigris that is a rename: metadata only, whatever the size. Elsewhere the store copies, in parallel parts where
//! the object is large, and the caller deletes the original. Nothing can be read under the final key before all of it
//! is there.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::handle::Store;
use super::multipart::{Multipart, Part};
use super::part_sender::PartSender;
use crate::oci::Slice;
use crate::store::error::{StoreError, found};
use crate::store::key::Key;
use crate::store::options::with_put_options;
use crate::store::part_sizes::{MAX_PART_BYTES, PartSizes};

/// The header by which Tigris makes a copy a rename.
const RENAME: &str = "x-tigris-rename";

/// The characters that are not escaped in the path of a copy's source.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

impl Store {
    /// Moves an object of `size` bytes, or copies it where the store does not rename; `false` when it is not there.
    ///
    /// # Errors
    /// The bucket did not do it. The object may then be at either key, or at both.
    pub async fn relocate(&self, from: Key<'_>, to: Key<'_>, size: u64) -> Result<bool, StoreError> {
        if self.inner.renames {
            return self.copy_whole(from, to, true).await;
        }
        if size <= self.inner.copy.threshold {
            return self.copy_whole(from, to, false).await;
        }
        let sizes = PartSizes::equal(self.inner.copy.chunk, size, MAX_PART_BYTES);
        self.copy_in_parts(from, to, size, sizes.first()).await
    }

    async fn copy_whole(&self, from: Key<'_>, to: Key<'_>, rename: bool) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let request = inner.bulk.copy_object().bucket(&inner.bucket).key(self.path(&to));
        let request = with_put_options!(request, inner.put).copy_source(self.copy_source(&from));
        let request = request.customize().mutate_request(move |request| {
            if rename {
                request.headers_mut().insert(RENAME, "true");
            }
        });
        let copied = found("CopyObject", Box::pin(request.send()).await)?;
        Ok(copied.is_some())
    }

    /// Copies an object of `size` bytes in parts of `chunk`; `false` when it is not there.
    ///
    /// # Errors
    /// The bucket did not do it.
    pub async fn copy_in_parts(&self, from: Key<'_>, to: Key<'_>, size: u64, chunk: u64) -> Result<bool, StoreError> {
        let mut sender = PartSender::new(self.begin(to).await?, self.inner.copy.parallel);
        let copied = async {
            for start in (0..size).step_by(usize::try_from(chunk).unwrap_or(usize::MAX)) {
                let slice = Slice { start, end: size.min(start + chunk) };
                if !sender.copy(self.copy_source(&from), slice).await? {
                    return Ok(false);
                }
            }
            match sender.finish().await? {
                Some(parts) => complete_copied(sender.upload(), parts).await,
                None => Ok(false),
            }
        };
        let copied = copied.await;
        if !matches!(copied, Ok(true)) {
            sender.abort().await;
        }
        copied
    }

    /// `bucket/key`, in the encoding that the copy operations expect.
    pub(super) fn copy_source(&self, key: &Key<'_>) -> String {
        let path = self.path(key);
        format!("{}/{}", self.inner.bucket, utf8_percent_encode(&path, PATH))
    }
}

/// Makes the object appear if the bucket copied the slices that it was asked for: one that does not know ranges copies
/// the whole object for each part. `false`: the upload is gone.
async fn complete_copied(upload: &Multipart, parts: Vec<Part>) -> Result<bool, StoreError> {
    let sizes = |parts: &[Part]| -> Vec<u64> { parts.iter().map(|part| part.len).collect() };
    match upload.parts(0, parts.len()).await {
        Ok(Some(listed)) if sizes(&listed) == sizes(&parts) => {}
        Ok(Some(_)) => {
            return Err(StoreError::Corrupt {
                key: upload.path.clone(),
                cause: "the bucket copied other parts than it was asked for".to_owned(),
            });
        }
        Ok(None) => return Ok(false),
        Err(error) => tracing::debug!(%error, "the store cannot list parts, copied parts are not checked"),
    }
    upload.complete(parts).await.map(|()| true)
}
