//! A repository's manifests, in memory and in the bucket ("revisions" in the bucket's layout): what is kept of one, and
//! in which order it is written: the bytes first, and last the link that makes it the repository's.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::TryStreamExt;

use super::cache::{Cache, Origin, Standing};
use super::condemned::{Condemned, NotKept};
use super::links::Links;
use super::provenance::{Provenance, write_link};
use super::referrers::Referrers;
use super::runtime::{Background, buffered};
use crate::oci::{Descriptor, Digest, Manifest, RepositoryName};
use crate::store::{Key, Store, StoreError};
use crate::upstream::Upstreams;

/// How many blobs of a manifest are remembered because it names them, and looked for before a client asks: images have
/// fewer layers (Docker's limit is 127), and one manifest of 4 MiB can name 37,000. Any other is looked for when a
/// client asks for it.
pub(super) const NAMED: usize = 128;
/// How many layer links of a manifest are written at once.
const PARALLEL_LINKS: usize = 16;

/// Keeps manifests in memory and in the bucket.
#[derive(Debug)]
pub(super) struct Revisions {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) links: Arc<Links>,
    pub(super) referrers: Arc<Referrers>,
    pub(super) provenance: Arc<Provenance>,
    pub(super) condemned: Arc<Condemned>,
    pub(super) background: Arc<Background>,
}

impl Revisions {
    /// Keeps a manifest of the upstream's in memory.
    pub(super) fn remember(&self, name: &RepositoryName, manifest: &Manifest) {
        self.keep(name, manifest, &named(manifest), Standing::Named);
    }

    /// Keeps a pushed manifest in memory.
    pub(super) fn remember_pushed(&self, name: &RepositoryName, manifest: &Manifest) {
        self.keep(name, manifest, &vouched(manifest), Standing::Owned);
    }

    /// Keeps a manifest in memory that was read from the bucket. The push or the fills of a pushed one wrote the links
    /// of its blobs: to ask for each again, or to write it, would be a request for every blob at every replica.
    pub(super) fn remember_stored(&self, name: &RepositoryName, manifest: &Manifest, origin: Origin) {
        match origin {
            Origin::Upstream => self.remember(name, manifest),
            Origin::Pushed => self.keep(name, manifest, &vouched(manifest), Standing::Linked),
        }
    }

    fn keep(&self, name: &RepositoryName, manifest: &Manifest, blobs: &[Descriptor], standing: Standing) {
        // Without an upstream, a blob that the repository has is linked in the bucket, and one without a link was
        // deleted.
        if self.upstreams.has(name) {
            for blob in blobs {
                self.cache.blobs.keep_named(name, blob, standing);
            }
        }
        self.cache.manifests.keep(name, manifest);
    }

    /// [`write`](Self::write), in the background.
    pub(super) async fn write_in_background(self: &Arc<Self>, name: &RepositoryName, manifest: &Manifest) {
        let (revisions, name, manifest) = (Arc::clone(self), name.clone(), manifest.clone());
        let bytes = manifest.bytes().len();
        let write = async move {
            if let Err(error) = revisions.write(&name, &manifest).await {
                let digest = manifest.digest();
                tracing::warn!(repository = %name, %digest, %error, "a manifest was served but not stored");
            }
        };
        self.background.run_holding(bytes, write).await;
    }

    /// Writes a manifest of the upstream's. Its blobs get their links when they are filled, or when the upstream says
    /// that it has them. The link of a manifest that was pushed stays as it is.
    pub(super) async fn write(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        let began = self.condemned.begin();
        self.write_bytes(manifest).await?;
        let (store, digest) = (&self.store, manifest.digest());
        if store.keeps_conditions().await || store.head(Key::Revision(name, &digest)).await?.is_none() {
            self.provenance.write_revision(store, name, &digest).await?;
        }
        self.referrers.write(name, manifest).await?;
        let subject = manifest.referrer().map(|(subject, _)| subject);
        let referrer = subject.as_ref().map(|subject| Key::Referrer(name, subject, &digest));
        let keys: Vec<_> = [Key::Blob(&digest), Key::Revision(name, &digest)].into_iter().chain(referrer).collect();
        self.condemned.keep(began, &keys).await.map_err(NotKept::in_background)?;
        self.cache.manifests.keep_stored(name, digest);
        Ok(())
    }

    /// Links a pushed manifest whose bytes are written: first those of its blobs that the bucket has, so that
    /// distribution finds them in this repository too, then the manifest, which makes it the repository's. A replica
    /// that finds that link relies on the others.
    pub(super) async fn link_pushed(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        let blobs: Vec<(Digest, u64)> =
            every_vouched(manifest).iter().map(|blob| (*blob.digest(), blob.size())).collect();
        let link = |(digest, size)| self.links.link_named(name, digest, size);
        buffered(PARALLEL_LINKS, blobs, link).try_collect::<()>().await?;
        let digest = manifest.digest();
        write_link(&self.store, Key::Revision(name, &digest), &digest).await
    }

    /// Writes the bytes of a manifest, which are no repository's before they are linked. Bytes that are there are not
    /// written again, whatever media type they went by.
    pub(super) async fn write_bytes(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let digest = manifest.digest();
        self.store.put_once(Key::Blob(&digest), manifest.bytes().clone(), manifest.media_type()).await
    }

    /// Enters a manifest that is linked among the referrers of its subject, if it has one.
    pub(super) async fn enter(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        self.referrers.write(name, manifest).await?;
        self.cache.manifests.keep_stored(name, manifest.digest());
        Ok(())
    }
}

/// The first blobs that a manifest names, each once.
pub(super) fn named(manifest: &Manifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let mut blobs = manifest.links().blobs;
    blobs.retain(|blob| seen.len() < NAMED && seen.insert(*blob.digest()));
    blobs
}

/// The first of [`every_vouched`], each once.
fn vouched(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.media_type().is_index() { Vec::new() } else { named(manifest) }
}

/// The blobs that belong to a repository because a manifest that was pushed to it names them. An index makes no blob
/// the repository's: with `validation.manifests.indexes` it may name blobs that no check looked for, and that only
/// another repository has. A blob that was looked for has its own link.
fn every_vouched(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.media_type().is_index() { Vec::new() } else { manifest.links().blobs }
}
