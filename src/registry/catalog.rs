//! Which repositories there are: the catalog, and the walk that finds them.
//!
//! The bucket's directories are read one after the other, a few at once: names nest, so which of them
//! is a repository only its own directory tells.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Registry;
use super::cache::Matter;
use super::failure::of_store;
use super::parallel::a_few;
use crate::oci::{Error, RepositoryName};
use crate::store::{Key, Store, StoreError};

/// How many directories are read at once.
const PARALLEL: usize = 16;
/// The most repositories that are listed, and the most names of one directory.
const MAX_REPOSITORIES: usize = 100_000;

/// A page of the catalog, in ASCII order.
#[derive(Clone, Debug)]
pub struct CatalogPage {
    /// The names.
    pub names: Vec<RepositoryName>,
    /// There are more behind the last one.
    pub more: bool,
}

impl Registry {
    /// The repositories with manifests in the bucket, after `last`, at most `limit`, of those that are
    /// `shown`.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn catalog(
        &self,
        last: Option<&str>,
        limit: usize,
        shown: impl Fn(&RepositoryName) -> bool,
    ) -> Result<CatalogPage, Error> {
        let cache = &self.inner.cache;
        let all = match cache.catalog() {
            Some(names) => names,
            None => cache.in_turn(Matter::Catalog, self.all_names()).await?,
        };
        let mut names = all
            .iter()
            .filter(|name| last.is_none_or(|last| name.as_str() > last) && shown(name));
        let page = names.by_ref().take(limit).cloned().collect();
        Ok(CatalogPage {
            names: page,
            more: names.next().is_some(),
        })
    }

    /// The whole list, remembered for the next page.
    async fn all_names(&self) -> Result<Arc<Vec<RepositoryName>>, Error> {
        let cache = &self.inner.cache;
        if let Some(names) = cache.catalog() {
            return Ok(names);
        }
        let walked = with(&self.inner.store, "_manifests").await;
        let names = Arc::new(walked.map_err(of_store)?.into_iter().collect());
        cache.keep_catalog(Arc::clone(&names));
        Ok(names)
    }
}

/// The repositories that have this directory of their own.
pub(super) async fn with(store: &Store, own: &str) -> Result<BTreeSet<RepositoryName>, StoreError> {
    let mut found = BTreeSet::new();
    let mut level = vec![String::new()];
    while !level.is_empty() && found.len() < MAX_REPOSITORIES {
        let mut deeper = Vec::new();
        for some in level.chunks(1000) {
            let read = some.iter().map(|directory| children(store, directory));
            for (directory, children) in a_few(PARALLEL, read.collect()).await? {
                if children.contains(own) {
                    found.extend(directory.trim_end_matches('/').parse::<RepositoryName>());
                }
                // What is longer than a name cannot become one.
                let names = children.iter().filter(|child| !child.starts_with('_'));
                deeper.extend(
                    names
                        .map(|child| format!("{directory}{child}/"))
                        .filter(|path| path.len() <= RepositoryName::MAX_LEN + 1),
                );
            }
        }
        level = deeper;
    }
    Ok(found)
}

async fn children<'a>(
    store: &Store,
    directory: &'a str,
) -> Result<(&'a str, BTreeSet<String>), StoreError> {
    let found = store.children(Key::Names(directory), MAX_REPOSITORIES);
    Ok((directory, found.await?))
}
