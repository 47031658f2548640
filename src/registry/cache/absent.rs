//! Manifests and tags that an upstream does not have.

use std::time::Duration;

use super::bounds::{References, with_life};
use crate::oci::{Digest, Reference, RepositoryName, Tag};

const ENTRIES: u64 = 100_000;
/// How long the upstream is believed not to have something.
const LIFE: Duration = Duration::from_secs(10);

/// With the digest of the tag's link in the bucket, where the tag was stored when the upstream said that it is gone.
#[derive(Debug)]
pub(in crate::registry) struct AbsentCache(References);

impl AbsentCache {
    pub(super) fn new() -> Self {
        Self(with_life(ENTRIES, LIFE))
    }

    pub(in crate::registry) fn contains(&self, name: &RepositoryName, reference: &Reference) -> bool {
        self.0.contains_key(&(name.clone(), reference.clone()))
    }

    pub(in crate::registry) fn keep(&self, name: &RepositoryName, reference: &Reference) {
        self.0.insert((name.clone(), reference.clone()), None);
    }

    /// Whether a tag is absent whose link in the bucket holds `stored`. A link that came there since is another
    /// replica's answer, and newer.
    pub(in crate::registry) fn contains_tag(&self, name: &RepositoryName, tag: &Tag, stored: Option<Digest>) -> bool {
        let absent = self.0.get(&(name.clone(), Reference::Tag(tag.clone())));
        absent.is_some_and(|then| stored.is_none() || then == stored)
    }

    /// Remembers that the upstream deleted a stored tag.
    pub(in crate::registry) fn keep_tag(&self, name: &RepositoryName, tag: &Tag, stored: Digest) {
        self.0.insert((name.clone(), Reference::Tag(tag.clone())), Some(stored));
    }

    /// Forgets what upstreams said that are not asked any more.
    pub(in crate::registry) fn forget_all(&self) {
        self.0.invalidate_all();
    }

    pub(in crate::registry) fn forget(&self, name: &RepositoryName, reference: &Reference) {
        self.0.invalidate(&(name.clone(), reference.clone()));
    }
}
