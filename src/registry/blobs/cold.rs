//! Blobs that the bucket does not have yet.
//!
//! A client reads along with the one fill of the blob. If it wants a part, the fill fetches that first. With
//! `proxy.onmiss: redirect`, clients are sent to where the upstream keeps the blob, and the fill runs in the background.

use std::sync::Arc;
use std::time::Duration;

use super::Blobs;
use super::open::{BlobAccess, BlobRequest, BlobStream};
use crate::config::OnMiss;
use crate::oci::{Digest, Error, ErrorCode, Outcome, RangeRequest, RepositoryName};
use crate::registry::blob_part::{BlobPart, range_invalid};
use crate::registry::cache::Location;
use crate::registry::fill::{ColdBlob, FilledBlob, HELD_BACK, Reading, UpstreamBlob};
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
        self.fills.fill_in_background(&UpstreamBlob::new(upstream, name, digest), announced);
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
            && let Location::Elsewhere(url) = Box::pin(self.location(&upstream, name, digest)).await?
        {
            self.fill_in_background(&upstream, name, digest, status.announced);
            return Ok(BlobAccess::Redirect(url.to_string(), Outcome::Redirect));
        }
        let blob = UpstreamBlob::new(&upstream, name, digest);
        let stream = match self.fills.open(&blob, status).await? {
            // A fill ended since the bucket was asked.
            ColdBlob::Stored(size) => return self.open_stored(request, status, size).await,
            ColdBlob::Filled { filled, outcome, .. } => self.follow(&filled, request, status, outcome).await?,
        };
        Ok(BlobAccess::Stream(stream))
    }

    async fn follow(
        &self,
        filled: &Arc<FilledBlob>,
        request: &BlobRequest<'_>,
        status: BlobStatus,
        outcome: Outcome,
    ) -> Result<BlobStream, Error> {
        let size = filled.size();
        // Without a size from the upstream, the manifest's is used for the `Content-Range`. It may be wrong, so no range
        // is refused because of it, and `FilledBlob::read` fails if the blob turns out to have another size.
        let part = match size {
            Some(_) => BlobPart::resolve(&request.range, size).map_err(|beyond| {
                // The upstream says another size than the manifest. A client takes a 416 for final, but the upstream's
                // next answer may be right.
                let is_within = matches!(BlobPart::resolve(&request.range, status.announced), Ok(Some(_)));
                if is_within { not_sent() } else { beyond }
            })?,
            None => BlobPart::resolve(&request.range, status.announced).unwrap_or_default(),
        };
        let verified = tokio::time::timeout(VERIFY_TIMEOUT, filled.verified());
        if size.is_some_and(|size| size <= HELD_BACK) && matches!(verified.await, Ok(Err(_))) {
            return Err(not_sent());
        }
        let verified = part.is_none_or(BlobPart::is_whole) || request.range.is_open_ended();
        Ok(BlobStream { size, part, bytes: filled.read(Reading { part, verified }), outcome })
    }
}

fn not_sent() -> Error {
    let message = "the upstream registry did not send this blob, the log tells why";
    Error::new(ErrorCode::Unavailable, message)
}
