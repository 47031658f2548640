//! Writing manifests into the bucket: the bytes first, and last the link that makes them the repository's.

use bytes::Bytes;
use futures_util::TryStreamExt;

use super::Registry;
use super::cache::{Member, Standing};
use super::parallel::lazily;
use crate::oci::{Descriptor, Digest, Manifest, MediaType, RepositoryName};
use crate::store::{Condition, Key, Metadata, Object, StoreError};

/// How many layer links of a manifest are written at once.
const LINKS: usize = 16;

/// The metadata of a revision link that was written for a manifest of the upstream's.
const ORIGIN: &str = "origin";
const UPSTREAM: &str = "upstream";

impl Registry {
    /// Stores a manifest of the upstream's behind the client's back.
    pub(super) async fn store_manifest(&self, name: &RepositoryName, manifest: &Manifest) {
        let (registry, name, manifest) = (self.clone(), name.clone(), manifest.clone());
        let bytes = manifest.bytes().len();
        let work = async move {
            let digest = manifest.digest();
            if let Err(error) = registry.write_manifest(&name, &manifest).await {
                tracing::warn!(repository = %name, %digest, %error, "a manifest was served but not stored");
            }
        };
        self.inner.background.run_holding(bytes, work).await;
    }

    /// Writes a manifest of the upstream's: its bytes first, then the link that makes it the repository's. Its blobs
    /// get their links when they are filled, or when the upstream says that it has them. The link of a manifest that
    /// was pushed stays as it is.
    pub(super) async fn write_manifest(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        self.write_bytes(manifest).await?;
        let (store, digest) = (&self.inner.store, manifest.digest());
        let key = Key::Revision(name, &digest);
        if store.keeps_conditions().await || store.head(key).await?.is_none() {
            let mut metadata = self.provenance(name);
            metadata.insert(ORIGIN.to_owned(), UPSTREAM.to_owned());
            let (bytes, media_type) = (Bytes::from(digest.to_string()), MediaType::OCTET_STREAM);
            let absent = Condition::IfAbsent;
            store.put(key, bytes, &media_type, &metadata, absent).await?;
        }
        self.end_write(name, manifest).await
    }

    /// Writes a manifest that was pushed: its bytes, links for those of its blobs that the bucket has, so that
    /// distribution finds them in this repository too, then the link that makes it the repository's: a replica that
    /// finds that one believes that the others are there.
    pub(super) async fn write_pushed(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        self.write_bytes(manifest).await?;
        let blobs = every_vouched(manifest).into_iter();
        let blobs = blobs.map(|blob| (*blob.digest(), blob.size()));
        let blobs: Vec<(Digest, u64)> = blobs.collect();
        let link = |(digest, size)| self.link_stored(name, digest, size);
        let links = lazily(LINKS, blobs, link);
        links.try_collect::<()>().await?;
        let digest = manifest.digest();
        self.write_link(Key::Revision(name, &digest), &digest).await?;
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

    async fn end_write(&self, name: &RepositoryName, manifest: &Manifest) -> Result<(), StoreError> {
        self.write_referrer(name, manifest).await?;
        self.inner.cache.keep_stored(name, manifest.digest());
        Ok(())
    }

    /// Writes the layer link of a blob that is in the bucket, unless it has one.
    async fn link_stored(&self, name: &RepositoryName, digest: Digest, size: u64) -> Result<(), StoreError> {
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
        self.inner.store.put(key, bytes, &media_type, &metadata, Condition::Always).await?;
        Ok(())
    }
}

/// The blobs that belong to a repository because a manifest that was pushed to it names them. An index makes no blob
/// the repository's: with `validation.manifests.indexes` it may name what no check looked for, and what only another
/// repository has. What was looked for has its own link.
fn every_vouched(manifest: &Manifest) -> Vec<Descriptor> {
    if manifest.media_type().is_index() {
        return Vec::new();
    }
    manifest.links().blobs
}

/// Whether a fill wrote the link of a revision: it says so since fills do.
pub(super) fn is_upstreams(link: &Object) -> bool {
    link.metadata.get(ORIGIN).is_some_and(|it| it == UPSTREAM)
}
