//! The manifests of an image, and the blobs that an index takes for manifests.

use std::collections::HashSet;

use super::Warming;
use crate::oci::{Descriptor, Error, ErrorCode, Manifest, Platform, Reference, RepositoryName};
use crate::registry::{WarmManifest, Warmed};

/// How deep indexes may lie in indexes.
const MAX_DEPTH: usize = 4;
/// The most manifests of one image.
const MAX_MANIFESTS: usize = 1000;

/// A manifest of an image, under the reference that leads to it.
pub(super) struct Found {
    pub(super) reference: Reference,
    pub(super) warm: WarmManifest,
}

/// What an image consists of, without the blobs that its manifests name as such.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) found: Vec<Found>,
    /// Entries of an index that are called manifests, and are blobs.
    pub(super) entries: Vec<Descriptor>,
}

impl Warming {
    /// The manifest that a reference means and, if it is an index, those of the wanted platforms.
    pub(super) async fn manifests(&self, name: &RepositoryName, reference: &Reference) -> Result<Tree, Error> {
        let mut tree = Tree::default();
        let mut known = HashSet::new();
        let mut next = vec![(reference.clone(), 0, None)];
        while let Some((reference, depth, entry)) = next.pop() {
            let warm = match self.registry.warmer.manifest(name, &reference).await {
                Ok(warm) => warm,
                Err(error) => match entry {
                    Some(entry) if self.is_blob_instead(name, &entry, &error).await => {
                        tree.entries.push(entry);
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            let wanted = self.wanted(&warm.manifest)?;
            tree.found.push(Found { reference, warm });
            if tree.found.len() + next.len() + wanted.len() > MAX_MANIFESTS
                || (depth == MAX_DEPTH && !wanted.is_empty())
            {
                let message = "the image has more manifests than are followed";
                return Err(Error::new(ErrorCode::ManifestInvalid, message));
            }
            let new = wanted.into_iter().filter(|entry| known.insert(*entry.digest()));
            next.extend(new.map(|entry| {
                let reference = Reference::Digest(*entry.digest());
                (reference, depth + 1, Some(entry))
            }));
        }
        Ok(tree)
    }

    /// Whether what an index calls a manifest, and is none, is a blob.
    async fn is_blob_instead(&self, name: &RepositoryName, entry: &Descriptor, error: &Error) -> bool {
        error.code() == ErrorCode::ManifestUnknown && self.registry.blobs.info(name, entry.digest()).await.is_ok()
    }

    /// What is named as a blob, and is none, may be a manifest of a type that is not known.
    pub(super) async fn manifest_instead(&self, name: &RepositoryName, blob: &Descriptor) -> Option<Warmed> {
        let reference = Reference::Digest(*blob.digest());
        let warm = self.registry.warmer.manifest(name, &reference).await.ok()?;
        Some(if warm.already { Warmed::Already } else { Warmed::Copied(blob.size()) })
    }

    /// The manifests of an index for the wanted platforms. What is no index has none.
    fn wanted(&self, index: &Manifest) -> Result<Vec<Descriptor>, Error> {
        let listed = index.links().manifests;
        let is = |entry: &Descriptor, wanted: &Platform| entry.platform().is_some_and(|platform| platform.is(wanted));
        let lacks = |wanted: &&Platform| !listed.iter().any(|entry| is(entry, wanted));
        if let Some(lacking) = self.platforms.iter().find(lacks).filter(|_| !listed.is_empty()) {
            let message = format!("there is no manifest for {lacking}");
            return Err(Error::new(ErrorCode::ManifestUnknown, message));
        }
        let mut listed = listed;
        listed.retain(|entry| self.platforms.is_empty() || self.platforms.iter().any(|wanted| is(entry, wanted)));
        Ok(listed)
    }
}
