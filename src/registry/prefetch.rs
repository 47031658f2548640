//! What a client that pulled a manifest is going to ask for next.

use tracing::Instrument;

use super::Registry;
use super::cache::Member;
use super::cold::wanted;
use super::manifests::{NAMED, Served, named};
use super::parallel::{first, lazily};
use crate::oci::{Descriptor, Error, Manifest, MediaType, Reference, RepositoryName};

/// How many blobs of one manifest are asked for at once.
const PARALLEL: usize = 16;

impl Registry {
    /// [`manifest`](Self::manifest), for a client that is going to pull its blobs: the bucket is asked in the
    /// background for those of which nothing is known, the upstream for those that the bucket has from elsewhere, and,
    /// with `proxy.prefetch`, the fills of those that it does not have begin; of the first 128 that the manifest names.
    /// For an index, nothing begins until a platform is chosen, or of a build's cache, a layer.
    ///
    /// # Errors
    /// As [`manifest`](Self::manifest).
    pub async fn pull_manifest(
        &self,
        name: &RepositoryName,
        reference: &Reference,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let served = self.manifest(name, reference, accept).await?;
        if self.inner.cache.is_first_pull(name, &served.manifest) {
            self.anticipate(name, &served.manifest);
        }
        Ok(served)
    }

    fn anticipate(&self, name: &RepositoryName, manifest: &Manifest) {
        let inner = &self.inner;
        let known = |blob: &Descriptor| {
            let member = inner.cache.member(name, blob.digest());
            member.as_ref().is_some_and(Member::is_owned) && inner.cache.present(blob.digest()).is_some()
        };
        if manifest.media_type().is_index() {
            return;
        }
        let mut blobs = named(manifest);
        blobs.retain(|blob| !known(blob));
        if blobs.is_empty() {
            return;
        }
        let (registry, name) = (self.clone(), name.clone());
        let ask = async move {
            let upstream = registry.upstream(&name).filter(|_| registry.inner.prefetch);
            let absent = |blob| registry.is_absent(&name, blob);
            let absent = lazily(PARALLEL, blobs, absent);
            let Ok(absent) = first(NAMED, absent).await else {
                return;
            };
            let Some(upstream) = upstream else {
                return;
            };
            for blob in absent {
                let wanted = wanted(upstream, &name, blob.digest());
                registry.inner.fills.prefetch(&registry, wanted, blob.size());
            }
        };
        inner.background.hint(ask.in_current_span());
    }

    /// Hands a blob back that the bucket does not have. What it answers is remembered; a failure will be met again, and
    /// told, by the request that needs the answer.
    async fn is_absent(&self, name: &RepositoryName, blob: Descriptor) -> Result<Option<Descriptor>, Error> {
        let known = self.known(name, blob.digest()).await?;
        if known.stored.is_some() && !known.member {
            // A refusal is for the client that asks for the blob; others of the manifest may be there.
            let _ = self.ask_membership(name, blob.digest()).await;
        }
        Ok(known.stored.is_none().then_some(blob))
    }
}
