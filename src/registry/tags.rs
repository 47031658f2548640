//! Listing tags (end-8a, end-8b).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::cache::Matter;
use super::failure::{of_store, of_upstream};
use super::list_memory::Taken;
use super::{Registry, Staleness};
use crate::oci::{Error, ErrorCode, RepositoryName, Tag};
use crate::store::Key;
use crate::upstream::UpstreamError;

/// The most stored tags that one list takes in; the upstream's list has a bound of its own.
pub(super) const MAX_STORED: usize = 100_000;

/// How long the upstream may take to list what the bucket has a list of, too: more than what a pull waits for, because
/// a list that lacks something is worse than one that is late, and less than the 30 s after which clients give up.
const LIST_WAIT: Duration = Duration::from_secs(20);

/// A page of a repository's tags, in ASCII order.
#[derive(Clone, Debug)]
pub struct TagPage {
    /// The tags.
    pub tags: Vec<Tag>,
    /// There are more behind the last one.
    pub more: bool,
    /// Why those that only the upstream has are missing, where they are.
    pub stale: Option<Staleness>,
}

impl Registry {
    /// The tags of a repository, the stored ones and the upstream's, after `last`, at most `limit`.
    ///
    /// With the upstream away, the stored ones are the list.
    ///
    /// # Errors
    /// - `NAME_UNKNOWN`: nothing of the repository is stored, and the upstream does not have the repository either.
    /// - `DENIED`, `TOOMANYREQUESTS`, `UNAVAILABLE`: nothing is stored, and the upstream cannot tell.
    /// - `UNAVAILABLE`: too many long lists are being made.
    pub async fn tags(&self, name: &RepositoryName, last: Option<&str>, limit: usize) -> Result<TagPage, Error> {
        let (all, stale) = match self.inner.cache.tag_list(name) {
            Some(tags) => (tags, None),
            None => self.inner.cache.in_turn(Matter::Tags(name.clone()), self.all_tags(name)).await?,
        };
        let mut tags = all.iter().filter(|tag| last.is_none_or(|last| tag.as_str() > last));
        let page = tags.by_ref().take(limit).cloned().collect();
        Ok(TagPage { tags: page, more: tags.next().is_some(), stale })
    }

    /// The whole list, remembered for the next page; or the stored part of it, and why.
    async fn all_tags(&self, name: &RepositoryName) -> Result<(Arc<Vec<Tag>>, Option<Staleness>), Error> {
        if let Some(tags) = self.inner.cache.tag_list(name) {
            return Ok((tags, None));
        }
        let make = |memory| self.make_tag_list(name, memory);
        self.inner.list_memory.make(make).await
    }

    async fn make_tag_list(
        &self,
        name: &RepositoryName,
        memory: Arc<Taken>,
    ) -> Result<(Arc<Vec<Tag>>, Option<Staleness>), Error> {
        let take = |bytes| memory.take(bytes);
        let stored = self.inner.store.children_within(Key::Tags(name), MAX_STORED, &take).await;
        memory.was_enough()?;
        let stored = stored.map_err(of_store)?;
        let mut tags: BTreeSet<Tag> = stored.iter().filter_map(|text| text.parse().ok()).collect();
        let listed = match self.upstream(name) {
            Some(upstream) if tags.is_empty() => upstream.tags(name, &take).await,
            Some(upstream) => in_time(upstream.tags(name, &take)).await,
            None => Err(UpstreamError::NotFound),
        };
        memory.was_enough()?;
        match listed {
            Ok(more) => tags.extend(more),
            Err(UpstreamError::NotFound) if !tags.is_empty() || self.exists(name).await? => {}
            Err(error) if !tags.is_empty() => {
                tracing::warn!(repository = %name, %error, "listing the stored tags only");
                let stored = tags.into_iter().collect();
                return Ok((Arc::new(stored), Staleness::of(&error)));
            }
            Err(error) => {
                let message = format!("there is no repository {name}");
                return Err(of_upstream(error, Error::new(ErrorCode::NameUnknown, message)));
            }
        }
        let tags = Arc::new(tags.into_iter().collect::<Vec<_>>());
        self.inner.cache.keep_tag_list(name, Arc::clone(&tags));
        Ok((tags, None))
    }
}

/// What an upstream lists, if it does not take too long.
pub(super) async fn in_time<T>(list: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, UpstreamError> {
    let late = || UpstreamError::Unavailable(format!("no list came in {} s", LIST_WAIT.as_secs()));
    tokio::time::timeout(LIST_WAIT, list).await.unwrap_or_else(|_| Err(late()))
}
