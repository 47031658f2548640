//! What a push or a delete makes this process forget at once. Other replicas forget it in time.

use super::Registry;
use super::cache::{Cache, Matter, Origin};
use crate::oci::{Digest, Reference, RepositoryName, Tag};

impl Cache {
    pub(super) fn forget_tag(&self, name: &RepositoryName, tag: &Tag) {
        self.tags.invalidate(&(name.clone(), tag.clone()));
    }

    /// If it is remembered to mean this digest.
    pub(super) fn forget_tag_of(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) {
        if self.tag(name, tag).is_some_and(|state| state.digest == *digest) {
            self.forget_tag(name, tag);
        }
    }

    /// If it is remembered to be pushed.
    pub(super) fn forget_pushed_tag(&self, name: &RepositoryName, tag: &Tag) {
        if self.tag(name, tag).is_some_and(|state| state.origin == Origin::Pushed) {
            self.forget_tag(name, tag);
        }
    }

    pub(super) fn forget_manifest(&self, name: &RepositoryName, digest: &Digest) {
        self.manifests.invalidate(&(name.clone(), *digest));
        self.stored.invalidate(&(name.clone(), Reference::Digest(*digest)));
        self.forget_catalog();
    }

    /// That the upstream does not have it.
    pub(super) fn forget_absent(&self, name: &RepositoryName, reference: &Reference) {
        self.absent.invalidate(&(name.clone(), reference.clone()));
    }

    /// If the repository is not in it.
    pub(super) fn forget_catalog_without(&self, name: &RepositoryName) {
        if self.catalog().is_some_and(|names| names.binary_search(name).is_err()) {
            self.forget_catalog();
        }
    }
}

/// Lists are forgotten in turn with those who make them: one that is being made may lack the change.
impl Registry {
    pub(super) async fn forget_tag_list(&self, name: &RepositoryName) {
        let cache = &self.inner.cache;
        let forget = async { cache.forget_tag_list(name) };
        cache.alone(Matter::Tags(name.clone()), forget).await;
    }

    pub(super) async fn forget_referrers(&self, name: &RepositoryName, subject: &Digest) {
        let cache = &self.inner.cache;
        let matter = Matter::Referrers(name.clone(), *subject);
        let forget = async { cache.forget_referrers(name, subject) };
        cache.alone(matter, forget).await;
    }
}
