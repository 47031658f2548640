//! Pushing manifests (end-7): what a manifest names must be in its repository, and what is written last is what makes
//! it visible: blob, link, referrer entry, tags.

use std::time::Instant;

use bytes::Bytes;

use super::Registry;
use super::cache::{Matter, Origin, TagState};
use super::failure::of_store;
use super::parallel::a_few;
use crate::oci::{Digest, Error, ErrorCode, Manifest, ManifestError, MediaType, Reference, RepositoryName, Tag};
use crate::store::Key;

/// How many keys are looked at once.
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
    /// Takes a manifest. Everything that it names is in the repository afterwards, and every tag means it.
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
        let manifest =
            Manifest::pushed(&request.bytes, request.media_type, expected).map_err(|error| refused(&error))?;
        self.require_links(name, &manifest).await?;

        let subject = manifest.referrer().map(|(subject, _)| subject);
        let published = Published { digest: manifest.digest(), subject };
        let (registry, name) = (self.clone(), name.clone());
        let tags: Vec<Tag> = tag.into_iter().chain(request.tags).cloned().collect();
        let write = async move { registry.publish(&name, &manifest, &tags).await };
        self.inner.background.to_its_end(write).await?;
        Ok(published)
    }

    /// Writes a manifest and its tags.
    async fn publish(&self, name: &RepositoryName, manifest: &Manifest, tags: &[Tag]) -> Result<(), Error> {
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
        // Tags and all, so that no delete of the manifest comes before its tags. A delete takes the two turns in the
        // same order.
        cache.alone(matter, Box::pin(write)).await?;
        cache.forget_absent(name, &reference);
        cache.forget_catalog_without(name);
        self.remember_pushed(name, manifest);
        Ok(())
    }

    /// Whether all that was written is still there: another replica may be deleting it.
    async fn is_whole(&self, name: &RepositoryName, digest: &Digest, tags: &[Tag]) -> Result<bool, Error> {
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
    async fn push_tag(&self, name: &RepositoryName, tag: &Tag, digest: Digest) -> Result<(), Error> {
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
