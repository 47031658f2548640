//! The content that a pushed manifest names has to be in its repository.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;

use super::Manifests;
use crate::oci::{Descriptor, Digest, Error, ErrorCode, Links, Manifest, Reference, RepositoryName};
use crate::registry::runtime::{buffered, first};
use crate::store::Key;

/// How many of the descriptors of a manifest are looked for at once.
const PARALLEL: usize = 32;
/// After so many that the repository does not have, the others are not looked for, because the push fails in any case.
const MISSING: usize = 16;
/// For how many of them the upstream is asked, and for how many at once. Further ones count as missing, because the
/// client can push them.
const LOOKUPS: usize = 256;
const LOOKUPS_AT_ONCE: usize = 8;

/// Content that a manifest names.
#[derive(Clone, Copy, Debug)]
struct Named {
    digest: Digest,
    size: u64,
    /// The descriptor calls it a manifest.
    is_manifest: bool,
    /// The descriptor calls it an image manifest.
    is_image: bool,
}

/// Content that a pushed manifest names, and that the bucket has: the push relies on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) digest: Digest,
    /// The repository has it as a manifest.
    pub(super) is_manifest: bool,
    /// The repository has it as a blob.
    pub(super) is_blob: bool,
    /// The descriptor calls it an image manifest.
    pub(super) is_image: bool,
}

/// How far the upstream may be asked for what one manifest names: an index may have 37,000 entries. And what was found.
#[derive(Debug)]
struct Lookups {
    left: AtomicUsize,
    at_once: Semaphore,
    found: Mutex<Vec<Found>>,
}

impl Lookups {
    fn new() -> Self {
        Self { left: AtomicUsize::new(LOOKUPS), at_once: Semaphore::new(LOOKUPS_AT_ONCE), found: Mutex::default() }
    }

    fn found(&self, found: Found) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).push(found);
    }

    /// Asks the upstream when there is a permit; `false` if it was asked often enough.
    async fn ask(&self, ask: impl Future<Output = Result<bool, Error>>) -> Result<bool, Error> {
        let one_less = |left: usize| left.checked_sub(1);
        let relaxed = Ordering::Relaxed;
        if self.left.fetch_update(relaxed, relaxed, one_less).is_err() {
            return Ok(false);
        }
        // The semaphore is never closed.
        let _permit = self.at_once.acquire().await.ok();
        ask.await
    }
}

impl Named {
    fn new(descriptor: &Descriptor) -> Self {
        Self {
            digest: *descriptor.digest(),
            size: descriptor.size(),
            is_manifest: descriptor.media_type().is_manifest(),
            is_image: descriptor.media_type().is_image(),
        }
    }
}

impl Manifests {
    /// Requires that the repository has all content that a manifest names, except its subject; of an index, as far as
    /// `validation.manifests.indexes` says so. Returns what of it the bucket has.
    pub(super) async fn require_links(&self, name: &RepositoryName, manifest: &Manifest) -> Result<Vec<Found>, Error> {
        let is_index = manifest.media_type().is_index();
        let Links { blobs, manifests } = manifest.links();
        let validation = &self.validation;
        let is_required = |entry: &Descriptor| {
            let platform = entry.platform();
            !is_index || validation.requires(platform.map(|it| (it.os(), it.architecture())))
        };
        let named = blobs.into_iter().chain(manifests).filter(is_required);
        let mut named: Vec<Named> = named.map(|it| Named::new(&it)).collect();
        named.sort_unstable_by_key(|it| it.digest);
        named.dedup_by_key(|it| it.digest);
        let lookups = Lookups::new();
        let look = |it| self.missing(name, it, is_index, &lookups);
        let missing = first(MISSING, buffered(PARALLEL, named, look)).await?;
        if missing.is_empty() {
            return Ok(lookups.found.into_inner().unwrap_or_else(PoisonError::into_inner));
        }
        Err(lacks(name, missing))
    }

    /// The digest of a descriptor whose content the repository does not have.
    async fn missing(
        &self,
        name: &RepositoryName,
        it: Named,
        is_entry: bool,
        lookups: &Lookups,
    ) -> Result<Option<Digest>, Error> {
        let there =
            if is_entry { self.has_entry(name, it, lookups).await? } else { self.has_blob(name, it, lookups).await? };
        Ok((!there).then_some(it.digest))
    }

    /// A blob that only the upstream has is filled in the background, because a client that asked for it was told that
    /// the repository has it, and did not push it.
    async fn has_blob(&self, name: &RepositoryName, blob: Named, lookups: &Lookups) -> Result<bool, Error> {
        let (digest, began) = (&blob.digest, self.links.begin());
        // A permit for each lookup, so that those of another manifest come in between.
        let status = self.checked(self.links.status_from_bucket(name, digest)).await?;
        let found = Found { digest: *digest, is_manifest: false, is_blob: true, is_image: false };
        if status.stored.is_some() && status.linked {
            lookups.found(found);
            return Ok(true);
        }
        // A link without a blob may be of a push that failed.
        if !status.member || status.stored.is_none() {
            let ask = async {
                match self.links.ask_upstream(name, digest).await {
                    Ok(()) => Ok(true),
                    Err(error) if error.code() == ErrorCode::BlobUnknown => Ok(false),
                    Err(error) => Err(error),
                }
            };
            if !self.upstreams.has(name) || !lookups.ask(ask).await? {
                return Ok(false);
            }
        }
        match (status.stored, self.upstreams.of(name)) {
            (Some(size), _) => {
                self.links.link_pushed(name, digest, size, began).await?;
                lookups.found(found);
                Ok(true)
            }
            (None, Some(upstream)) => {
                self.blobs.fill_in_background(&upstream, name, digest, Some(blob.size));
                Ok(true)
            }
            (None, None) => Ok(false),
        }
    }

    /// Asks the bucket when there is a permit.
    async fn checked<T>(&self, look: impl Future<Output = T>) -> T {
        // The semaphore is never closed.
        let _permit = self.checks.acquire().await.ok();
        look.await
    }

    /// Whether the repository has an entry of an index, as a manifest or a blob: like distribution, whichever the
    /// descriptor calls it.
    async fn has_entry(&self, name: &RepositoryName, entry: Named, lookups: &Lookups) -> Result<bool, Error> {
        let (store, digest) = (&self.store, &entry.digest);
        let look = async {
            tokio::try_join!(
                store.head(Key::Revision(name, digest)),
                store.head(Key::Layer(name, digest)),
                store.head(Key::Blob(digest))
            )
        };
        let (revision, layer, blob) = self.checked(look).await?;
        let (is_manifest, is_blob) = (revision.is_some(), layer.is_some());
        if blob.is_some() && (is_manifest || is_blob) {
            lookups.found(Found { digest: *digest, is_manifest, is_blob, is_image: entry.is_image });
            return Ok(true);
        }
        // So what this process remembers of it is wrong.
        self.cache.manifests.forget(name, digest);
        self.cache.lists.forget_catalog();
        if !self.upstreams.has(name) {
            return Ok(false);
        }
        // First as what the descriptor calls it, which is mostly right.
        for as_manifest in [entry.is_manifest, !entry.is_manifest] {
            let there = if as_manifest {
                let ask = Box::pin(self.upstream_has_manifest(name, digest));
                lookups.ask(ask).await?
            } else {
                self.has_blob(name, entry, lookups).await?
            };
            if there {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn upstream_has_manifest(&self, name: &RepositoryName, digest: &Digest) -> Result<bool, Error> {
        match self.find_named(name, &Reference::Digest(*digest), &[]).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::ManifestUnknown => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// `MANIFEST_BLOB_UNKNOWN`
pub(super) fn lacks(name: &RepositoryName, missing: Vec<Digest>) -> Error {
    let message = format!("{name} does not have everything that the manifest names");
    Error::new(ErrorCode::ManifestBlobUnknown, message).with_missing(missing)
}
