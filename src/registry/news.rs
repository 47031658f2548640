//! Writing down what the upstream says of a tag, behind the client's back.
//!
//! The manifest before the tag, and the tag only if it still is what was compared with the upstream: the bucket sees to
//! that by a condition, or, where it keeps none, `unconditional` does.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::Registry;
use super::cache::{Matter, Origin, TagState};
use crate::oci::{Digest, Manifest, MediaType, Reference, RepositoryName, Tag};
use crate::store::{Condition, Key, Metadata, StoreError};

/// The metadata of a tag's link.
pub(super) const UPSTREAM: &str = "pounce-upstream";
pub(super) const VERIFIED: &str = "pounce-verified";

/// What the upstream says of a tag, to be written behind the client's back.
pub(super) struct News {
    pub(super) digest: Digest,
    /// If it had to be fetched.
    pub(super) manifest: Option<Manifest>,
    pub(super) link: Link,
}

/// What is known of a tag's link in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// There is none.
    Absent,
    /// It has this `ETag`.
    Is(String),
    /// The bucket could not be asked.
    Unknown,
}

impl Registry {
    /// Writes the news when there is a place for it.
    pub(super) async fn write_behind(&self, name: &RepositoryName, tag: &Tag, news: News) {
        let (registry, name, tag) = (self.clone(), name.clone(), tag.clone());
        let bytes = news.manifest.as_ref().map_or(0, |it| it.bytes().len());
        let work = async move {
            let matter = Matter::Manifest(name.clone(), Reference::Tag(tag.clone()));
            let digest = news.digest;
            let write = registry.write_tag(&name, &tag, news);
            let written = registry.inner.cache.alone(matter, Box::pin(write)).await;
            if let Err(error) = written {
                tracing::warn!(repository = %name, %tag, %digest, %error, "a tag was served but not stored");
            }
        };
        self.inner.background.run_holding(bytes, work).await;
    }

    /// The manifest before the tag, and the tag only if its link is still the one that was read.
    async fn write_tag(&self, name: &RepositoryName, tag: &Tag, news: News) -> Result<(), StoreError> {
        let News { digest, manifest, link } = news;
        let (store, cache) = (&self.inner.store, &self.inner.cache);
        // An ETag does not tell: a push of the same digest leaves the same content.
        let pushed = |state: TagState| state.origin == Origin::Pushed;
        if cache.tag(name, tag).is_some_and(pushed) {
            return Ok(());
        }
        let condition = match &link {
            Link::Absent => Condition::IfAbsent,
            Link::Is(etag) => Condition::IfUnchanged(etag),
            Link::Unknown => return Ok(()),
        };
        let moved = manifest.is_some();
        // A tag that is gone was perhaps deleted elsewhere, and its manifest with it.
        let believed = link != Link::Absent && cache.is_stored(name, digest);
        if !believed {
            // An earlier attempt to store it may have failed.
            match manifest.or_else(|| cache.manifest(name, digest)) {
                Some(manifest) => self.write_manifest(name, &manifest).await?,
                None if store.head(Key::Revision(name, &digest)).await?.is_some() => {
                    cache.keep_stored(name, digest);
                }
                None => return Ok(()),
            }
        }
        if moved {
            self.write_link(Key::TagHistory(name, tag, &digest), &digest).await?;
        }
        let is_kept = store.keeps_conditions().await;
        let may_write = if is_kept {
            link == Link::Absent || !self.was_pushed(name, tag).await?
        } else {
            Box::pin(self.is_unpushed(name, tag, &link)).await?
        };
        if !may_write {
            // A push came in between, or another replica wrote it down.
            cache.forget_tag(name, tag);
            return Ok(());
        }
        let (bytes, metadata) = (Bytes::from(digest.to_string()), self.provenance(name));
        let written = store.put(Key::Tag(name, tag), bytes, &MediaType::OCTET_STREAM, &metadata, condition).await?;
        let is_pushed = !is_kept && Box::pin(self.restore_pushed(name, tag)).await?;
        if !written || is_pushed {
            tracing::debug!(repository = %name, %tag, "somebody else wrote the tag meanwhile");
            cache.forget_tag(name, tag);
        }
        Ok(())
    }

    /// Whether somebody has pushed a tag that was the upstream's: of the same digest, perhaps, at another replica,
    /// which no `ETag` tells. (Who pushes just that between this look and the write loses the mark of a push, not what
    /// the tag means; a bucket has no condition on metadata.)
    async fn was_pushed(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let link = self.inner.store.get_now(Key::Tag(name, tag)).await?;
        Ok(link.is_some_and(|link| self.is_pushed(name, tag, &link)))
    }

    /// The metadata of links to what came from the upstream.
    pub(super) fn provenance(&self, name: &RepositoryName) -> Metadata {
        let label = self.upstream(name).map(|upstream| upstream.label().to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Metadata::from([
            (UPSTREAM.to_owned(), label.unwrap_or_default()),
            (VERIFIED.to_owned(), now.as_secs().to_string()),
        ])
    }
}
