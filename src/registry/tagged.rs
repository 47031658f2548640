//! The manifest that a tag means, once it is known which that is (`resolve`).

use super::Registry;
use super::manifests::Served;
use super::resolve::Resolved;
use crate::oci::{Error, ErrorCode, MediaType, Outcome, RepositoryName, Tag};

impl Registry {
    /// What a client gets of a tag: where that is an index, and the client named image manifests and no index, the
    /// image that stands in for it.
    pub(super) async fn image_instead(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        index: Served,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let takes_no_index = accept.iter().any(MediaType::is_image) && !accept.iter().any(MediaType::is_index);
        if !takes_no_index || !index.manifest.media_type().is_index() {
            return Ok(index);
        }
        let Some(digest) = index.manifest.default_image(accept) else {
            let message = format!(
                "{name}:{tag} is an index without an image for linux/amd64, and the request's Accept names no index: \
                 name {} too",
                index.manifest.media_type()
            );
            return Err(Error::new(ErrorCode::ManifestUnknown, message));
        };
        let image = self.manifest_by_digest(name, digest, accept).await?;
        Ok(Served { manifest: image.manifest, ..index })
    }

    /// A tag that means a manifest that cannot be had is resolved once more, past what is remembered: another replica
    /// may have deleted the manifest, and the tag may have been pushed anew or moved. An upstream that is away or
    /// refuses says nothing of what the bucket has.
    pub(super) async fn manifest_by_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
    ) -> Result<Served, Error> {
        let mut gone = None;
        loop {
            let resolved = self.resolve(name, tag, accept, gone).await?;
            let (digest, outcome, stale) = match resolved {
                Resolved::Manifest(served) => return Ok(served),
                Resolved::Digest(digest, outcome, stale) => (digest, outcome, stale),
            };
            match self.manifest_by_digest(name, digest, accept).await {
                Ok(served) => {
                    // What was learned about the tag says more than where its bytes were.
                    let outcome = if served.outcome == Outcome::Hit { outcome } else { served.outcome };
                    return Ok(Served { outcome, stale, ..served });
                }
                Err(error) if gone.is_none() => {
                    if error.code() == ErrorCode::ManifestUnknown {
                        self.inner.cache.forget_tag_of(name, tag, &digest);
                    }
                    gone = Some(digest);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
