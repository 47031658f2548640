//! Blobs that the bucket does not have yet.
//!
//! A client gets what the one fill of the blob has in the spool, as it comes. A part that lies further on comes from
//! the upstream at once, while the fill goes on. Where there is no room to spool a blob, it passes through memory. With
//! `proxy.onmiss: redirect`, clients are sent to where the upstream keeps the blob, and the fill is nobody's.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tracing::Instrument;

use super::Registry;
use super::blobs::{BlobPart, BlobRequest, BlobStream, range_invalid, resolve};
use super::cache::{Location, Matter};
use super::failure::of_upstream;
use super::fill::{Copying, Fill, Flow, Joined, Refusal, TAIL, Wanted};
use super::members::{Known, blob_unknown};
use super::pass;
use crate::config::OnMiss;
use crate::oci::{Digest, Error, ErrorCode, Outcome, RangeRequest, RepositoryName};
use crate::upstream::Upstream;

/// What became of a blob that was not in the bucket a moment ago.
pub(super) enum Fetched {
    /// It comes.
    Stream(BlobStream),
    /// The upstream has its clients fetch it there.
    Elsewhere(Arc<str>),
    /// It is in the bucket now, with this size.
    Stored(u64),
}

/// A fill that one may follow.
pub(super) enum Begun {
    /// Its bytes come.
    Flow(Arc<Flow>, Arc<Fill>, Outcome),
    /// There is no room to spool the blob, and why.
    NoRoom(Arc<str>),
    /// The blob is in the bucket now, with this size.
    Stored(u64),
}

/// How long a client of a small blob waits for its headers, so that it can still be told that the blob is wrong.
/// containerd waits for 30 s.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many fills of other repositories that were refused are passed by before one's own: their upstream may not have
/// the blob.
const REFUSED: usize = 3;

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
        let fill = match self.inner.fills.join(self, wanted.clone(), announced) {
            Joined::Stored(_) => return,
            Joined::Fill(fill, Outcome::Follow) => return fill.add(name),
            Joined::Fill(fill, _) => fill,
        };
        let registry = self.clone();
        let work = async move {
            if let Err(Refusal::NoRoom(why)) = fill.flow().await {
                // What comes of it is in the log.
                let _ = registry.copy_without_spool(&wanted, &why, |_| {}).await;
            }
        };
        self.inner.background.own(work.in_current_span());
    }

    /// A cold blob, or a part of it.
    pub(super) async fn fetch(&self, request: &BlobRequest<'_>, known: Known) -> Result<Fetched, Error> {
        let (name, digest) = (request.name, request.digest);
        let Some(upstream) = self.upstream(name) else {
            return Err(blob_unknown(name, digest));
        };
        if matches!(request.range, RangeRequest::Malformed) {
            return Err(range_invalid(known.announced));
        }
        if request.redirect
            && self.inner.on_miss == OnMiss::Redirect
            && let Location::Elsewhere(url) = Box::pin(self.location(upstream, name, digest)).await?
        {
            self.fetch_later(upstream, name, digest, known.announced);
            return Ok(Fetched::Elsewhere(url));
        }
        let wanted = wanted(upstream, name, digest);
        let stream = match self.join(&wanted, known).await? {
            Begun::Stored(size) => return Ok(Fetched::Stored(size)),
            Begun::Flow(flow, _, outcome) => self.follow(&flow, request, known, &wanted, outcome).await,
            Begun::NoRoom(why) => {
                tracing::warn!(repository = %name, %digest, %why, "a blob goes past the spool");
                Box::pin(self.without_spool(request, known, &wanted)).await
            }
        };
        stream.map(Fetched::Stream)
    }

    /// The fill of a blob, as soon as its bytes come.
    pub(super) async fn join(&self, wanted: &Wanted, known: Known) -> Result<Begun, Error> {
        let mut attempts = 0..REFUSED;
        loop {
            let joined = self.inner.fills.join(self, wanted.clone(), known.announced);
            let (fill, outcome) = match joined {
                Joined::Stored(size) => return Ok(Begun::Stored(size)),
                Joined::Fill(fill, outcome) => (fill, outcome),
            };
            if outcome == Outcome::Follow && !fill.links(&wanted.name) {
                if !known.member {
                    // Another repository's fill does not make it this repository's blob.
                    self.ask_membership(&wanted.name, &wanted.digest).await?;
                }
                fill.add(&wanted.name);
            }
            match fill.flow().await {
                Ok(flow) => return Ok(Begun::Flow(flow, fill, outcome)),
                Err(Refusal::NoRoom(why)) => return Ok(Begun::NoRoom(why)),
                Err(Refusal::Upstream(_)) if !fill.is_for(&wanted.name) && attempts.next().is_some() => {}
                Err(refusal) => return Err(refusal.describe(wanted)),
            }
        }
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
        // A part needs a size to be a part of. Where only a manifest tells it, it may be wrong: no range is refused for
        // that, and the end of the blob is not believed to be there before it is.
        let part = match size {
            Some(_) => resolve(&request.range, size)?,
            None => resolve(&request.range, known.announced).unwrap_or_default(),
        };
        let verified = tokio::time::timeout(PATIENCE, flow.verified());
        if size.is_some_and(|size| size <= TAIL) && matches!(verified.await, Ok(Err(_))) {
            return Err(not_sent());
        }
        if let Some(part) = part
            && !flow.is_near(part.slice)
            && let Some(stream) = self.part(wanted, part).await?
        {
            return Ok(stream);
        }
        Ok(BlobStream { size, part, bytes: flow.read(part), outcome })
    }

    /// A part straight from the upstream, unless it knows no ranges, or has none to give now.
    async fn part(&self, wanted: &Wanted, part: BlobPart) -> Result<Option<BlobStream>, Error> {
        let mut source = wanted.stretch(part.slice);
        match source.connect().await {
            Ok(()) => Ok(Some(BlobStream {
                size: Some(part.of),
                part: Some(part),
                bytes: source.into_stream(),
                outcome: Outcome::Bypass,
            })),
            Err(error) if error.is_outage() => Ok(None),
            Err(error) => Err(of_upstream(error, blob_unknown(&wanted.name, &wanted.digest))),
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
        let mut part = None;
        if !matches!(request.range, RangeRequest::Whole) {
            let size = match known.announced {
                Some(size) => Some(size),
                None => self.upstream_size(name, digest).await?,
            };
            part = resolve(&request.range, size)?;
        }
        if let Some(part) = part.filter(|part| !part.is_whole()) {
            let mut source = wanted.stretch_of_any(part.slice);
            source.connect().await.map_err(refused)?;
            return Ok(BlobStream {
                size: Some(part.of),
                part: Some(part),
                bytes: source.into_stream(),
                outcome: Outcome::Bypass,
            });
        }
        let begun = wanted.begin(None, known.announced).await.map_err(refused)?;
        let (size, source) = (begun.size, wanted.go_on(begun));
        let (bytes, outcome) = match Copying::now(self, wanted) {
            Some(copying) => (copying.begin(source, size).bytes, Outcome::Fill),
            None => (source.into_stream(), Outcome::Bypass),
        };
        let metrics = Arc::clone(&self.inner.metrics);
        let mut bytes = pass::verified(bytes, *digest, metrics).peekable();
        // Nothing of a small one leaves before the whole was verified, so that it can still be told.
        if size.is_some_and(|size| size <= TAIL)
            && let Ok(Some(Err(_))) = tokio::time::timeout(PATIENCE, Pin::new(&mut bytes).peek()).await
        {
            return Err(not_sent());
        }
        Ok(BlobStream { size, part, bytes: bytes.boxed(), outcome })
    }

    /// Copies a blob for which the spool has no room, for nobody in particular; tells `progress` how many bytes are
    /// here.
    pub(super) async fn copy_without_spool(
        &self,
        wanted: &Wanted,
        why: &str,
        progress: impl Fn(u64),
    ) -> Result<u64, Error> {
        let (name, digest) = (&wanted.name, &wanted.digest);
        let failed = || {
            let message = format!("{digest} could not be stored, the log tells why");
            Error::new(ErrorCode::Unavailable, message)
        };
        let Some(copying) = Copying::later(self, wanted).await else {
            // Somebody copies it, or did so.
            return self.inner.cache.present(digest).ok_or_else(failed);
        };
        tracing::warn!(repository = %name, %digest, %why, "a blob goes past the spool");
        let begun = wanted.begin(None, None).await;
        let begun = begun.map_err(|error| of_upstream(error, blob_unknown(name, digest)))?;
        let size = begun.size;
        let mut copied = copying.begin(wanted.go_on(begun), size);
        let mut bytes = 0;
        while let Some(piece) = copied.bytes.next().await {
            bytes += piece.map_err(|error| failed().because(error))?.len() as u64;
            progress(bytes);
        }
        let stored = copied.stored.await.unwrap_or_else(|_| Err(failed()));
        stored.map(|()| bytes)
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
            let location = match upstream.blob_location(name, digest).await {
                Ok(Some(url)) => Location::Elsewhere(url.as_str().into()),
                Ok(None) => Location::Upstream,
                // A fill that is under way may have the blob.
                Err(error) if error.is_outage() => return Ok(Location::Upstream),
                Err(error) => return Err(of_upstream(error, blob_unknown(name, digest))),
            };
            cache.keep_location(name, digest, location.clone());
            Ok(location)
        };
        let matter = Matter::Location(name.clone(), *digest);
        cache.in_turn(matter, ask).await
    }
}

fn not_sent() -> Error {
    let message = "the upstream registry did not send this blob, the log tells why";
    Error::new(ErrorCode::Unavailable, message)
}

pub(super) fn wanted(upstream: &Arc<Upstream>, name: &RepositoryName, digest: &Digest) -> Wanted {
    Wanted { upstream: Arc::clone(upstream), name: name.clone(), digest: *digest }
}
