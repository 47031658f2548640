//! Pushing manifests (end-7): what a manifest names must be in its repository, and what is written
//! last is what makes it visible: blob, link, referrer entry, tags.

use std::time::Instant;

use bytes::Bytes;

use super::Registry;
use super::cache::{Matter, Origin, TagState};
use super::failure::of_store;
use super::parallel::a_few;
use crate::oci::{
    Descriptor, Digest, Error, ErrorCode, Links, Manifest, ManifestError, MediaType, Reference,
    RepositoryName, Tag,
};
use crate::store::Key;

/// How many of the things that a manifest names are looked for at once.
const PARALLEL: usize = 32;

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

impl Registry {
    /// Takes a manifest. Everything that it names is in the repository afterwards, and every tag means
    /// it.
    ///
    /// # Errors
    /// - `MANIFEST_INVALID`: it is not a manifest of its media type.
    /// - `DIGEST_INVALID`: it is not the one of the digest that it is pushed to.
    /// - `SIZE_INVALID`: it has more than 4 MiB.
    /// - `MANIFEST_BLOB_UNKNOWN`: it names what the repository does not have; all of that is listed.
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
        let mut named: Vec<Descriptor> = blobs.into_iter().chain(manifests).collect();
        if is_index {
            let validation = &self.inner.validation;
            named.retain(|entry| {
                let platform = entry.platform();
                validation.requires(platform.map(|it| (it.os(), it.architecture())))
            });
        }
        named.sort_unstable_by_key(|descriptor| *descriptor.digest());
        named.dedup_by_key(|descriptor| *descriptor.digest());
        let look = |descriptor| self.missing(name, descriptor, is_index);
        let missing = a_few(PARALLEL, named.iter().map(look).collect()).await?;
        let missing: Vec<Digest> = missing.into_iter().flatten().collect();
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
        descriptor: &Descriptor,
        is_entry: bool,
    ) -> Result<Option<Digest>, Error> {
        let there = if is_entry {
            self.has_entry(name, descriptor).await?
        } else {
            self.has_blob(name, descriptor).await?
        };
        Ok((!there).then_some(*descriptor.digest()))
    }

    /// A blob that only the upstream has is fetched behind the client's back: a client that asked for
    /// it was told that the repository has it, and did not push it.
    async fn has_blob(&self, name: &RepositoryName, blob: &Descriptor) -> Result<bool, Error> {
        let digest = blob.digest();
        let known = self.known_now(name, digest).await?;
        if known.stored.is_some() && known.linked {
            return Ok(true);
        }
        if !known.member {
            match self.ask_membership(name, digest).await {
                Ok(()) => {}
                Err(error) if error.code() == ErrorCode::BlobUnknown => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        match (known.stored, self.upstream(name)) {
            (Some(size), _) => {
                self.blob_pushed(name, digest, size).await?;
                Ok(true)
            }
            (None, Some(upstream)) => {
                self.fetch_later(upstream, name, digest, Some(blob.size()));
                Ok(true)
            }
            (None, None) => Ok(false),
        }
    }

    /// Whether the repository has an entry of an index, a manifest or a blob: as distribution does it, whichever it is
    /// called.
    async fn has_entry(&self, name: &RepositoryName, entry: &Descriptor) -> Result<bool, Error> {
        let (store, digest) = (&self.inner.store, entry.digest());
        let (revision, layer, blob) = tokio::try_join!(
            store.head(Key::Revision(name, digest)),
            store.head(Key::Layer(name, digest)),
            store.head(Key::Blob(digest))
        )
        .map_err(of_store)?;
        if blob.is_some() && (revision.is_some() || layer.is_some()) {
            return Ok(true);
        }
        // Nor is what this process remembers in the bucket.
        self.inner.cache.forget_manifest(name, digest);
        if self.upstream(name).is_none() {
            return Ok(false);
        }
        // What it is called is asked for first, and most things are what they are called.
        let is_manifest = entry.media_type().is_manifest();
        for as_manifest in [is_manifest, !is_manifest] {
            let there = if as_manifest {
                self.upstream_has_manifest(name, digest).await?
            } else {
                self.has_blob(name, entry).await?
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

/// What the client is told of a manifest that is none.
fn refused(error: &ManifestError) -> Error {
    let code = match error {
        ManifestError::TooLarge(_) => ErrorCode::TooLarge,
        ManifestError::Digest { .. } => ErrorCode::DigestInvalid,
        _ => ErrorCode::ManifestInvalid,
    };
    Error::new(code, error.to_string())
}
