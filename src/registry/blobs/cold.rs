//! Blobs that the bucket does not have yet.
//!
//! A client reads along with the one fill of the blob. If it wants a part, the fill fetches that first. Where the spool
//! has no room for a blob, it passes through memory. With `proxy.onmiss: redirect`, clients are sent to where the upstream
//! keeps the blob, and the fill runs in the background.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tracing::Instrument;

use super::Blobs;
use super::open::{BlobAccess, BlobRequest, BlobStream};
use crate::config::OnMiss;
use crate::oci::{Digest, Error, ErrorCode, Outcome, RangeRequest, RepositoryName};
use crate::registry::blob_part::{BlobPart, range_invalid};
use crate::registry::cache::Location;
use crate::registry::failure::of_upstream;
use crate::registry::fill::{
    ColdBlob, FillRefusal, HELD_BACK, Reading, ResumingReader, SpooledBlob, Tee, UpstreamBlob, verify_stream,
};
use crate::registry::links::BlobStatus;
use crate::registry::presence::blob_unknown;
use crate::upstream::Upstream;

/// How long a client of a small blob waits for its headers, so that a wrong blob can still become an error response.
/// containerd waits for 30 s.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(10);

impl Blobs {
    /// Begins to fill a cold blob, without a client that waits for it.
    pub(in crate::registry) fn fill_in_background(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepositoryName,
        digest: &Digest,
        announced: Option<u64>,
    ) {
        let blob = UpstreamBlob::new(upstream, name, digest);
        let fill = match self.fills.join(&blob, announced) {
            Err(_) => return,
            Ok((fill, Outcome::Follow)) => return fill.add(name),
            Ok((fill, _)) => fill,
        };
        let fills = Arc::clone(&self.fills);
        let work = async move {
            if let Err(FillRefusal::NoRoom(why)) = fill.spooled().await {
                // The log tells how it ends.
                let _ = fills.copy_unspooled(&blob, &why, |_| {}).await;
            }
        };
        self.background.spawn(work.in_current_span());
    }

    pub(super) async fn open_cold(&self, request: &BlobRequest<'_>, status: BlobStatus) -> Result<BlobAccess, Error> {
        let (name, digest) = (request.name, request.digest);
        let Some(upstream) = self.upstreams.of(name) else {
            return Err(blob_unknown(name, digest));
        };
        if matches!(request.range, RangeRequest::Malformed) {
            return Err(range_invalid(status.announced));
        }
        if request.redirect
            && self.on_miss == OnMiss::Redirect
            && let Location::Elsewhere(url) = Box::pin(self.location(upstream, name, digest)).await?
        {
            self.fill_in_background(upstream, name, digest, status.announced);
            return Ok(BlobAccess::Redirect(url.to_string(), Outcome::Redirect));
        }
        let blob = UpstreamBlob::new(upstream, name, digest);
        let stream = match self.fills.open(&blob, status).await? {
            // A fill ended since the bucket was asked.
            ColdBlob::Stored(size) => return self.open_stored(request, status, size).await,
            ColdBlob::Spooled { spooled, outcome, .. } => self.follow(&spooled, request, status, outcome).await?,
            ColdBlob::NoRoom(why) => {
                tracing::warn!(repository = %name, %digest, %why, "bypassing the spool");
                Box::pin(self.open_unspooled(request, status, &blob)).await?
            }
        };
        Ok(BlobAccess::Stream(stream))
    }

    async fn follow(
        &self,
        spooled: &Arc<SpooledBlob>,
        request: &BlobRequest<'_>,
        status: BlobStatus,
        outcome: Outcome,
    ) -> Result<BlobStream, Error> {
        let size = spooled.size();
        // Without a size from the upstream, the manifest's is used for the `Content-Range`. It may be wrong, so no range
        // is refused because of it, and `SpooledBlob::read` fails if the blob turns out to have another size.
        let part = match size {
            Some(_) => BlobPart::resolve(&request.range, size).map_err(|beyond| {
                // The upstream says another size than the manifest. A client takes a 416 for final, but the upstream's
                // next answer may be right.
                let is_within = matches!(BlobPart::resolve(&request.range, status.announced), Ok(Some(_)));
                if is_within { not_sent() } else { beyond }
            })?,
            None => BlobPart::resolve(&request.range, status.announced).unwrap_or_default(),
        };
        let verified = tokio::time::timeout(VERIFY_TIMEOUT, spooled.verified());
        if size.is_some_and(|size| size <= HELD_BACK) && matches!(verified.await, Ok(Err(_))) {
            return Err(not_sent());
        }
        let verified = part.is_none_or(BlobPart::is_whole) || request.range.is_open_ended();
        Ok(BlobStream { size, part, bytes: spooled.read(Reading { part, verified }), outcome })
    }

    /// A blob for which the spool has no room.
    async fn open_unspooled(
        &self,
        request: &BlobRequest<'_>,
        status: BlobStatus,
        blob: &UpstreamBlob,
    ) -> Result<BlobStream, Error> {
        let refused = |error| of_upstream(error, blob_unknown(&blob.name, &blob.digest));
        let mut part = None;
        if !matches!(request.range, RangeRequest::Whole) {
            let size = match status.announced {
                Some(size) => Some(size),
                None => self.links.upstream_size(&blob.name, &blob.digest).await?,
            };
            part = BlobPart::resolve(&request.range, size)?;
        }
        if let Some(part) = part.filter(|part| !part.is_whole()) {
            let mut reader = ResumingReader::range_or_skip(blob, part.slice);
            reader.connect().await.map_err(refused)?;
            let bytes = reader.into_stream();
            return Ok(BlobStream { size: Some(part.of), part: Some(part), bytes, outcome: Outcome::Bypass });
        }
        let begun = blob.begin(None, status.announced).await.map_err(refused)?;
        let (size, reader) = (begun.size, ResumingReader::resume(blob, begun));
        let (bytes, outcome) = match Tee::try_new(&self.fills, blob) {
            Some(tee) => (tee.begin(reader, size).bytes, Outcome::Fill),
            None => (reader.into_stream(), Outcome::Bypass),
        };
        let mut bytes = verify_stream(bytes, blob.digest, Arc::clone(&self.metrics)).peekable();
        // A small one is verified before its headers leave, so that a wrong blob can still become an error response.
        if size.is_some_and(|size| size <= HELD_BACK)
            && let Ok(Some(Err(_))) = tokio::time::timeout(VERIFY_TIMEOUT, Pin::new(&mut bytes).peek()).await
        {
            return Err(not_sent());
        }
        Ok(BlobStream { size, part, bytes: bytes.boxed(), outcome })
    }
}

fn not_sent() -> Error {
    let message = "the upstream registry did not send this blob, the log tells why";
    Error::new(ErrorCode::Unavailable, message)
}
