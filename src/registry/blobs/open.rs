//! Opening a blob: a redirect, a stream from the bucket, or a cold blob.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::Blobs;
use crate::oci::{Digest, Error, ErrorCode, Outcome, RangeRequest, RepositoryName, Slice};
use crate::registry::blob_part::BlobPart;
use crate::registry::links::BlobStatus;
use crate::registry::presence::blob_unknown;
use crate::store::Key;

/// A request for a blob.
#[derive(Clone, Debug)]
pub struct BlobRequest<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The blob.
    pub digest: &'a Digest,
    /// The part of it that the client wants.
    pub range: RangeRequest,
    /// The URL by which the client reached pounce, for URLs that lead back to it.
    pub base: &'a str,
    /// Whether the client can be redirected. If not, the blob comes through pounce.
    pub redirect: bool,
}

impl BlobRequest<'_> {
    /// How many bytes of a blob of this size a client gets where it is redirected, if it reads what it asked for.
    fn bytes(&self, size: u64) -> u64 {
        match self.range.slices(size) {
            Ok(slices) if slices.is_empty() => size,
            Ok(slices) => slices.iter().map(Slice::len).sum(),
            Err(()) => 0,
        }
    }
}

/// How a client gets a blob.
pub enum BlobAccess {
    /// The client fetches it there, Range and all: from the bucket (`Hit`), or where the upstream has it (`Redirect`).
    Redirect(String, Outcome),
    /// It comes through pounce.
    Stream(BlobStream),
}

/// A blob or a part of it, on its way through pounce.
pub struct BlobStream {
    /// The size of the whole blob in bytes, where the upstream says it.
    pub size: Option<u64>,
    /// The part that comes, if it is not the whole.
    pub part: Option<BlobPart>,
    /// The bytes. After an error, the blob cannot be had whole, and the connection has to break.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
    /// Where they come from.
    pub outcome: Outcome,
}

/// What a HEAD says of a blob.
#[derive(Clone, Copy, Debug)]
pub struct BlobInfo {
    /// Its size in bytes.
    pub size: u64,
}

impl Blobs {
    /// Opens a blob.
    ///
    /// # Errors
    /// - `BLOB_UNKNOWN`: the repository does not have it, nor does the upstream.
    /// - `RANGE_INVALID`: no byte of it lies in the range.
    /// - `DENIED`: the upstream refuses pounce's credentials.
    /// - `TOOMANYREQUESTS`, `UNAVAILABLE`: it is not stored, and the upstream cannot be asked.
    pub async fn open(&self, request: BlobRequest<'_>) -> Result<BlobAccess, Error> {
        let name = request.name;
        let status = self.links.status(request.name, request.digest).await?;
        let access = match status.stored {
            Some(size) => self.open_stored(&request, status, size).await?,
            None => self.open_cold(&request, status).await?,
        };
        let outcome = match &access {
            BlobAccess::Redirect(_, outcome) => *outcome,
            BlobAccess::Stream(stream) => stream.outcome,
        };
        self.count(name, outcome);
        Ok(access)
    }

    fn count(&self, name: &RepositoryName, outcome: Outcome) {
        match self.upstreams.of(name) {
            Some(upstream) => upstream.metrics().blob(outcome),
            None => self.metrics.of_no_upstream().blob(outcome),
        }
    }

    /// [`open`](Self::open), where everything is in memory: a redirect to a URL that was made before.
    #[must_use]
    pub fn open_from_memory(&self, request: &BlobRequest<'_>) -> Option<BlobAccess> {
        if self.stream_all || !request.redirect {
            return None;
        }
        let (url, size) = self.cache.blobs.location(request.name, request.digest, self.url_base(request))?;
        self.count(request.name, Outcome::Hit);
        self.metrics.redirected_bytes(request.bytes(size));
        Some(BlobAccess::Redirect(url, Outcome::Hit))
    }

    /// A blob's size. The manifest is believed for a blob that is not stored yet, because some upstreams answer no HEAD
    /// for blobs.
    ///
    /// # Errors
    /// As [`open`](Self::open), without `RANGE_INVALID`.
    pub async fn info(&self, name: &RepositoryName, digest: &Digest) -> Result<BlobInfo, Error> {
        let status = self.links.status(name, digest).await?;
        if let Some(size) = status.stored {
            self.links.require(name, digest, status, size).await?;
            return Ok(BlobInfo { size });
        }
        if let Some(size) = status.announced {
            return Ok(BlobInfo { size });
        }
        let size = self.links.upstream_size(name, digest).await?;
        size.map(|size| BlobInfo { size }).ok_or_else(|| {
            Error::new(ErrorCode::Unavailable, "the upstream registry does not tell the size of this blob")
        })
    }

    /// [`info`](Self::info), where it is in memory that the repository and the bucket have the blob.
    #[must_use]
    pub fn info_from_memory(&self, name: &RepositoryName, digest: &Digest) -> Option<BlobInfo> {
        let size = self.cache.blobs.size(name, digest)?;
        Some(BlobInfo { size })
    }

    /// Whether every stored blob comes through pounce (`storage.redirect.disable`).
    #[must_use]
    pub fn streams_all(&self) -> bool {
        self.stream_all
    }

    /// Whether the URLs that blobs are redirected to depend on how the client reached pounce.
    #[must_use]
    pub fn urls_depend_on_caller(&self) -> bool {
        self.store.presigns_for_callers_host()
    }

    /// Takes a blob from a repository. A blob that a manifest of the repository still names can be pulled through
    /// again, where there is an upstream that has it.
    ///
    /// # Errors
    /// - `BLOB_UNKNOWN`: the bucket does not have it in this repository.
    /// - `NAME_UNKNOWN`: nor anything else of the repository.
    /// - `UNSUPPORTED`: `storage.delete.enabled` is off, or the registry is read-only.
    /// - `UNAVAILABLE`.
    pub async fn delete(&self, name: &RepositoryName, digest: &Digest) -> Result<(), Error> {
        self.changes.allow_delete()?;
        let (links, name, digest) = (Arc::clone(&self.links), name.clone(), *digest);
        self.background.complete(async move { links.delete(&name, &digest).await }).await
    }

    /// What a blob's URL depends on besides its digest.
    fn url_base<'a>(&self, request: &BlobRequest<'a>) -> Option<&'a str> {
        self.urls_depend_on_caller().then_some(request.base)
    }

    pub(super) async fn open_stored(
        &self,
        request: &BlobRequest<'_>,
        status: BlobStatus,
        size: u64,
    ) -> Result<BlobAccess, Error> {
        let (store, blobs, digest) = (&self.store, &self.cache.blobs, request.digest);
        self.links.require(request.name, digest, status, size).await?;
        let is_young = blobs.is_young(digest);
        if self.stream_all || !request.redirect || is_young {
            let part = BlobPart::resolve(&request.range, Some(size))?;
            let (key, slice) = (Key::Blob(digest), part.map(|part| part.slice));
            let stream =
                if is_young { store.leader().stream(key, slice).await } else { store.stream(key, slice).await };
            let Some(stream) = stream? else {
                // It was deleted from the bucket: the next request may fill it again.
                blobs.forget_present(digest);
                return Err(blob_unknown(request.name, digest));
            };
            let bytes = stream.bytes;
            return Ok(BlobAccess::Stream(BlobStream { size: Some(size), part, bytes, outcome: Outcome::Stream }));
        }
        let base = self.url_base(request);
        let presigned = if let Some(presigned) = blobs.url(digest, base) {
            presigned
        } else {
            let presigned = store.presign_blob(digest, request.base).await?;
            blobs.keep_url(*digest, base, presigned.clone());
            presigned
        };
        self.metrics.redirected_bytes(request.bytes(size));
        Ok(BlobAccess::Redirect(presigned.url(digest), Outcome::Hit))
    }
}
