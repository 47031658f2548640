//! Names of repositories.
//!
//! Directories of a repository begin with an underscore, and no component of a name does. So a list whose delimiter is
//! `/_` has one entry for each repository, and names a thousand of them a request. With a store that knows only `/` as
//! delimiter, keys are listed, and the rest of a repository is skipped where a page of them ends.

use std::sync::Arc;

use super::Browse;
use crate::oci::{Error, RepositoryName};
use crate::registry::flights::FlightKey;
use crate::store::{Key, StoreError, split_repository};

/// The most requests for all names: a hundred thousand of them, or as many as so many keys belong to.
const LISTS: usize = 100;
/// Of how many repositories the bucket is asked whether they hold pushed content, for one list.
const ASKED: usize = 200;
const DELIMITER: &str = "/_";

/// Repositories, in ASCII order.
#[derive(Clone, Debug)]
pub struct RepositoryList {
    /// Their names.
    pub names: Vec<RepositoryName>,
    /// There are more behind the last one.
    pub more: bool,
    /// How many names were looked through.
    pub known: usize,
    /// The bucket has more of them.
    pub is_partial: bool,
}

impl Browse {
    /// The repositories after `last` whose names contain `wanted`, at most `limit`, of those that are `shown`: see
    /// [`Catalog::list`](super::super::catalog::Catalog::list). A directory that an upload or a fill left counts as a
    /// repository, too.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn repositories(
        &self,
        wanted: &str,
        last: Option<&str>,
        limit: usize,
        shown: impl Fn(&RepositoryName, Option<bool>) -> Option<bool>,
    ) -> Result<RepositoryList, Error> {
        let (all, is_whole) = match self.cache.lists.names() {
            Some(names) => names,
            None => self.flights.coalesce(FlightKey::Names, Box::pin(self.all_names())).await?,
        };
        let behind = all.partition_point(|name| last.is_some_and(|last| name.as_str() <= last));
        let found: Vec<RepositoryName>;
        let candidates = if wanted.is_empty() {
            &all[behind..]
        } else {
            found = all[behind..].iter().filter(|name| name.as_str().contains(wanted)).cloned().collect();
            &found
        };
        let page = self.catalog.shown(candidates, limit, ASKED, shown).await?;
        Ok(RepositoryList { names: page.names, more: page.more, known: all.len(), is_partial: !is_whole })
    }

    async fn all_names(&self) -> Result<(Arc<Vec<RepositoryName>>, bool), Error> {
        if let Some(names) = self.cache.lists.names() {
            return Ok(names);
        }
        let (mut names, is_whole) = self.list_names().await?;
        names.sort_unstable();
        names.dedup();
        let names = Arc::new(names);
        self.cache.lists.keep_names(Arc::clone(&names), is_whole);
        Ok((names, is_whole))
    }

    async fn list_names(&self) -> Result<(Vec<RepositoryName>, bool), StoreError> {
        let (mut names, mut after, mut delimiter) = (Vec::new(), None::<String>, Some(DELIMITER));
        for _ in 0..LISTS {
            let mut listed = self.store.grouped(Key::Names(""), delimiter, after.as_deref(), 1000).await;
            let is_unknown = match &listed {
                // It may know `/` only, and take the delimiter for that.
                Ok((paths, _)) => paths.iter().any(|path| path.ends_with('/') && !path.contains(DELIMITER)),
                Err(error) => matches!(error, StoreError::Unavailable { .. }),
            };
            if delimiter.is_some() && is_unknown {
                delimiter = None;
                listed = self.store.grouped(Key::Names(""), None, after.as_deref(), 1000).await;
            }
            let (paths, more) = listed?;
            let mut last = "";
            for (name, _) in paths.iter().filter_map(|path| split_repository(path)) {
                if name != last {
                    names.extend(name.parse::<RepositoryName>());
                    last = name;
                }
            }
            let Some(end) = paths.last().filter(|_| more) else {
                return Ok((names, true));
            };
            // Behind everything that the last repository has.
            after = Some(split_repository(end).map_or_else(|| end.clone(), |(name, _)| format!("{name}/_~")));
        }
        Ok((names, false))
    }
}
