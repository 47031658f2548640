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
use super::fill::{Flow, Refusal};
use crate::oci::{Digest, Error, ErrorCode, RangeRequest, RepositoryName, Slice};
use crate::store::{Key, Metadata};
use crate::telemetry::Outcome;
use crate::upstream::UpstreamError;

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

/// What is known of a blob in a repository.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// It is the repository's.
    member: bool,
    /// The size that a manifest of the repository gives it.
    announced: Option<u64>,
    /// Its size in the bucket, if it is there.
    stored: Option<u64>,
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
            Some(size) => {
                self.require_member(request.name, request.digest, known, size)
                    .await?;
                self.access_stored(&request, size).await?
            }
            None => BlobAccess::Stream(self.fetch(&request, known).await?),
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

    /// What the caches know, or else the bucket: both questions at once, so one round trip.
    async fn known(&self, name: &RepositoryName, digest: &Digest) -> Result<Known, Error> {
        let cache = &self.inner.cache;
        let (announced, present) = (cache.member(name, digest), cache.present(digest));
        if announced.is_some() && present.is_some() {
            return Ok(Known {
                member: true,
                announced,
                stored: present,
            });
        }
        let store = &self.inner.store;
        let linked = async {
            if announced.is_some() {
                Ok(true)
            } else {
                Ok(store.head(Key::Layer(name, digest)).await?.is_some())
            }
        };
        let stored = async {
            if present.is_some() {
                Ok(present)
            } else {
                Ok(store.head(Key::Blob(digest)).await?.map(|it| it.size))
            }
        };
        let (member, stored) = tokio::try_join!(linked, stored).map_err(of_store)?;
        if let Some(size) = stored {
            cache.keep_present(*digest, size);
            if member {
                cache.keep_member(name, *digest, size);
            }
        }
        Ok(Known {
            member,
            announced,
            stored,
        })
    }

    /// A blob that is in the bucket on another repository's account is this repository's only if the
    /// upstream says so.
    async fn require_member(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        known: Known,
        size: u64,
    ) -> Result<(), Error> {
        if known.member {
            return Ok(());
        }
        self.upstream_size(name, digest).await?;
        self.inner.cache.keep_member(name, *digest, size);
        self.link_layer(name.clone(), *digest).await;
        Ok(())
    }

    /// Writes a layer link behind the client's back.
    async fn link_layer(&self, name: RepositoryName, digest: Digest) {
        let registry = self.clone();
        let work = async move {
            let linked = registry
                .write_link(Key::Layer(&name, &digest), &digest, Metadata::new())
                .await;
            if let Err(error) = linked {
                tracing::warn!(repository = %name, %digest, %error, "the layer link was not written");
            }
        };
        self.inner.background.run(work).await;
    }

    /// Asks the upstream whether the repository has a blob, and how large it is.
    async fn upstream_size(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let unknown = || blob_unknown(name, digest);
        let Some(upstream) = &self.inner.upstream else {
            return Err(unknown());
        };
        match upstream.head_blob(name, digest).await {
            Ok(size) => Ok(size),
            // public.ecr.aws refuses every HEAD for a blob; a GET that is dropped tells as much.
            Err(UpstreamError::Denied { .. }) => match upstream.get_blob(name, digest).await {
                Ok(blob) => Ok(blob.size),
                Err(error) => Err(of_upstream(error, unknown())),
            },
            Err(error) => Err(of_upstream(error, unknown())),
        }
    }

    async fn access_stored(
        &self,
        request: &BlobRequest<'_>,
        size: u64,
    ) -> Result<BlobAccess, Error> {
        let (store, digest) = (&self.inner.store, request.digest);
        if self.inner.stream_blobs {
            let slice = resolve(&request.range, Some(size))?;
            let stream = store
                .stream(Key::Blob(digest), slice)
                .await
                .map_err(of_store)?;
            let stream = stream.ok_or_else(|| blob_unknown(request.name, digest))?;
            let outcome = Outcome::Stream;
            return Ok(BlobAccess::Stream(BlobStream {
                size: Some(size),
                slice,
                bytes: stream.bytes,
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

    /// A cold blob: from the one fill of it, or straight from the upstream when there is no room.
    async fn fetch(&self, request: &BlobRequest<'_>, known: Known) -> Result<BlobStream, Error> {
        let (name, digest) = (request.name, request.digest);
        let unknown = || blob_unknown(name, digest);
        let Some(upstream) = &self.inner.upstream else {
            return Err(unknown());
        };
        if matches!(request.range, RangeRequest::Malformed) {
            return Err(range_invalid());
        }
        if !known.member && self.inner.fills.is_running(digest) {
            // Somebody else's fill does not make it this repository's blob.
            self.upstream_size(name, digest).await?;
        }
        let joined =
            self.inner
                .fills
                .join(self, Arc::clone(upstream), name, digest, known.announced);
        match joined.fill.flow().await {
            Ok(flow) => {
                if !joined.linked {
                    self.link_layer(name.clone(), *digest).await;
                }
                from_flow(&flow, &request.range, joined.outcome)
            }
            Err(Refusal::Upstream(error)) => Err(of_upstream(error, unknown())),
            Err(Refusal::NoRoom(why)) => {
                tracing::warn!(repository = %name, %digest, why, "passing a blob on without storing it");
                let blob = upstream
                    .get_blob(name, digest)
                    .await
                    .map_err(|error| of_upstream(error, unknown()))?;
                let metrics = Arc::clone(&self.inner.metrics);
                let (size, bytes) = (
                    blob.size,
                    super::pass::verified(blob.bytes, *digest, metrics),
                );
                Ok(BlobStream {
                    size,
                    slice: None,
                    bytes,
                    outcome: Outcome::Pass,
                })
            }
        }
    }

    /// A fill put a blob into the bucket: every repository that asked for it gets its link.
    pub(super) async fn blob_stored(&self, names: Vec<RepositoryName>, digest: Digest, size: u64) {
        self.inner.cache.keep_present(digest, size);
        for name in names {
            self.inner.cache.keep_member(&name, digest, size);
            self.link_layer(name, digest).await;
        }
    }
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
        .map_err(|()| range_invalid())
}

fn range_invalid() -> Error {
    Error::new(
        ErrorCode::RangeInvalid,
        "no byte of the blob lies in the requested range",
    )
}

fn blob_unknown(name: &RepositoryName, digest: &Digest) -> Error {
    Error::new(
        ErrorCode::BlobUnknown,
        format!("{name} has no blob {digest}"),
    )
}
