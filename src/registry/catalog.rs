//! Which repositories there are: the catalog, and the walk that finds them.
//!
//! The bucket's directories are read one after the other, a few at once: names nest, so which of them is a repository
//! only its own directory tells.

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
/// The most repositories of which the bucket is asked, for one page, what they hold; and how many of them at once.
const ASKED: usize = 1000;
const ASKED_AT_ONCE: usize = 256;
/// The most repositories that are listed, and the most names of one directory.
const MAX_REPOSITORIES: usize = 100_000;

/// A page of the catalog, in ASCII order.
#[derive(Clone, Debug, Default)]
pub struct CatalogPage {
    /// The names.
    pub names: Vec<RepositoryName>,
    /// There are more behind the last one.
    pub more: bool,
}

impl Registry {
    /// The repositories with manifests in the bucket, after `last`, at most `limit`, of those that are `shown`. Where
    /// that depends on what a repository holds, `shown` is told whether it holds pushed content; the bucket is asked
    /// for at most [`ASKED`] of them, and further ones are not shown.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn catalog(
        &self,
        last: Option<&str>,
        limit: usize,
        shown: impl Fn(&RepositoryName, Option<bool>) -> Option<bool>,
    ) -> Result<CatalogPage, Error> {
        let cache = &self.inner.cache;
        let all = match cache.catalog() {
            Some(names) => names,
            None => cache.in_turn(Matter::Catalog, self.all_names()).await?,
        };
        let behind = all.partition_point(|name| last.is_some_and(|last| name.as_str() <= last));
        let (mut page, mut asked) = (Vec::new(), 0);
        // One more than the page has, so that it is known whether there is a next one.
        for some in all[behind..].chunks(ASKED_AT_ONCE) {
            // What was asked some seconds ago is not asked again, however often clients list.
            let shown = |name: &RepositoryName, held: Option<bool>| {
                let held = held.or_else(|| self.remembered_holding(name));
                shown(name, held)
            };
            let undecided = some.iter().filter(|name| shown(name, None).is_none());
            let undecided: Vec<_> = undecided.take(ASKED - asked).collect();
            asked += undecided.len();
            let ask = undecided.iter().map(|name| self.holds_pushed(name));
            let held = a_few(PARALLEL, ask.collect()).await?;
            let held = |name: &RepositoryName| {
                let at = undecided.iter().position(|undecided| **undecided == *name);
                Some(held[at?])
            };
            let shown = |name: &&RepositoryName| shown(name, None).or_else(|| shown(name, Some(held(name)?)));
            page.extend(some.iter().filter(|name| shown(name) == Some(true)).cloned());
            if page.len() > limit {
                break;
            }
        }
        let more = page.len() > limit;
        page.truncate(limit);
        Ok(CatalogPage { names: page, more })
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

async fn children<'a>(store: &Store, directory: &'a str) -> Result<(&'a str, BTreeSet<String>), StoreError> {
    let found = store.children(Key::Names(directory), MAX_REPOSITORIES);
    Ok((directory, found.await?))
}
