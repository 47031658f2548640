//! Pulling manifests (end-3).
//!
//! A digest is looked for in memory, in the bucket and upstream, in this order. What is in the bucket counts for a
//! repository only with a revision link there. `resolve` turns tags into digests.
//!
//! A revision link that was written for a manifest of the upstream's says so in its metadata: such a manifest vouches
//! for none of the blobs that it names (`members`). One without that metadata was pushed, or is from before there was
//! any.

use std::collections::HashSet;

use super::cache::{Cache, Matter, Origin, Standing};
use super::failure::{of_store, of_upstream};
use super::manifest_writes::is_upstreams;
use super::{Registry, Staleness};
use crate::oci::{Descriptor, Digest, Error, ErrorCode, Manifest, MediaType, Outcome, Reference, RepositoryName};
use crate::store::Key;
use crate::upstream::UpstreamError;

/// How many blobs of a manifest are remembered because it names them, and looked for before a client asks: images have
/// fewer layers (Docker's limit is 127), and one manifest of 4 MiB can name 37,000. Any other is looked for when a
/// client asks for it.
pub(super) const NAMED: usize = 128;

/// A manifest, and how it was come by.
#[derive(Clone, Debug)]
pub struct Served {
    /// The manifest.
    pub manifest: Manifest,
    /// Where it came from.
    pub outcome: Outcome,
    /// Why its tag may mean another one by now, with [`Outcome::Stale`]: deserves a warning to the client.
    pub stale: Option<Staleness>,
}

impl Served {
    pub(super) const fn new(manifest: Manifest, outcome: Outcome) -> Self {
        Self { manifest, outcome, stale: None }
    }
}

impl Registry {
    /// The manifest that a reference means. `accept` are media types that the client named; the upstream is asked for
    /// them besides those that pounce knows. A client that named image manifests and no index gets the image for
    /// linux/amd64 where a tag means an index, as from distribution: it is from before there were indexes. By a digest,
    /// everybody gets what has it.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: the repository does not have it, nor does the upstream; or not for linux/amd64.
    /// - `DENIED`: the upstream refuses pounce's credentials.
    /// - `TOOMANYREQUESTS`, `UNAVAILABLE`: it is not stored, and the upstream cannot be asked.
    pub async fn manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let served = match reference {
            Reference::Digest(digest) => self.manifest_by_digest(name, *digest, accept).await?,
            Reference::Tag(tag) => {
                let tagged = self.manifest_by_tag(name, tag, accept).await?;
                self.image_instead(name, tag, tagged, accept).await?
            }
        };
        self.inner.metrics.manifest(served.outcome);
        Ok(served)
    }

    /// [`manifest`](Self::manifest), where it is in memory.
    #[must_use]
    pub fn known_manifest(&self, name: &RepositoryName, reference: &Reference) -> Option<Served> {
        self.in_memory(name, reference, Cache::manifest)
    }

    /// [`pull_manifest`](Self::pull_manifest), where it is in memory and was pulled before.
    #[must_use]
    pub fn known_pulled_manifest(&self, name: &RepositoryName, reference: &Reference) -> Option<Served> {
        self.in_memory(name, reference, Cache::pulled_manifest)
    }

    fn in_memory(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        look: impl Fn(&Cache, &RepositoryName, Digest) -> Option<Manifest>,
    ) -> Option<Served> {
        let (digest, stale) = match reference {
            Reference::Digest(digest) => (*digest, None),
            Reference::Tag(tag) => {
                let state = self.fresh(name, tag)?;
                (state.digest, state.stale)
            }
        };
        let manifest = look(&self.inner.cache, name, digest)?;
        let outcome = stale.map_or(Outcome::Hit, |_| Outcome::Stale);
        self.inner.metrics.manifest(outcome);
        Some(Served { manifest, outcome, stale })
    }

    pub(super) async fn manifest_by_digest(
        &self,
        name: &RepositoryName,
        digest: Digest,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let cache = &self.inner.cache;
        if let Some(manifest) = cache.manifest(name, digest) {
            return Ok(Served::new(manifest, Outcome::Hit));
        }
        let matter = Matter::Manifest(name.clone(), Reference::Digest(digest));
        cache.in_turn(matter, Box::pin(self.find_manifest(name, digest, accept))).await
    }

    async fn find_manifest(
        &self,
        name: &RepositoryName,
        digest: Digest,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let cache = &self.inner.cache;
        let reference = Reference::Digest(digest);
        let unknown = || manifest_unknown(name, &reference);
        let hit = |manifest| Served::new(manifest, Outcome::Hit);
        if let Some(manifest) = cache.manifest(name, digest) {
            return Ok(hit(manifest));
        }
        if let Some((manifest, origin)) = self.stored_with_origin(name, digest).await? {
            cache.keep_stored(name, digest);
            self.remember_stored(name, &manifest, origin);
            return Ok(hit(manifest));
        }
        let Some(upstream) = self.upstream(name) else {
            return Err(unknown());
        };
        if cache.is_absent(name, &reference) {
            return Err(unknown());
        }
        let fetched = upstream.get_manifest(name, &reference, accept).await;
        match fetched.and_then(|manifest| manifest.verify(Some(digest))) {
            Ok(manifest) => {
                self.remember(name, &manifest);
                self.store_manifest(name, &manifest).await;
                Ok(Served::new(manifest, Outcome::Fill))
            }
            Err(error) => {
                if matches!(error, UpstreamError::NotFound) {
                    cache.keep_absent(name, &reference);
                }
                Err(of_upstream(error, unknown()))
            }
        }
    }

    /// The manifest in the bucket, if the repository has it there.
    pub(super) async fn stored_manifest(
        &self,
        name: &RepositoryName,
        digest: Digest,
    ) -> Result<Option<Manifest>, Error> {
        let stored = self.stored_with_origin(name, digest).await?;
        Ok(stored.map(|(manifest, _)| manifest))
    }

    /// The same, and where it came from. Link and content are asked for at once, but without a link it does not matter
    /// what is under the digest: a layer perhaps.
    async fn stored_with_origin(
        &self,
        name: &RepositoryName,
        digest: Digest,
    ) -> Result<Option<(Manifest, Origin)>, Error> {
        let store = &self.inner.store;
        let (link, blob) = tokio::join!(store.get(Key::Revision(name, &digest)), store.get(Key::Blob(&digest)));
        let Some(link) = link.map_err(of_store)? else {
            return Ok(None);
        };
        let origin = if is_upstreams(&link) { Origin::Upstream } else { Origin::Pushed };
        let Some(object) = blob.map_err(of_store)? else {
            return Ok(None);
        };
        match Manifest::new(object.bytes, object.media_type, Some(digest)) {
            Ok(manifest) => Ok(Some((manifest, origin))),
            Err(error) => {
                tracing::error!(repository = %name, %digest, %error, "the bucket holds other bytes under this digest");
                Ok(None)
            }
        }
    }

    /// Keeps a manifest of the upstream's in memory.
    pub(super) fn remember(&self, name: &RepositoryName, manifest: &Manifest) {
        self.keep(name, manifest, &named(manifest), Standing::Named);
    }

    /// Keeps a manifest in memory that was pushed.
    pub(super) fn remember_pushed(&self, name: &RepositoryName, manifest: &Manifest) {
        self.keep(name, manifest, &vouched(manifest), Standing::Owned);
    }

    /// Keeps a manifest of the bucket's in memory. Of one that was pushed, the push saw to the links of its blobs, or
    /// their fills did: to ask for each again, or to write it, would be a request for every blob of every replica.
    fn remember_stored(&self, name: &RepositoryName, manifest: &Manifest, origin: Origin) {
        match origin {
            Origin::Upstream => self.remember(name, manifest),
            Origin::Pushed => self.keep(name, manifest, &vouched(manifest), Standing::Linked),
        }
    }

    fn keep(&self, name: &RepositoryName, manifest: &Manifest, blobs: &[Descriptor], standing: Standing) {
        // Without an upstream, what a repository has is linked to it in the bucket, and what is not was deleted.
        let blobs = if self.upstream(name).is_some() { blobs } else { &[] };
        let cache = &self.inner.cache;
        cache.keep_manifest(name, manifest, blobs, standing);
    }
}

/// The first blobs that a manifest names, each once.
pub(super) fn named(manifest: &Manifest) -> Vec<Descriptor> {
    let mut seen = HashSet::new();
    let mut blobs = manifest.links().blobs;
    blobs.retain(|blob| seen.len() < NAMED && seen.insert(*blob.digest()));
    blobs
}

/// Those of [`every_vouched`] that are remembered.
fn vouched(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.media_type().is_index() {
        return Vec::new();
    }
    named(manifest)
}

pub(super) fn manifest_unknown(name: &RepositoryName, reference: &Reference) -> Error {
    Error::new(ErrorCode::ManifestUnknown, format!("{name} has no manifest {reference}"))
}
