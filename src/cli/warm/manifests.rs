//! The manifests of an image.

use std::collections::HashSet;

use crate::oci::{Descriptor, Error, ErrorCode, Manifest, Platform, Reference, RepositoryName};
use crate::registry::{Registry, WarmManifest, Warmed};

/// How deep indexes may be nested.
const MAX_DEPTH: usize = 4;
/// The most manifests of one image.
const MAX_MANIFESTS: usize = 1000;

/// A manifest of an image, with its reference.
pub(super) struct Found {
    pub(super) reference: Reference,
    pub(super) warm: WarmManifest,
}

/// The manifests of an image.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) found: Vec<Found>,
    /// Entries of an index with the media type of a manifest that are blobs.
    pub(super) entries: Vec<Descriptor>,
}

/// Copies the manifest of a reference and, if it is an index, those for the wanted platforms.
pub(super) async fn tree(
    registry: &Registry,
    platforms: &[Platform],
    name: &RepositoryName,
    reference: &Reference,
) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    let mut known = HashSet::new();
    let mut next = vec![(reference.clone(), 0, None)];
    while let Some((reference, depth, entry)) = next.pop() {
        let warm = match registry.warmer.manifest(name, &reference).await {
            Ok(warm) => warm,
            Err(error) => match entry {
                Some(entry) if is_blob(registry, name, &entry, &error).await => {
                    tree.entries.push(entry);
                    continue;
                }
                _ => return Err(error),
            },
        };
        let wanted = wanted(&warm.manifest, platforms)?;
        tree.found.push(Found { reference, warm });
        let total = tree.found.len() + next.len() + wanted.len();
        if total > MAX_MANIFESTS || (depth == MAX_DEPTH && !wanted.is_empty()) {
            let message = "the image has more manifests than are followed";
            return Err(Error::new(ErrorCode::ManifestInvalid, message));
        }
        let new = wanted.into_iter().filter(|entry| known.insert(*entry.digest()));
        next.extend(new.map(|entry| (Reference::Digest(*entry.digest()), depth + 1, Some(entry))));
    }
    Ok(tree)
}

/// Whether an index's entry that is no manifest is a blob.
async fn is_blob(registry: &Registry, name: &RepositoryName, entry: &Descriptor, error: &Error) -> bool {
    error.code() == ErrorCode::ManifestUnknown && registry.blobs.info(name, entry.digest()).await.is_ok()
}

/// Copies a descriptor's content as a manifest, after there was no such blob: it may have an unknown media type.
pub(super) async fn as_manifest(registry: &Registry, name: &RepositoryName, blob: &Descriptor) -> Option<Warmed> {
    let warm = registry.warmer.manifest(name, &Reference::Digest(*blob.digest())).await.ok()?;
    Some(if warm.already { Warmed::Already } else { Warmed::Copied(blob.size()) })
}

/// The manifests of an index for the wanted platforms; none for other manifests.
fn wanted(index: &Manifest, platforms: &[Platform]) -> Result<Vec<Descriptor>, Error> {
    let mut listed = index.links().manifests;
    let is_for = |entry: &Descriptor, wanted: &Platform| entry.platform().is_some_and(|it| it.is(wanted));
    let missing = platforms.iter().find(|wanted| !listed.iter().any(|entry| is_for(entry, wanted)));
    if let Some(missing) = missing.filter(|_| !listed.is_empty()) {
        return Err(Error::new(ErrorCode::ManifestUnknown, format!("there is no manifest for {missing}")));
    }
    listed.retain(|entry| platforms.is_empty() || platforms.iter().any(|wanted| is_for(entry, wanted)));
    Ok(listed)
}
