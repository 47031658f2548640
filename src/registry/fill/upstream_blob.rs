//! A blob at its upstream, and the first request for it.

use std::sync::Arc;

use crate::oci::{Digest, RepositoryName, Slice};
use crate::upstream::{BlobResponse, Upstream, UpstreamError};

/// A blob at its upstream.
#[derive(Clone, Debug)]
pub(in crate::registry) struct UpstreamBlob {
    pub(in crate::registry) upstream: Arc<Upstream>,
    pub(in crate::registry) name: RepositoryName,
    pub(in crate::registry) digest: Digest,
}

impl UpstreamBlob {
    pub(in crate::registry) fn new(upstream: &Arc<Upstream>, name: &RepositoryName, digest: &Digest) -> Self {
        Self { upstream: Arc::clone(upstream), name: name.clone(), digest: *digest }
    }

    /// Begins to fetch the blob: its first bytes, or all of it without `first` and at an upstream that knows no ranges.
    /// `announced` is the size that a manifest gives it.
    ///
    /// # Errors
    /// See [`UpstreamError`]; `Invalid` too for a web page.
    pub(in crate::registry) async fn begin(
        &self,
        first: Option<u64>,
        announced: Option<u64>,
    ) -> Result<BlobResponse, UpstreamError> {
        let part = first.map(|end| Slice { start: 0, end });
        let begun = match self.get(part).await {
            // An empty blob has no range, and some upstreams take none at all.
            Err(UpstreamError::Invalid(_)) if part.is_some() => self.get(None).await?,
            other => other?,
        };
        self.check_headers(&begun, announced)?;
        Ok(begun)
    }

    pub(super) async fn get(&self, part: Option<Slice>) -> Result<BlobResponse, UpstreamError> {
        self.upstream.get_blob(&self.name, &self.digest, part).await
    }

    /// Compares the headers with the size that a manifest gives.
    fn check_headers(&self, begun: &BlobResponse, announced: Option<u64>) -> Result<(), UpstreamError> {
        let as_announced = announced.is_some() && announced == begun.size;
        if begun.is_html && !as_announced {
            return Err(UpstreamError::Invalid("it sent a web page in place of a blob".into()));
        }
        if let (Some(announced), Some(size)) = (announced, begun.size)
            && announced != size
        {
            // One manifest's mistake must not keep other clients from the blob; its digest decides.
            let (repository, digest) = (&self.name, &self.digest);
            tracing::warn!(%repository, %digest, size, announced, "a manifest gives a blob another size than it has");
        }
        Ok(())
    }
}
