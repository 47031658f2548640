//! Pulling manifests (end-3).

use super::Manifests;
use crate::oci::{Digest, Error, ErrorCode, Manifest, MediaType, Outcome, Reference, RepositoryName, Tag};
use crate::registry::failure::of_upstream;
use crate::registry::flights::FlightKey;
use crate::registry::presence::manifest_unknown;
use crate::registry::staleness::Staleness;
use crate::registry::stored_manifest;
use crate::registry::tags::Resolved;
use crate::upstream::UpstreamError;

/// A manifest, and how it was found.
#[derive(Clone, Debug)]
pub struct Served {
    /// The manifest.
    pub manifest: Manifest,
    /// Where it came from.
    pub outcome: Outcome,
    /// Why its tag may name another one by now, with [`Outcome::Stale`]: deserves a warning to the client.
    pub stale: Option<Staleness>,
}

impl Served {
    const fn new(manifest: Manifest, outcome: Outcome) -> Self {
        Self { manifest, outcome, stale: None }
    }
}

impl Manifests {
    /// The manifest that a reference names, for a client: the pull is recorded. `accept` are media types that the client named; the upstream is asked for
    /// them besides those that pounce knows. A client that named image manifests and no index gets the image for
    /// linux/amd64 where a tag names an index, as from distribution, because the client is from before there were
    /// indexes. By a digest, every client gets the content that has it.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: the repository does not have it, nor does the upstream; or not for linux/amd64.
    /// - `DENIED`: the upstream refuses pounce's credentials.
    /// - `TOOMANYREQUESTS`, `UNAVAILABLE`: it is not stored, and the upstream cannot be asked.
    pub async fn pull(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let served = self.find_named(name, reference, accept).await?;
        self.pulls.record(name, served.manifest.digest());
        Ok(served)
    }

    /// [`pull`](Self::pull), for this process's own use.
    pub(super) async fn find_named(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let served = match reference {
            Reference::Digest(digest) => self.by_digest(name, *digest, accept).await?,
            Reference::Tag(tag) => {
                let tagged = self.by_tag(name, tag, accept).await?;
                self.image_of_index(name, tag, tagged, accept).await?
            }
        };
        self.count(name, served.outcome);
        Ok(served)
    }

    /// [`pull`](Self::pull), where the manifest is in memory; `pulled` asks for one that a client pulled before, and
    /// `only_images` for one that is no index.
    #[must_use]
    pub fn pull_from_memory(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        pulled: bool,
        only_images: bool,
    ) -> Option<Served> {
        let (digest, stale) = match reference {
            Reference::Digest(digest) => (*digest, None),
            Reference::Tag(tag) => {
                let state = self.tags.fresh(name, tag)?;
                (state.digest, state.stale)
            }
        };
        let cached = self.cache.manifests.get_cached(name, digest)?;
        if (pulled && !cached.is_pulled()) || (only_images && cached.manifest.media_type().is_index()) {
            return None;
        }
        if cached.is_first_in(self.pulls.period()) {
            self.pulls.record(name, digest);
        }
        let outcome = stale.map_or(Outcome::Hit, |_| Outcome::Stale);
        self.count(name, outcome);
        Some(Served { manifest: cached.manifest, outcome, stale })
    }

    fn count(&self, name: &RepositoryName, outcome: Outcome) {
        match self.upstreams.of(name) {
            Some(upstream) => upstream.metrics().manifest(outcome),
            None => self.metrics.of_no_upstream().manifest(outcome),
        }
    }

    async fn by_digest(&self, name: &RepositoryName, digest: Digest, accept: &[MediaType]) -> Result<Served, Error> {
        if let Some(manifest) = self.cache.manifests.get(name, digest) {
            return Ok(Served::new(manifest, Outcome::Hit));
        }
        let key = FlightKey::Manifest(name.clone(), Reference::Digest(digest));
        self.flights.coalesce(key, Box::pin(self.find(name, digest, accept))).await
    }

    async fn find(&self, name: &RepositoryName, digest: Digest, accept: &[MediaType]) -> Result<Served, Error> {
        let (cache, revisions) = (&self.cache, &self.revisions);
        if let Some(manifest) = cache.manifests.get(name, digest) {
            return Ok(Served::new(manifest, Outcome::Hit));
        }
        if let Some((manifest, origin)) = stored_manifest::read(&self.store, name, digest).await? {
            cache.manifests.keep_stored(name, digest);
            revisions.remember_stored(name, &manifest, origin);
            return Ok(Served::new(manifest, Outcome::Hit));
        }
        let reference = Reference::Digest(digest);
        let unknown = || manifest_unknown(name, &reference);
        let Some(upstream) = self.upstreams.of(name).filter(|_| !cache.absent.contains(name, &reference)) else {
            return Err(unknown());
        };
        let fetched = upstream.get_manifest(name, &reference, accept).await;
        match fetched.and_then(|manifest| manifest.verify(Some(digest))) {
            Ok(manifest) => {
                revisions.remember(name, &manifest);
                revisions.write_in_background(name, &manifest).await;
                Ok(Served::new(manifest, Outcome::Fill))
            }
            Err(error) => {
                if matches!(error, UpstreamError::NotFound) {
                    cache.absent.keep(name, &reference);
                }
                Err(of_upstream(error, unknown()))
            }
        }
    }

    /// A tag that names a manifest that cannot be had is resolved once more, past memory: another replica may have
    /// deleted the manifest, and the tag may have been pushed anew or moved. An upstream that is away or refuses says
    /// nothing of what the bucket has.
    async fn by_tag(&self, name: &RepositoryName, tag: &Tag, accept: &[MediaType]) -> Result<Served, Error> {
        let mut gone = None;
        loop {
            let (digest, outcome, stale) = match self.tags.resolve(name, tag, accept, gone).await? {
                Resolved::Manifest(manifest) => return Ok(Served::new(manifest, Outcome::Fill)),
                Resolved::Digest(digest, outcome, stale) => (digest, outcome, stale),
            };
            match self.by_digest(name, digest, accept).await {
                Ok(served) => {
                    // How the tag was resolved says more than where the bytes were.
                    let outcome = if served.outcome == Outcome::Hit { outcome } else { served.outcome };
                    return Ok(Served { outcome, stale, ..served });
                }
                Err(error) if gone.is_none() => {
                    if error.code() == ErrorCode::ManifestUnknown {
                        self.cache.tags.forget_digest(name, tag, &digest);
                    }
                    gone = Some(digest);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What a client gets of a tag: where that is an index, and the client named image manifests and no index, the
    /// image for linux/amd64.
    async fn image_of_index(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        served: Served,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let takes_no_index = accept.iter().any(MediaType::is_image) && !accept.iter().any(MediaType::is_index);
        if !takes_no_index || !served.manifest.media_type().is_index() {
            return Ok(served);
        }
        let Some(digest) = served.manifest.default_image(accept) else {
            let message = format!(
                "{name}:{tag} is an index without an image for linux/amd64, and the request's Accept names no index: \
                 name {} too",
                served.manifest.media_type()
            );
            return Err(Error::new(ErrorCode::ManifestUnknown, message));
        };
        let image = self.by_digest(name, digest, accept).await?;
        // The index is in use, too: it is what the tag names.
        self.pulls.record(name, served.manifest.digest());
        Ok(Served { manifest: image.manifest, ..served })
    }
}
