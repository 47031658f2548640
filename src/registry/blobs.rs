//! Pulling blobs (end-2).
//!
//! Two facts decide: whether the blob is the repository's (a manifest of it names the blob, a layer link says so, or
//! the upstream does), and whether the bucket has it. Both known: a redirect without any I/O. Not known: both are asked
//! for at once. Not in the bucket: [`cold`](super::cold). In the bucket only just now, where its regions lag behind
//! each other: streamed from the leader, because the client's region may answer a redirect with a 404.

use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use url::Url;

use super::Registry;
use super::cache::KnownBlob;
use super::cold::Fetched;
use super::failure::of_store;
use super::members::{Known, blob_unknown};
use crate::oci::{Digest, Error, ErrorCode, Outcome, RangeRequest, RepositoryName, Slice};
use crate::store::Key;

/// A request for a blob.
#[derive(Clone, Debug)]
pub struct BlobRequest<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The blob.
    pub digest: &'a Digest,
    /// The part of it that is wanted.
    pub range: RangeRequest,
    /// How the client reached pounce, for URLs that lead back to it.
    pub base: &'a Url,
    /// Whether the client can be sent elsewhere for it. If not, the blob comes through pounce.
    pub redirect: bool,
}

/// How a blob gets to a client.
pub enum BlobAccess {
    /// The client fetches it there, Range and all: from the bucket (`Hit`), or where the upstream has it (`Redirect`).
    Redirect(String, Outcome),
    /// It comes through pounce.
    Stream(BlobStream),
}

/// A blob or a part of it, on its way through pounce.
pub struct BlobStream {
    /// The size of the whole blob, where the upstream tells.
    pub size: Option<u64>,
    /// The part that comes, if it is not the whole.
    pub part: Option<BlobPart>,
    /// The bytes. An error means that the blob cannot be had whole: the connection has to break.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
    /// Where they come from.
    pub outcome: Outcome,
}

/// A part of a blob whose size is known.
#[derive(Clone, Copy, Debug)]
pub struct BlobPart {
    /// From where to where.
    pub slice: Slice,
    /// The size of the whole blob in bytes.
    pub of: u64,
}

impl BlobPart {
    pub(super) const fn is_whole(self) -> bool {
        self.slice.len() == self.of
    }
}

/// What a HEAD tells of a blob.
#[derive(Clone, Copy, Debug)]
pub struct BlobInfo {
    /// Its size in bytes.
    pub size: u64,
}

impl Registry {
    /// Gives access to a blob.
    ///
    /// # Errors
    /// - `BLOB_UNKNOWN`: the repository does not have it, nor does the upstream.
    /// - `RANGE_INVALID`: no byte of it lies in the range.
    /// - `DENIED`: the upstream refuses pounce's credentials.
    /// - `TOOMANYREQUESTS`, `UNAVAILABLE`: it is not stored, and the upstream cannot be asked.
    pub async fn blob(&self, request: BlobRequest<'_>) -> Result<BlobAccess, Error> {
        let known = self.known(request.name, request.digest).await?;
        let access = match known.stored {
            Some(size) => self.access_stored(&request, known, size).await?,
            None => match self.fetch(&request, known).await? {
                Fetched::Stream(stream) => BlobAccess::Stream(stream),
                Fetched::Elsewhere(url) => BlobAccess::Redirect(url.to_string(), Outcome::Redirect),
                // A fill ended between the one question and the other.
                Fetched::Stored(size) => self.access_stored(&request, known, size).await?,
            },
        };
        self.inner.metrics.blob(match &access {
            BlobAccess::Redirect(_, outcome) => *outcome,
            BlobAccess::Stream(stream) => stream.outcome,
        });
        Ok(access)
    }

    /// A blob's size. The manifest's word is taken for a blob that is not stored yet: some upstreams answer no HEAD for
    /// blobs.
    ///
    /// # Errors
    /// As [`blob`](Self::blob), without `RANGE_INVALID`.
    pub async fn blob_info(&self, name: &RepositoryName, digest: &Digest) -> Result<BlobInfo, Error> {
        let known = self.known(name, digest).await?;
        if let Some(size) = known.stored {
            self.require_member(name, digest, known, size).await?;
            return Ok(BlobInfo { size });
        }
        if let Some(size) = known.announced {
            return Ok(BlobInfo { size });
        }
        let size = self.upstream_size(name, digest).await?;
        size.map(|size| BlobInfo { size }).ok_or_else(|| {
            Error::new(ErrorCode::Unavailable, "the upstream registry does not tell the size of this blob")
        })
    }

    /// [`blob`](Self::blob), where everything that it takes is in memory: a redirect to a URL that was made already.
    #[must_use]
    pub fn known_blob(&self, request: &BlobRequest<'_>) -> Option<BlobAccess> {
        if self.inner.stream_blobs || !request.redirect {
            return None;
        }
        let (cache, base) = (&self.inner.cache, self.url_base(request));
        let known = cache.blob(request.name, request.digest, base)?;
        let url = known.url?.url(request.digest);
        self.inner.metrics.blob(Outcome::Hit);
        Some(BlobAccess::Redirect(url, Outcome::Hit))
    }

    /// [`blob_info`](Self::blob_info), where it is in memory that the repository has the blob and the bucket too.
    #[must_use]
    pub fn known_blob_info(&self, name: &RepositoryName, digest: &Digest) -> Option<BlobInfo> {
        let KnownBlob { size, .. } = self.inner.cache.blob(name, digest, None)?;
        Some(BlobInfo { size })
    }

    /// Whether every stored blob comes through pounce (`storage.redirect.disable`).
    #[must_use]
    pub fn streams_blobs(&self) -> bool {
        self.inner.stream_blobs
    }

    /// What a blob's URL depends on besides its digest.
    fn url_base<'a>(&self, request: &BlobRequest<'a>) -> Option<&'a str> {
        let depends = self.inner.store.presigns_for_callers_host();
        depends.then(|| request.base.as_str())
    }

    async fn access_stored(&self, request: &BlobRequest<'_>, known: Known, size: u64) -> Result<BlobAccess, Error> {
        let (store, digest) = (&self.inner.store, request.digest);
        self.require_member(request.name, digest, known, size).await?;
        let is_young = self.inner.cache.is_young(digest);
        if self.inner.stream_blobs || !request.redirect || is_young {
            let part = resolve(&request.range, Some(size))?;
            let (key, slice) = (Key::Blob(digest), part.map(|part| part.slice));
            let stream = if is_young { store.stream_now(key, slice).await } else { store.stream(key, slice).await };
            let stream = stream.map_err(of_store)?;
            let Some(stream) = stream else {
                // Somebody took it out of the bucket: the next request may have it filled again.
                self.inner.cache.forget_present(digest);
                return Err(blob_unknown(request.name, digest));
            };
            let bytes = stream.bytes;
            let outcome = Outcome::Stream;
            return Ok(BlobAccess::Stream(BlobStream { size: Some(size), part, bytes, outcome }));
        }
        let base = self.url_base(request);
        let presigned = if let Some(presigned) = self.inner.cache.url(digest, base) {
            presigned
        } else {
            let made = store.presign_blob(digest, request.base).await;
            let presigned = made.map_err(of_store)?;
            self.inner.cache.keep_url(*digest, base, presigned.clone());
            presigned
        };
        Ok(BlobAccess::Redirect(presigned.url(digest), Outcome::Hit))
    }
}

/// With the size unknown, the whole is what any range gets.
pub(super) fn resolve(range: &RangeRequest, size: Option<u64>) -> Result<Option<BlobPart>, Error> {
    let Some(of) = size else {
        return Ok(None);
    };
    let slice = range.resolve(of).map_err(|()| range_invalid(size))?;
    Ok(slice.map(|slice| BlobPart { slice, of }))
}

pub(super) fn range_invalid(size: Option<u64>) -> Error {
    let message = "no byte of the blob lies in the requested range";
    Error::new(ErrorCode::RangeInvalid, message).of_size(size)
}
