//! What the bucket and the upstream say of a tag.

use std::sync::Arc;

use super::resolved::Resolved;
use crate::oci::{Digest, Error, Manifest, MediaType, Outcome, Reference, RepositoryName, Tag};
use crate::registry::cache::{Cache, Origin, TagState};
use crate::registry::provenance::Provenance;
use crate::registry::revisions::Revisions;
use crate::store::{Key, Store};
use crate::upstream::{Upstream, UpstreamError};

/// Asks the bucket and the upstream for tags.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) store: Store,
    pub(super) cache: Arc<Cache>,
    pub(super) provenance: Arc<Provenance>,
    pub(super) revisions: Arc<Revisions>,
}

/// What the upstream says of a tag, for the bucket.
pub(super) struct TagUpdate {
    pub(super) digest: Digest,
    /// If it had to be fetched.
    pub(super) manifest: Option<Manifest>,
    /// The link that was compared with the upstream.
    pub(super) link: LinkVersion,
}

/// What is known of a tag's link in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkVersion {
    /// There is none.
    Absent,
    /// It has this `ETag`.
    Is(String),
    /// The bucket could not be asked.
    Unknown,
}

impl Lookup {
    /// What the bucket says of a tag, even if memory knows the tag: another replica may have compared it with the
    /// upstream a moment ago, and a push may have changed it. Memory stands in for a bucket that does not answer, and
    /// for a link that is still being written.
    pub(super) async fn in_bucket(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Option<TagState>, LinkVersion), Error> {
        let remembered = self.cache.tags.get(name, tag);
        match (self.store.get(Key::Tag(name, tag)).await, remembered) {
            (Ok(Some(object)), _) => {
                let link = object.etag.clone().map_or(LinkVersion::Unknown, LinkVersion::Is);
                Ok((Some(self.provenance.read_tag(name, tag, &object)?), link))
            }
            (Ok(None), remembered) => {
                let written_soon = remembered.filter(|state| state.origin == Origin::Upstream);
                Ok((written_soon, LinkVersion::Absent))
            }
            (Err(error), Some(state)) => {
                tracing::warn!(repository = %name, %tag, %error, "the bucket cannot be asked for a tag");
                Ok((Some(state), LinkVersion::Unknown))
            }
            (Err(error), None) => Err(error.into()),
        }
    }

    /// What the upstream says of a tag: one HEAD where the tag is stored, and the manifest only when it is another one.
    pub(super) async fn at_upstream(
        &self,
        upstream: &Upstream,
        (name, tag): (&RepositoryName, &Tag),
        stored: Option<Digest>,
        link: LinkVersion,
        accept: &[MediaType],
    ) -> Result<TagUpdate, UpstreamError> {
        let reference = Reference::Tag(tag.clone());
        if let Some(digest) = stored {
            let head = upstream.head_manifest(name, &reference, accept).await?;
            if head.digest == Some(digest) {
                return Ok(TagUpdate { digest, manifest: None, link });
            }
        }
        let manifest = upstream.get_manifest(name, &reference, accept).await?.verify(None)?;
        self.revisions.remember(name, &manifest);
        Ok(TagUpdate { digest: manifest.digest(), manifest: Some(manifest), link })
    }

    /// Remembers what the upstream says of a tag. The update comes back for the bucket, unless the tag was pushed
    /// meanwhile.
    pub(super) fn remember(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        update: TagUpdate,
    ) -> (Resolved, Option<TagUpdate>) {
        let state = TagState::new(update.digest, Origin::Upstream, self.provenance.tag_ttl);
        let resolved = match &update.manifest {
            Some(manifest) => Resolved::Manifest(manifest.clone()),
            None => Resolved::Digest(update.digest, Outcome::Revalidated, None),
        };
        let is_kept = self.cache.tags.keep_upstream(name, tag, state);
        (resolved, is_kept.then_some(update))
    }

    /// Remembers what the bucket says of a tag.
    pub(super) fn remember_stored(&self, name: &RepositoryName, tag: &Tag, state: TagState) {
        if state.is_pushed() {
            self.cache.holdings.keep_pushed(name);
        }
        self.cache.tags.keep(name, tag, state);
    }
}
