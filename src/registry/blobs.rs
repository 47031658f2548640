//! Pulling blobs (end-2).
//!
//! Two facts decide: whether the blob is the repository's (a manifest of it names the blob, a layer
//! link says so, or the upstream does), and whether the bucket has it. Both known: a redirect without
//! any I/O. Not known: both are asked for at once. Not in the bucket: a fill.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use url::Url;

use super::Registry;
use super::failure::{of_store, of_upstream};
use super::fill::{Flow, Joined, Refusal};
use super::members::{Known, blob_unknown};
use crate::oci::{Digest, Error, ErrorCode, RangeRequest, RepositoryName, Slice};
use crate::store::Key;
use crate::telemetry::Outcome;
use crate::upstream::Upstream;

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
}

/// How a blob gets to a client.
pub enum BlobAccess {
    /// The client fetches it there, Range and all.
    Redirect(Arc<str>),
    /// It comes through pounce.
    Stream(BlobStream),
}

/// A blob or a part of it, on its way through pounce.
pub struct BlobStream {
    /// The size of the whole blob, where the upstream tells.
    pub size: Option<u64>,
    /// The part that comes, if it is not the whole.
    pub slice: Option<Slice>,
    /// The bytes. An error means that the blob cannot be had whole: the connection has to break.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
    /// Where they come from.
    pub outcome: Outcome,
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
                // A fill ended between the one question and the other.
                Fetched::Stored(size) => self.access_stored(&request, known, size).await?,
            },
        };
        self.inner.metrics.blob(match &access {
            BlobAccess::Redirect(_) => Outcome::Hit,
            BlobAccess::Stream(stream) => stream.outcome,
        });
        Ok(access)
    }

    /// A blob's size. The manifest's word is taken for a blob that is not stored yet: some upstreams
    /// answer no HEAD for blobs.
    ///
    /// # Errors
    /// As [`blob`](Self::blob), without `RANGE_INVALID`.
    pub async fn blob_info(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobInfo, Error> {
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
            Error::new(
                ErrorCode::Unavailable,
                "the upstream registry does not tell the size of this blob",
            )
        })
    }

    async fn access_stored(
        &self,
        request: &BlobRequest<'_>,
        known: Known,
        size: u64,
    ) -> Result<BlobAccess, Error> {
        let (store, digest) = (&self.inner.store, request.digest);
        self.require_member(request.name, digest, known, size)
            .await?;
        if self.inner.stream_blobs {
            let slice = resolve(&request.range, Some(size))?;
            let stream = store
                .stream(Key::Blob(digest), slice)
                .await
                .map_err(of_store)?;
            let bytes = stream
                .ok_or_else(|| blob_unknown(request.name, digest))?
                .bytes;
            let outcome = Outcome::Stream;
            return Ok(BlobAccess::Stream(BlobStream {
                size: Some(size),
                slice,
                bytes,
                outcome,
            }));
        }
        let base: Arc<str> = if store.presigns_for_callers_host() {
            request.base.as_str().into()
        } else {
            "".into()
        };
        if let Some(url) = self.inner.cache.url(digest, &base) {
            return Ok(BlobAccess::Redirect(url));
        }
        let url: Arc<str> = store
            .presign(Key::Blob(digest), request.base)
            .await
            .map_err(of_store)?
            .into();
        self.inner.cache.keep_url(*digest, base, Arc::clone(&url));
        Ok(BlobAccess::Redirect(url))
    }

    /// Begins to copy a cold blob into the bucket, for nobody in particular.
    pub(super) fn fetch_later(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepositoryName,
        digest: &Digest,
        announced: u64,
    ) {
        let fills = &self.inner.fills;
        let joined = fills.join(self, Arc::clone(upstream), name, digest, Some(announced));
        if let Joined::Fill(fill, Outcome::Follow) = joined {
            fill.add(name);
        }
    }

    /// A cold blob: from the one fill of it, or straight from the upstream when there is no room.
    async fn fetch(&self, request: &BlobRequest<'_>, known: Known) -> Result<Fetched, Error> {
        let (name, digest) = (request.name, request.digest);
        let unknown = || blob_unknown(name, digest);
        let Some(upstream) = &self.inner.upstream else {
            return Err(unknown());
        };
        if matches!(request.range, RangeRequest::Malformed) {
            return Err(range_invalid(known.announced));
        }
        let joined =
            match self
                .inner
                .fills
                .join(self, Arc::clone(upstream), name, digest, known.announced)
            {
                Joined::Stored(size) => return Ok(Fetched::Stored(size)),
                Joined::Fill(fill, outcome) => (fill, outcome),
            };
        let (fill, outcome) = joined;
        if outcome == Outcome::Follow {
            if !known.member {
                // Somebody else's fill does not make it this repository's blob.
                self.ask_membership(name, digest).await?;
            }
            fill.add(name);
        }
        match fill.flow().await {
            Ok(flow) => from_flow(&flow, &request.range, outcome).map(Fetched::Stream),
            Err(Refusal::Upstream(error)) => Err(of_upstream(error, unknown())),
            Err(Refusal::NoRoom(why)) => {
                tracing::warn!(repository = %name, %digest, why, "passing a blob on without storing it");
                let blob = upstream.get_blob(name, digest).await;
                let blob = blob.map_err(|error| of_upstream(error, unknown()))?;
                let metrics = Arc::clone(&self.inner.metrics);
                let (size, bytes) = (
                    blob.size,
                    super::pass::verified(blob.bytes, *digest, metrics),
                );
                let outcome = Outcome::Pass;
                Ok(Fetched::Stream(BlobStream {
                    size,
                    slice: None,
                    bytes,
                    outcome,
                }))
            }
        }
    }
}

/// What became of a blob that was not in the bucket a moment ago.
enum Fetched {
    /// It comes.
    Stream(BlobStream),
    /// It is there now, with this size.
    Stored(u64),
}

fn from_flow(
    flow: &Arc<Flow>,
    range: &RangeRequest,
    outcome: Outcome,
) -> Result<BlobStream, Error> {
    let size = flow.size();
    let slice = resolve(range, size)?;
    Ok(BlobStream {
        size,
        slice,
        bytes: flow.read(slice),
        outcome,
    })
}

/// With the size unknown, the whole is what any range gets.
fn resolve(range: &RangeRequest, size: Option<u64>) -> Result<Option<Slice>, Error> {
    size.map_or(Ok(None), |size| range.resolve(size))
        .map_err(|()| range_invalid(size))
}

fn range_invalid(size: Option<u64>) -> Error {
    let message = "no byte of the blob lies in the requested range";
    Error::new(ErrorCode::RangeInvalid, message).of_size(size)
}
