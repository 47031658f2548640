//! Copies manifests and blobs into the bucket before clients ask for them (`pounce warm`).

use std::sync::Arc;

use super::fill::{ColdBlob, Fills, UpstreamBlob};
use super::links::{BlobStatus, Links};
use super::manifests::Manifests;
use super::presence::blob_unknown;
use super::revisions::Revisions;
use crate::oci::{Descriptor, Digest, Error, Manifest, Reference, RepositoryName};
use crate::store::{Key, Store};
use crate::upstream::Upstreams;

/// What was done for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmed {
    /// Nothing: the bucket had it.
    Already,
    /// It was copied, so many bytes.
    Copied(u64),
}

/// A manifest that is going to be warm.
#[derive(Clone, Debug)]
pub struct WarmManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// The bucket has had it, under this reference.
    pub already: bool,
    /// The upstream could not be asked whether the tag still names this.
    pub stale: bool,
}

/// Copies content into the bucket.
#[derive(Debug)]
pub struct Warmer {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) manifests: Arc<Manifests>,
    pub(super) revisions: Arc<Revisions>,
    pub(super) links: Arc<Links>,
    pub(super) fills: Arc<Fills>,
}

impl Warmer {
    /// Fetches a manifest and stores it. A tag's link may follow later; [`is_warm`](Self::is_warm) says when it is
    /// there.
    ///
    /// # Errors
    /// As [`Manifests::pull`]; and `UNAVAILABLE` if the bucket does not take it.
    pub async fn manifest(&self, name: &RepositoryName, reference: &Reference) -> Result<WarmManifest, Error> {
        let served = self.manifests.pull(name, reference, &[]).await?;
        let manifest = served.manifest;
        let already = self.is_warm(name, reference, manifest.digest()).await?;
        if !already {
            self.revisions.write(name, &manifest).await?;
        }
        Ok(WarmManifest { manifest, already, stale: served.stale.is_some() })
    }

    /// Whether the bucket has a manifest, and under its tag if the reference is one.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn is_warm(&self, name: &RepositoryName, reference: &Reference, digest: Digest) -> Result<bool, Error> {
        let store = &self.store;
        let tagged = async {
            match reference {
                Reference::Digest(_) => Ok(true),
                Reference::Tag(tag) => {
                    let link = store.get(Key::Tag(name, tag)).await?;
                    Ok(link.and_then(|link| link.digest()) == Some(digest))
                }
            }
        };
        let (tagged, link, blob) =
            tokio::try_join!(tagged, store.head(Key::Revision(name, &digest)), store.head(Key::Blob(&digest)))?;
        Ok(tagged && link.is_some() && blob.is_some())
    }

    /// Copies a blob into the bucket unless it is there, and tells `progress` how many bytes came. Returns when the
    /// bucket has it.
    ///
    /// # Errors
    /// As [`Blobs::open`](super::blobs::Blobs::open); `UNAVAILABLE` too if it could not be stored.
    pub async fn blob(
        &self,
        name: &RepositoryName,
        blob: &Descriptor,
        progress: impl Fn(u64),
    ) -> Result<Warmed, Error> {
        let digest = blob.digest();
        let status = self.links.status(name, digest).await?;
        if let Some(size) = status.stored {
            self.links.require(name, digest, status, size).await?;
            return Ok(Warmed::Already);
        }
        let Some(upstream) = self.upstreams.of(name) else {
            return Err(blob_unknown(name, digest));
        };
        let status = BlobStatus { announced: Some(blob.size()), ..status };
        // A fill does not wait for it, because its client would. Here, none does.
        self.store.keeps_conditions_of_writes().await;
        let blob = UpstreamBlob::new(&upstream, name, digest);
        match self.fills.open(&blob, status).await? {
            ColdBlob::Stored(size) => {
                self.links.require(name, digest, status, size).await?;
                Ok(Warmed::Already)
            }
            ColdBlob::Filled { filled, fill, .. } => {
                let mut bytes = 0;
                while let Some(more) = filled.beyond(bytes).await {
                    bytes = more;
                    progress(bytes);
                }
                fill.stored().await.map(Warmed::Copied)
            }
        }
    }
}
