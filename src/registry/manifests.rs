//! Pulling manifests (end-3).
//!
//! A digest is looked for in memory, in the bucket and upstream, in this order. What is in the
//! bucket counts for a repository only with a revision link there. `resolve` turns tags into digests.
//!
//! A revision link that was written for a manifest of the upstream's says so in its metadata: such a manifest vouches for
//! none of the blobs that it names (`members`). One without that metadata was pushed, or is from before there was any.

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::cache::{Cache, Matter, Member, Origin, Standing};
use super::failure::{of_store, of_upstream};
use super::parallel::lazily;
use super::{Registry, Staleness};
use crate::oci::{
    Descriptor, Digest, Error, ErrorCode, Manifest, MediaType, Reference, RepositoryName,
};
use crate::store::{Condition, Key, Metadata, Object, StoreError};
use crate::telemetry::Outcome;
use crate::upstream::UpstreamError;

/// How many layer links of a manifest are written at once.
const LINKS: usize = 16;
/// How many blobs of a manifest are remembered because it names them, and looked for before a client asks: images have
/// fewer layers (Docker's limit is 127), and one manifest of 4 MiB can name 37,000. Any other is looked for when a client
/// asks for it.
pub(super) const NAMED: usize = 128;

/// The metadata of a revision link that was written for a manifest of the upstream's.
const ORIGIN: &str = "origin";
const UPSTREAM: &str = "upstream";

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
        Self {
            manifest,
            outcome,
            stale: None,
        }
    }
}

impl Registry {
    /// The manifest that a reference means. `accept` are media types that the client named; the
    /// upstream is asked for them besides those that pounce knows. A client that named image manifests and no index
    /// gets the image for linux/amd64 where a tag means an index, as from distribution: it is from before there were
    /// indexes. By a digest, everybody gets what has it.
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
    pub fn known_pulled_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Option<Served> {
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
        Some(Served {
            manifest,
            outcome,
            stale,
        })
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
        cache
            .in_turn(matter, Box::pin(self.find_manifest(name, digest, accept)))
            .await
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
        let (link, blob) = tokio::join!(
            store.get(Key::Revision(name, &digest)),
            store.get(Key::Blob(&digest))
        );
        let Some(link) = link.map_err(of_store)? else {
            return Ok(None);
        };
        let origin = if is_upstreams(&link) {
            Origin::Upstream
        } else {
            Origin::Pushed
        };
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

    fn keep(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        blobs: &[Descriptor],
        standing: Standing,
    ) {
        // Without an upstream, what a repository has is linked to it in the bucket, and what is not was
        // deleted.
        let blobs = if self.upstream(name).is_some() {
            blobs
        } else {
            &[]
        };
        let cache = &self.inner.cache;
        cache.keep_manifest(name, manifest, blobs, standing);
    }

    /// Stores a manifest of the upstream's behind the client's back.
    pub(super) async fn store_manifest(&self, name: &RepositoryName, manifest: &Manifest) {
        let (registry, name, manifest) = (self.clone(), name.clone(), manifest.clone());
        let work = async move {
            let digest = manifest.digest();
            if let Err(error) = registry.write_manifest(&name, &manifest).await {
                tracing::warn!(repository = %name, %digest, %error, "a manifest was served but not stored");
            }
        };
        self.inner.background.run(work).await;
    }

    /// Writes a manifest of the upstream's: its bytes first, then the link that makes it the repository's. Its blobs get
    /// their links when they are filled, or when the upstream says that it has them. The link of a manifest that was
    /// pushed stays as it is.
    pub(super) async fn write_manifest(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        self.write_bytes(manifest).await?;
        let (store, digest) = (&self.inner.store, manifest.digest());
        let key = Key::Revision(name, &digest);
        if store.keeps_conditions().await || store.head(key).await?.is_none() {
            let metadata = Metadata::from([(ORIGIN.to_owned(), UPSTREAM.to_owned())]);
            let (bytes, media_type) = (Bytes::from(digest.to_string()), MediaType::OCTET_STREAM);
            let absent = Condition::IfAbsent;
            store
                .put(key, bytes, &media_type, &metadata, absent)
                .await?;
        }
        self.end_write(name, manifest).await
    }

    /// Writes a manifest that was pushed: its bytes, links for those of its blobs that the bucket has, so that
    /// distribution finds them in this repository too, then the link that makes it the repository's: a replica that
    /// finds that one believes that the others are there.
    pub(super) async fn write_pushed(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        self.write_bytes(manifest).await?;
        let blobs = every_vouched(manifest).into_iter();
        let blobs = blobs.map(|blob| (*blob.digest(), blob.size()));
        let blobs: Vec<(Digest, u64)> = blobs.collect();
        let link = |(digest, size)| self.link_stored(name, digest, size);
        let links = lazily(LINKS, blobs, link);
        links.try_collect::<()>().await?;
        let digest = manifest.digest();
        self.write_link(Key::Revision(name, &digest), &digest)
            .await?;
        self.end_write(name, manifest).await
    }

    async fn write_bytes(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let (store, digest) = (&self.inner.store, manifest.digest());
        let (bytes, media_type) = (manifest.bytes().clone(), manifest.media_type());
        let (key, plain) = (Key::Blob(&digest), Metadata::new());
        let put = |condition| store.put(key, bytes.clone(), media_type, &plain, condition);
        // One that is there is not written again, by whatever media type it went.
        let is_there = !store.keeps_conditions().await && store.head(key).await?.is_some();
        // Not written because it is there, or because another replica is just writing it, perhaps in vain.
        if !is_there && !put(Condition::IfAbsent).await? && store.head(key).await?.is_none() {
            put(Condition::Always).await?;
        }
        Ok(())
    }

    async fn end_write(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        self.write_referrer(name, manifest).await?;
        self.inner.cache.keep_stored(name, manifest.digest());
        Ok(())
    }

    /// Writes the layer link of a blob that is in the bucket, unless it has one.
    async fn link_stored(
        &self,
        name: &RepositoryName,
        digest: Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        let (store, cache) = (&self.inner.store, &self.inner.cache);
        if cache.member(name, &digest).is_some_and(|it| it.is_linked()) {
            return Ok(());
        }
        let known = cache.present(&digest).is_some();
        if known || store.head(Key::Blob(&digest)).await?.is_some() {
            self.write_link(Key::Layer(name, &digest), &digest).await?;
            let standing = Standing::Linked;
            cache.keep_member(name, digest, Member { size, standing });
        }
        Ok(())
    }

    /// A link is an object that holds a digest.
    pub(super) async fn write_link(&self, key: Key<'_>, digest: &Digest) -> Result<(), StoreError> {
        let bytes = Bytes::from(digest.to_string());
        let (media_type, metadata) = (MediaType::OCTET_STREAM, Metadata::new());
        self.inner
            .store
            .put(key, bytes, &media_type, &metadata, Condition::Always)
            .await?;
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

/// Those of [`every_vouched`] that are remembered.
fn vouched(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.media_type().is_index() {
        return Vec::new();
    }
    named(manifest)
}

/// Whether a fill wrote the link of a revision: it says so since fills do.
pub(super) fn is_upstreams(link: &Object) -> bool {
    link.metadata.get(ORIGIN).is_some_and(|it| it == UPSTREAM)
}

/// The blobs that belong to a repository because a manifest that was pushed to it names them. An index makes no blob the
/// repository's: with `validation.manifests.indexes` it may name what no check looked for, and what only another
/// repository has. What was looked for has its own link.
fn every_vouched(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.media_type().is_index() {
        return Vec::new();
    }
    manifest.links().blobs
}

pub(super) fn manifest_unknown(name: &RepositoryName, reference: &Reference) -> Error {
    Error::new(
        ErrorCode::ManifestUnknown,
        format!("{name} has no manifest {reference}"),
    )
}
