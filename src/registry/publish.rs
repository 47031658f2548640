//! Pushing manifests (end-7): what a manifest names must be in its repository, and what is written
//! last is what makes it visible: blob, link, referrer entry, tags.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Registry;
use super::cache::{Matter, Origin, TagState};
use super::failure::of_store;
use super::parallel::{a_few, first, lazily};
use crate::oci::{
    Descriptor, Digest, Error, ErrorCode, Links, Manifest, ManifestError, MediaType, Reference,
    RepositoryName, Tag,
};
use crate::store::Key;

/// How many of the things that a manifest names are looked for at once.
const PARALLEL: usize = 32;
/// After so many that the repository does not have, the others are not looked for: the push fails in any case.
const MISSING: usize = 16;
/// For how many of them the upstream is asked, and for how many at once. The repository does not have what is beyond:
/// its client can push it.
const LOOKUPS: usize = 256;
const LOOKUPS_AT_ONCE: usize = 8;

/// How often a manifest is written that others delete at the same time.
const ATTEMPTS: usize = 3;

/// A manifest that a client pushes.
#[derive(Clone, Debug)]
pub struct ManifestRequest<'a> {
    /// The repository.
    pub name: &'a RepositoryName,
    /// The tag or digest that it is pushed to.
    pub reference: &'a Reference,
    /// More tags that it gets.
    pub tags: &'a [Tag],
    /// The `Content-Type`.
    pub media_type: Option<MediaType>,
    /// The manifest.
    pub bytes: Bytes,
}

/// A manifest that is the repository's now.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Its digest.
    pub digest: Digest,
    /// What it refers to by its `subject`.
    pub subject: Option<Digest>,
}

/// What a manifest names.
#[derive(Clone, Copy, Debug)]
struct Named {
    digest: Digest,
    size: u64,
    /// It is called a manifest.
    is_manifest: bool,
}

/// How far the upstream may be asked for what one manifest names: somebody may push an index of 37,000 entries.
#[derive(Debug)]
struct Lookups {
    left: AtomicUsize,
    at_once: Semaphore,
}

impl Lookups {
    fn new() -> Self {
        Self {
            left: AtomicUsize::new(LOOKUPS),
            at_once: Semaphore::new(LOOKUPS_AT_ONCE),
        }
    }

    /// Asks the upstream in its turn; `false` if it was asked often enough.
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

impl Registry {
    /// Takes a manifest. Everything that it names is in the repository afterwards, and every tag means
    /// it.
    ///
    /// # Errors
    /// - `MANIFEST_INVALID`: it is not a manifest of its media type.
    /// - `DIGEST_INVALID`: it is not the one of the digest that it is pushed to.
    /// - `SIZE_INVALID`: it has more than 4 MiB.
    /// - `MANIFEST_BLOB_UNKNOWN`: it names what the repository does not have; the first 16 of that are listed.
    /// - `UNAVAILABLE`, `UNSUPPORTED`.
    pub async fn push_manifest(&self, request: ManifestRequest<'_>) -> Result<Published, Error> {
        self.writable()?;
        let name = request.name;
        let (expected, tag) = match request.reference {
            Reference::Digest(digest) => (Some(*digest), None),
            Reference::Tag(tag) => (None, Some(tag)),
        };
        let manifest = Manifest::pushed(&request.bytes, request.media_type, expected)
            .map_err(|error| refused(&error))?;
        self.require_links(name, &manifest).await?;

        let subject = manifest.referrer().map(|(subject, _)| subject);
        let published = Published {
            digest: manifest.digest(),
            subject,
        };
        let (registry, name) = (self.clone(), name.clone());
        let tags: Vec<Tag> = tag.into_iter().chain(request.tags).cloned().collect();
        let write = async move { registry.publish(&name, &manifest, &tags).await };
        self.inner.background.to_its_end(write).await?;
        Ok(published)
    }

    /// Writes a manifest and its tags.
    async fn publish(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        tags: &[Tag],
    ) -> Result<(), Error> {
        let (cache, digest) = (&self.inner.cache, manifest.digest());
        let reference = Reference::Digest(digest);
        let matter = Matter::Manifest(name.clone(), reference.clone());
        let write = async {
            self.mark_holding(name).await.map_err(of_store)?;
            for _ in 0..ATTEMPTS {
                let written = self.write_pushed(name, manifest).await;
                written.map_err(of_store)?;
                for tag in tags {
                    self.push_tag(name, tag, digest).await?;
                }
                if self.is_whole(name, &digest, tags).await? {
                    return Ok(());
                }
            }
            let message = "somebody deletes what is being pushed, push it again";
            Err(Error::new(ErrorCode::Unavailable, message))
        };
        // Tags and all, so that no delete of the manifest comes before its tags. A delete takes the two
        // turns in the same order.
        cache.alone(matter, Box::pin(write)).await?;
        cache.forget_absent(name, &reference);
        cache.forget_catalog_without(name);
        self.remember_pushed(name, manifest);
        Ok(())
    }

    /// Whether all that was written is still there: another replica may be deleting it.
    async fn is_whole(
        &self,
        name: &RepositoryName,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<bool, Error> {
        if tags.is_empty() || self.deletable().is_err() {
            return Ok(true);
        }
        let tags = tags.iter().map(|tag| Key::Tag(name, tag));
        let keys = tags.chain([Key::Revision(name, digest)]);
        let look = keys.map(|key| self.inner.store.is_there_now(key)).collect();
        let there = a_few(PARALLEL, look).await.map_err(of_store)?;
        Ok(there.into_iter().all(|is_there| is_there))
    }

    /// Writes what a tag means. The link has no metadata of pounce's, which says that it was pushed.
    async fn push_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: Digest,
    ) -> Result<(), Error> {
        let cache = &self.inner.cache;
        let reference = Reference::Tag(tag.clone());
        let is_kept = self.inner.store.keeps_conditions().await;
        let write = async {
            if !is_kept {
                let marked = self.mark_pushed(name, tag, &digest).await;
                marked.map_err(of_store)?;
            }
            // What it means before that it ever meant it: a tag in the list is one that can be pulled.
            for key in [Key::Tag(name, tag), Key::TagHistory(name, tag, &digest)] {
                self.write_link(key, &digest).await.map_err(of_store)?;
            }
            if !is_kept {
                let held = Box::pin(self.hold_pushed(name, tag, &digest)).await;
                held.map_err(of_store)?;
            }
            let state = TagState {
                digest,
                origin: Origin::Pushed,
                fresh_until: Instant::now() + self.inner.tag_ttl,
                stale: None,
            };
            cache.keep_tag(name, tag, state);
            cache.forget_absent(name, &reference);
            self.forget_tag_list(name).await;
            Ok(())
        };
        // In turn with those who look the tag up, so that none of them remembers what it meant before.
        let matter = Matter::Manifest(name.clone(), reference.clone());
        cache.alone(matter, write).await
    }

    /// Whatever a manifest names, except its subject, must be the repository's; of an index, as far as
    /// `validation.manifests.indexes` says so.
    async fn require_links(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), Error> {
        let is_index = manifest.media_type().is_index();
        let Links { blobs, manifests } = manifest.links();
        let validation = &self.inner.validation;
        let is_required = |entry: &Descriptor| {
            let platform = entry.platform();
            !is_index || validation.requires(platform.map(|it| (it.os(), it.architecture())))
        };
        let named = blobs.into_iter().chain(manifests).filter(is_required);
        let mut named: Vec<Named> = named.map(|it| Named::new(&it)).collect();
        named.sort_unstable_by_key(|it| it.digest);
        named.dedup_by_key(|it| it.digest);
        let lookups = &Lookups::new();
        let look = |it| self.missing(name, it, is_index, lookups);
        let looks = lazily(PARALLEL, named, look);
        let missing = first(MISSING, looks).await?;
        if missing.is_empty() {
            return Ok(());
        }
        let message = format!("{name} does not have everything that the manifest names");
        Err(Error::new(ErrorCode::ManifestBlobUnknown, message).naming(missing))
    }

    /// What a descriptor points at, if the repository does not have it.
    async fn missing(
        &self,
        name: &RepositoryName,
        it: Named,
        is_entry: bool,
        lookups: &Lookups,
    ) -> Result<Option<Digest>, Error> {
        let there = if is_entry {
            self.has_entry(name, it, lookups).await?
        } else {
            self.has_blob(name, it, lookups).await?
        };
        Ok((!there).then_some(it.digest))
    }

    /// A blob that only the upstream has is fetched in the background: a client that asked for
    /// it was told that the repository has it, and did not push it.
    async fn has_blob(
        &self,
        name: &RepositoryName,
        blob: Named,
        lookups: &Lookups,
    ) -> Result<bool, Error> {
        let digest = &blob.digest;
        // A place for each look at the bucket: those of another manifest come in between.
        let known = self.checked(self.known_now(name, digest)).await?;
        if known.stored.is_some() && known.linked {
            return Ok(true);
        }
        if !known.member {
            let ask = async {
                match self.ask_membership(name, digest).await {
                    Ok(()) => Ok(true),
                    Err(error) if error.code() == ErrorCode::BlobUnknown => Ok(false),
                    Err(error) => Err(error),
                }
            };
            if self.upstream(name).is_none() || !lookups.ask(ask).await? {
                return Ok(false);
            }
        }
        match (known.stored, self.upstream(name)) {
            (Some(size), _) => {
                self.blob_pushed(name, digest, size).await?;
                Ok(true)
            }
            (None, Some(upstream)) => {
                self.fetch_later(upstream, name, digest, Some(blob.size));
                Ok(true)
            }
            (None, None) => Ok(false),
        }
    }

    /// Looks at the bucket in turn with the pushes of other manifests.
    async fn checked<T>(&self, look: impl Future<Output = T>) -> T {
        // The semaphore is never closed.
        let _permit = self.inner.checks.acquire().await.ok();
        look.await
    }

    /// Whether the repository has an entry of an index, a manifest or a blob: as distribution does it, whichever it is
    /// called.
    async fn has_entry(
        &self,
        name: &RepositoryName,
        entry: Named,
        lookups: &Lookups,
    ) -> Result<bool, Error> {
        let (store, digest) = (&self.inner.store, &entry.digest);
        let look = async {
            tokio::try_join!(
                store.head(Key::Revision(name, digest)),
                store.head(Key::Layer(name, digest)),
                store.head(Key::Blob(digest))
            )
        };
        let (revision, layer, blob) = self.checked(look).await.map_err(of_store)?;
        if blob.is_some() && (revision.is_some() || layer.is_some()) {
            return Ok(true);
        }
        // Nor is what this process remembers in the bucket.
        self.inner.cache.forget_manifest(name, digest);
        if self.upstream(name).is_none() {
            return Ok(false);
        }
        // What it is called is asked for first, and most things are what they are called.
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

    async fn upstream_has_manifest(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool, Error> {
        match self.manifest(name, &Reference::Digest(*digest), &[]).await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == ErrorCode::ManifestUnknown => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Named {
    fn new(descriptor: &Descriptor) -> Self {
        Self {
            digest: *descriptor.digest(),
            size: descriptor.size(),
            is_manifest: descriptor.media_type().is_manifest(),
        }
    }
}

/// What the client is told of a manifest that is none.
fn refused(error: &ManifestError) -> Error {
    let code = match error {
        ManifestError::TooLarge(_) => ErrorCode::TooLarge,
        ManifestError::Digest { .. } => ErrorCode::DigestInvalid,
        _ => ErrorCode::ManifestInvalid,
    };
    Error::new(code, error.to_string())
}
