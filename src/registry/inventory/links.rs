//! Links that an inventory reads: what they name, and where that came from.

use std::time::SystemTime;

use super::{Inventory, Source};
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::provenance::{revision_origin, upstream_label};
use crate::store::{Key, StoreError};

/// Why a link could not be read, as a sentence.
pub(super) const NO_DIGEST: &str = "its link does not hold a digest";
const GONE: &str = "its link is gone";

impl Inventory {
    /// What a tag names.
    pub(super) async fn tag_link(&self, name: &RepositoryName, tag: &Tag) -> Result<(Digest, Source), String> {
        self.read_tag(name, tag).await.map(|(digest, source, _)| (digest, source))
    }

    /// What a tag names, where that came from, and when it was written.
    pub(in crate::registry) async fn read_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Digest, Source, Option<SystemTime>), String> {
        let link = self.store.get(Key::Tag(name, tag)).await.map_err(told)?.ok_or(GONE)?;
        let state = self.provenance.read_tag(name, tag, &link).map_err(|_| NO_DIGEST)?;
        Ok((state.digest, Source::new(state.origin, upstream_label(&link)), link.modified))
    }

    /// Where a manifest came from.
    pub(super) async fn revision_source(&self, name: &RepositoryName, digest: &Digest) -> Result<Source, String> {
        self.read_revision(name, digest).await.map(|(source, _)| source)
    }

    /// Where a manifest came from, and when.
    pub(in crate::registry) async fn read_revision(
        &self,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(Source, Option<SystemTime>), String> {
        let link = self.store.get(Key::Revision(name, digest)).await.map_err(told)?.ok_or(GONE)?;
        Ok((Source::new(revision_origin(&link), upstream_label(&link)), link.modified))
    }
}

/// A failure as an entry tells it.
pub(in crate::registry) fn told(error: StoreError) -> String {
    match error {
        StoreError::Corrupt { cause, .. } => cause,
        error => error.to_string(),
    }
}
