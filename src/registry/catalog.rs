//! The catalog: the repositories that have manifests in the bucket.

use std::sync::Arc;

use super::cache::Cache;
use super::flights::{FlightKey, Flights};
use super::holdings::Holdings;
use super::repository_walk::repositories_with;
use super::runtime::try_join_bounded;
use crate::oci::{Error, RepositoryName};
use crate::store::Store;

/// The most repositories of which one page asks the bucket whether they hold pushed content.
const ASKED: usize = 1000;
/// How many names are filtered at a time, and how many of them the bucket is asked about at once.
const CHUNK: usize = 256;
const PARALLEL: usize = 16;

/// A page of the catalog, in ASCII order.
#[derive(Clone, Debug, Default)]
pub struct CatalogPage {
    /// The names.
    pub names: Vec<RepositoryName>,
    /// There are more behind the last one.
    pub more: bool,
}

/// Lists repositories.
#[derive(Debug)]
pub struct Catalog {
    pub(super) store: Store,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) holdings: Arc<Holdings>,
}

impl Catalog {
    /// The repositories with manifests in the bucket, after `last`, at most `limit`, of those that are `shown`. Where
    /// that depends on whether a repository holds pushed content, `shown` is told so; the bucket is asked for at most a
    /// thousand of them, and further ones are not shown.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn list(
        &self,
        last: Option<&str>,
        limit: usize,
        shown: impl Fn(&RepositoryName, Option<bool>) -> Option<bool>,
    ) -> Result<CatalogPage, Error> {
        let all = match self.cache.lists.catalog() {
            Some(names) => names,
            None => self.flights.coalesce(FlightKey::Catalog, self.all_names()).await?,
        };
        let behind = all.partition_point(|name| last.is_some_and(|last| name.as_str() <= last));
        self.shown(&all[behind..], limit, ASKED, shown).await
    }

    /// Those of `names` that are [shown](Self::list), at most `limit`. The bucket is asked for at most `asked` of them.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub(super) async fn shown(
        &self,
        names: &[RepositoryName],
        limit: usize,
        most_asked: usize,
        shown: impl Fn(&RepositoryName, Option<bool>) -> Option<bool>,
    ) -> Result<CatalogPage, Error> {
        let (mut page, mut asked) = (Vec::new(), 0);
        for some in names.chunks(CHUNK) {
            // An answer of some seconds ago counts, however often clients list.
            let shown =
                |name: &RepositoryName, held: Option<bool>| shown(name, held.or_else(|| self.holdings.in_memory(name)));
            let undecided = some.iter().filter(|name| shown(name, None).is_none());
            let undecided: Vec<_> = undecided.take(most_asked - asked).collect();
            asked += undecided.len();
            let ask = undecided.iter().map(|name| self.holdings.holds_pushed(name));
            let held = try_join_bounded(PARALLEL, ask.collect()).await?;
            let held = |name: &RepositoryName| {
                let at = undecided.iter().position(|undecided| **undecided == *name);
                Some(held[at?])
            };
            let shown = |name: &&RepositoryName| shown(name, None).or_else(|| shown(name, Some(held(name)?)));
            page.extend(some.iter().filter(|name| shown(name) == Some(true)).cloned());
            // One more than the page has, so that it is known whether there is a next one.
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
        if let Some(names) = self.cache.lists.catalog() {
            return Ok(names);
        }
        let names = repositories_with(&self.store, "_manifests").await?;
        let names = Arc::new(names.into_iter().collect());
        self.cache.lists.keep_catalog(Arc::clone(&names));
        Ok(names)
    }
}
