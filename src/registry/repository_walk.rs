//! Which repositories the bucket has.
//!
//! The bucket's directories are read level by level, a few at once. Names nest, so only a directory itself tells
//! whether it is a repository.

use std::collections::BTreeSet;

use super::runtime::try_join_bounded;
use crate::oci::RepositoryName;
use crate::store::{Key, Store, StoreError};

/// How many directories are read at once.
const PARALLEL: usize = 16;
/// The most repositories that are listed, and the most names of one directory.
const MAX_REPOSITORIES: usize = 100_000;

/// The repositories that have a directory `own` of their own (`_manifests`, `_uploads`).
pub(super) async fn repositories_with(store: &Store, own: &str) -> Result<BTreeSet<RepositoryName>, StoreError> {
    let mut found = BTreeSet::new();
    let mut level = vec![String::new()];
    while !level.is_empty() && found.len() < MAX_REPOSITORIES {
        let mut deeper = Vec::new();
        for some in level.chunks(1000) {
            let read = some.iter().map(|directory| children(store, directory));
            for (directory, children) in try_join_bounded(PARALLEL, read.collect()).await? {
                if children.contains(own) {
                    found.extend(directory.trim_end_matches('/').parse::<RepositoryName>());
                }
                let names = children.iter().filter(|child| !child.starts_with('_'));
                let paths = names.map(|child| format!("{directory}{child}/"));
                // A path that is longer than a name cannot become one.
                deeper.extend(paths.filter(|path| path.len() <= RepositoryName::MAX_LEN + 1));
            }
        }
        level = deeper;
    }
    Ok(found)
}

async fn children<'a>(store: &Store, directory: &'a str) -> Result<(&'a str, BTreeSet<String>), StoreError> {
    Ok((directory, store.children(Key::Names(directory), MAX_REPOSITORIES).await?))
}
