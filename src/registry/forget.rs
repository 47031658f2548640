//! What a push or a delete makes this process forget at once. Other replicas forget it in time.

use super::cache::Cache;
use crate::oci::{Digest, Reference, RepositoryName, Tag};

impl Cache {
    pub(super) fn forget_tag(&self, name: &RepositoryName, tag: &Tag) {
        self.tags.invalidate(&(name.clone(), tag.clone()));
    }

    pub(super) fn forget_manifest(&self, name: &RepositoryName, digest: &Digest) {
        let key = (name.clone(), *digest);
        self.manifests.invalidate(&key);
        self.stored.invalidate(&key);
        self.catalog.invalidate(&());
    }

    pub(super) fn forget_member(&self, name: &RepositoryName, digest: &Digest) {
        self.members.invalidate(&(name.clone(), *digest));
    }

    /// That the upstream does not have it.
    pub(super) fn forget_absent(&self, name: &RepositoryName, reference: &Reference) {
        self.absent.invalidate(&(name.clone(), reference.clone()));
    }

    pub(super) fn forget_tag_list(&self, name: &RepositoryName) {
        self.tag_lists.invalidate(name);
    }

    pub(super) fn forget_referrers(&self, name: &RepositoryName, subject: &Digest) {
        self.referrers.invalidate(&(name.clone(), *subject));
    }

    pub(super) fn forget_catalog(&self) {
        self.catalog.invalidate(&());
    }
}
