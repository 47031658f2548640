//! Anticipates the requests of a client that pulled a manifest.

use std::sync::Arc;

use tracing::Instrument;

use super::cache::Cache;
use super::fill::{Fills, UpstreamBlob};
use super::links::Links;
use super::manifests::{Manifests, Served};
use super::revisions::{NAMED, named};
use super::runtime::{Background, buffered, first};
use crate::oci::{Descriptor, Error, Manifest, MediaType, Reference, RepositoryName};
use crate::upstream::Upstreams;

/// How many blobs of one manifest are asked for at once.
const PARALLEL: usize = 16;

/// Pulls manifests for clients that are going to pull their blobs.
#[derive(Debug)]
pub struct Prefetch {
    pub(super) manifests: Arc<Manifests>,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) links: Arc<Links>,
    pub(super) fills: Arc<Fills>,
    pub(super) background: Arc<Background>,
    /// `proxy.prefetch`
    pub(super) fill: bool,
}

impl Prefetch {
    /// [`Manifests::pull`], for a client that is going to pull the blobs: in the background, the bucket is asked for
    /// those that are not in memory, the upstream for those that the bucket has from elsewhere, and, with
    /// `proxy.prefetch`, the fills of those begin that the bucket does not have; of the first 128 that the manifest
    /// names. For an index, nothing begins until the client chooses a platform, or of a build's cache, a layer.
    ///
    /// # Errors
    /// As [`Manifests::pull`].
    pub async fn pull(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let served = self.manifests.pull(name, reference, accept).await?;
        if self.cache.manifests.is_first_pull(name, &served.manifest) {
            self.anticipate(name, &served.manifest);
        }
        Ok(served)
    }

    fn anticipate(&self, name: &RepositoryName, manifest: &Manifest) {
        if manifest.media_type().is_index() {
            return;
        }
        let cached = &self.cache.blobs;
        let mut blobs = named(manifest);
        blobs.retain(|blob| {
            let membership = cached.membership(name, blob.digest());
            !membership.is_some_and(|membership| membership.is_owned()) || cached.present(blob.digest()).is_none()
        });
        if blobs.is_empty() {
            return;
        }
        let upstream = self.upstreams.of(name).filter(|_| self.fill);
        let (links, fills, name) = (Arc::clone(&self.links), Arc::clone(&self.fills), name.clone());
        let ask = async move {
            let absent = buffered(PARALLEL, blobs, |blob| is_absent(&links, &name, blob));
            let (Ok(absent), Some(upstream)) = (first(NAMED, absent).await, upstream) else {
                return;
            };
            for blob in absent {
                fills.prefetch(UpstreamBlob::new(&upstream, &name, blob.digest()), blob.size());
            }
        };
        self.background.hint(ask.in_current_span());
    }
}

/// Hands a blob back that the bucket does not have. The answers are remembered. A failure will be met again, and told,
/// by the request that needs the answer.
async fn is_absent(links: &Links, name: &RepositoryName, blob: Descriptor) -> Result<Option<Descriptor>, Error> {
    let status = links.status(name, blob.digest()).await?;
    if status.stored.is_some() && !status.member {
        // A refusal is for the client that asks for the blob; others of the manifest may be there.
        let _ = links.ask_upstream(name, blob.digest()).await;
    }
    Ok(status.stored.is_none().then_some(blob))
}
