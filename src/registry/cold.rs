//! Blobs that the bucket does not have yet.
//!
//! A client gets what the one fill of the blob has in the spool, as it comes. A part that lies further on
//! comes from the upstream at once, while the fill goes on. Where there is no room to spool a blob, it
//! passes through memory. With `proxy.onmiss: redirect`, clients are sent to where the upstream keeps the
//! blob, and the fill is nobody's.

use std::sync::Arc;

use futures_util::StreamExt;

use super::Registry;
use super::blobs::{BlobRequest, BlobStream, range_invalid, resolve};
use super::cache::{Location, Matter};
use super::failure::of_upstream;
use super::fill::{self, Fill, Flow, Joined, Refusal, TAIL, Wanted};
use super::members::{Known, blob_unknown};
use super::pass;
use crate::config::OnMiss;
use crate::oci::{Digest, Error, ErrorCode, RangeRequest, RepositoryName, Slice};
use crate::telemetry::Outcome;
use crate::upstream::{Upstream, UpstreamError};

/// What became of a blob that was not in the bucket a moment ago.
pub(super) enum Fetched {
    /// It comes.
    Stream(BlobStream),
    /// The upstream has its clients fetch it there.
    Elsewhere(Arc<str>),
    /// It is in the bucket now, with this size.
    Stored(u64),
}

impl Registry {
    /// Begins to copy a cold blob into the bucket, for nobody in particular.
    pub(super) fn fetch_later(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepositoryName,
        digest: &Digest,
        announced: Option<u64>,
    ) {
        let wanted = wanted(upstream, name, digest);
        let joined = self.inner.fills.join(self, wanted, announced);
        if let Joined::Fill(fill, Outcome::Follow) = joined {
            fill.add(name);
        }
    }

    /// A cold blob, or a part of it.
    pub(super) async fn fetch(
        &self,
        request: &BlobRequest<'_>,
        known: Known,
    ) -> Result<Fetched, Error> {
        let (name, digest) = (request.name, request.digest);
        let Some(upstream) = self.upstream(name) else {
            return Err(blob_unknown(name, digest));
        };
        if matches!(request.range, RangeRequest::Malformed) {
            return Err(range_invalid(known.announced));
        }
        if self.inner.on_miss == OnMiss::Redirect
            && let Location::Elsewhere(url) =
                Box::pin(self.location(upstream, name, digest)).await?
        {
            self.fetch_later(upstream, name, digest, known.announced);
            return Ok(Fetched::Elsewhere(url));
        }
        let wanted = wanted(upstream, name, digest);
        let (fill, outcome) = match self.join(&wanted, known).await? {
            Ok(joined) => joined,
            Err(size) => return Ok(Fetched::Stored(size)),
        };
        let stream = match fill.flow().await {
            Ok(flow) => self.follow(&flow, request, known, &wanted, outcome).await,
            Err(Refusal::NoRoom(why)) => {
                tracing::warn!(repository = %name, %digest, why, "a blob goes past the spool");
                Box::pin(self.without_spool(request, known, &wanted)).await
            }
            Err(refusal) => Err(refusal.describe(&wanted)),
        };
        stream.map(Fetched::Stream)
    }

    /// The fill of a blob, or, as the other result, its size in the bucket.
    async fn join(
        &self,
        wanted: &Wanted,
        known: Known,
    ) -> Result<Result<(Arc<Fill>, Outcome), u64>, Error> {
        let joined = self.inner.fills.join(self, wanted.clone(), known.announced);
        let (fill, outcome) = match joined {
            Joined::Stored(size) => return Ok(Err(size)),
            Joined::Fill(fill, outcome) => (fill, outcome),
        };
        if outcome == Outcome::Follow {
            if !known.member {
                // Somebody else's fill does not make it this repository's blob.
                self.ask_membership(&wanted.name, &wanted.digest).await?;
            }
            fill.add(&wanted.name);
        }
        Ok(Ok((fill, outcome)))
    }

    async fn follow(
        &self,
        flow: &Arc<Flow>,
        request: &BlobRequest<'_>,
        known: Known,
        wanted: &Wanted,
        outcome: Outcome,
    ) -> Result<BlobStream, Error> {
        let size = flow.size();
        // A part needs a size to be a part of.
        let slice = resolve(&request.range, size.or(known.announced))?;
        if size.is_some_and(|size| size <= TAIL) && flow.verified().await.is_err() {
            // Nothing of it leaves before the whole was verified, so that it can still be told.
            let message = "the upstream registry did not send this blob, the log tells why";
            return Err(Error::new(ErrorCode::Unavailable, message));
        }
        if let Some(slice) = slice
            && !flow.is_near(slice)
            && let Some(stream) = self.part(wanted, slice, size).await?
        {
            return Ok(stream);
        }
        Ok(BlobStream {
            size: size.or(slice.and(known.announced)),
            slice,
            bytes: flow.read(slice),
            outcome,
        })
    }

    /// A part straight from the upstream, unless it knows no ranges.
    async fn part(
        &self,
        wanted: &Wanted,
        slice: Slice,
        size: Option<u64>,
    ) -> Result<Option<BlobStream>, Error> {
        let mut source = wanted.stretch(slice);
        match source.connect().await {
            Ok(()) => Ok(Some(BlobStream {
                size,
                slice: Some(slice),
                bytes: source.into_stream(),
                outcome: Outcome::Pass,
            })),
            Err(UpstreamError::Invalid(_)) => Ok(None),
            Err(error) => Err(of_upstream(
                error,
                blob_unknown(&wanted.name, &wanted.digest),
            )),
        }
    }

    /// A blob for which the spool has no room.
    async fn without_spool(
        &self,
        request: &BlobRequest<'_>,
        known: Known,
        wanted: &Wanted,
    ) -> Result<BlobStream, Error> {
        let (name, digest) = (&wanted.name, &wanted.digest);
        let refused = |error| of_upstream(error, blob_unknown(name, digest));
        if !matches!(request.range, RangeRequest::Whole) {
            let size = match known.announced {
                Some(size) => Some(size),
                None => self.upstream_size(name, digest).await?,
            };
            if let Some(slice) = resolve(&request.range, size)? {
                let mut source = wanted.stretch_of_any(slice);
                source.connect().await.map_err(refused)?;
                return Ok(BlobStream {
                    size,
                    slice: Some(slice),
                    bytes: source.into_stream(),
                    outcome: Outcome::Pass,
                });
            }
        }
        let begun = wanted.begin(None).await.map_err(refused)?;
        let size = begun.size;
        let passing = fill::unspooled::begin(self, wanted, wanted.go_on(begun), size);
        let metrics = Arc::clone(&self.inner.metrics);
        Ok(BlobStream {
            size,
            slice: None,
            bytes: pass::verified(passing.bytes, *digest, metrics),
            outcome: passing.outcome,
        })
    }

    /// Copies a blob for which the spool has no room, for nobody in particular; tells `progress` how many
    /// bytes are here.
    pub(super) async fn copy_without_spool(
        &self,
        wanted: &Wanted,
        progress: impl Fn(u64),
    ) -> Result<(), Error> {
        let (name, digest) = (&wanted.name, &wanted.digest);
        let failed = || {
            let message = format!("{digest} could not be stored, the log tells why");
            Error::new(ErrorCode::Unavailable, message)
        };
        let begun = wanted.begin(None).await;
        let begun = begun.map_err(|error| of_upstream(error, blob_unknown(name, digest)))?;
        let size = begun.size;
        let mut passing = fill::unspooled::begin(self, wanted, wanted.go_on(begun), size);
        let mut bytes = 0;
        while let Some(piece) = passing.bytes.next().await {
            bytes += piece.map_err(|error| failed().because(error))?.len() as u64;
            progress(bytes);
        }
        match passing.stored {
            Some(stored) => stored.await.unwrap_or_else(|_| Err(failed())),
            // Somebody else was copying it.
            None if self.inner.cache.present(digest).is_some() => Ok(()),
            None => Err(failed()),
        }
    }

    /// Where the upstream has its own clients fetch a blob, asked once for all who want to know.
    async fn location(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Location, Error> {
        let cache = &self.inner.cache;
        if let Some(location) = cache.location(name, digest) {
            return Ok(location);
        }
        let ask = async {
            if let Some(location) = cache.location(name, digest) {
                return Ok(location);
            }
            let location = upstream.blob_location(name, digest).await;
            let location =
                location.map_err(|error| of_upstream(error, blob_unknown(name, digest)))?;
            let location = match location {
                Some(url) => Location::Elsewhere(url.as_str().into()),
                None => Location::Upstream,
            };
            cache.keep_location(name, digest, location.clone());
            Ok(location)
        };
        let matter = Matter::Location(name.clone(), *digest);
        cache.in_turn(matter, ask).await
    }
}

pub(super) fn wanted(upstream: &Arc<Upstream>, name: &RepositoryName, digest: &Digest) -> Wanted {
    Wanted {
        upstream: Arc::clone(upstream),
        name: name.clone(),
        digest: *digest,
    }
}
