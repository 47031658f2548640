//! Listing tags (end-8a, end-8b).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Tags;
use crate::oci::{Error, RepositoryName, Tag};
use crate::registry::failure::of_upstream;
use crate::registry::flights::FlightKey;
use crate::registry::list_memory::{ListReservation, in_time};
use crate::registry::presence::{exists, name_unknown};
use crate::registry::staleness::{Staleness, log_stale};
use crate::store::Key;
use crate::upstream::UpstreamError;

/// The most stored tags that one list takes in; the upstream's list has a bound of its own.
pub(super) const MAX_STORED: usize = 100_000;

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

impl Tags {
    /// The tags of a repository, the stored ones and the upstream's, after `last`, at most `limit`.
    ///
    /// With the upstream away, the stored ones are the list.
    ///
    /// # Errors
    /// - `NAME_UNKNOWN`: nothing of the repository is stored, and the upstream does not have the repository either.
    /// - `DENIED`, `TOOMANYREQUESTS`, `UNAVAILABLE`: nothing is stored, and the upstream does not answer.
    /// - `UNAVAILABLE`: too many long lists are being made.
    pub async fn list(&self, name: &RepositoryName, last: Option<&str>, limit: usize) -> Result<TagPage, Error> {
        let (all, stale) = match self.cache.lists.tags(name) {
            Some(tags) => (tags, None),
            None => self.flights.coalesce(FlightKey::Tags(name.clone()), self.all(name)).await?,
        };
        let mut tags = all.iter().filter(|tag| last.is_none_or(|last| tag.as_str() > last));
        let page = tags.by_ref().take(limit).cloned().collect();
        Ok(TagPage { tags: page, more: tags.next().is_some(), stale })
    }

    /// The whole list, remembered for the next page; or the stored part of it, and why.
    async fn all(&self, name: &RepositoryName) -> Result<(Arc<Vec<Tag>>, Option<Staleness>), Error> {
        if let Some(tags) = self.cache.lists.tags(name) {
            return Ok((tags, None));
        }
        self.memory.make(|memory| self.make_list(name, memory)).await
    }

    async fn make_list(
        &self,
        name: &RepositoryName,
        memory: Arc<ListReservation>,
    ) -> Result<(Arc<Vec<Tag>>, Option<Staleness>), Error> {
        let reserve = |bytes| memory.reserve(bytes);
        let stored = self.store.children_within(Key::Tags(name), MAX_STORED, &reserve).await;
        memory.check()?;
        let mut tags: BTreeSet<Tag> = stored?.iter().filter_map(|text| text.parse().ok()).collect();
        let listed = match self.upstreams.of(name) {
            Some(upstream) if tags.is_empty() => upstream.tags(name, &reserve).await,
            Some(upstream) => in_time(upstream.tags(name, &reserve)).await,
            None => Err(UpstreamError::NotFound),
        };
        memory.check()?;
        match listed {
            Ok(more) => tags.extend(more),
            Err(UpstreamError::NotFound | UpstreamError::NotAdmitted)
                if !tags.is_empty() || exists(&self.store, name).await? => {}
            Err(error) if !tags.is_empty() => {
                if let Some(upstream) = self.upstreams.of(name) {
                    log_stale(&upstream, (name, &"tags"), &error, "listing the stored tags only");
                }
                return Ok((Arc::new(tags.into_iter().collect()), Staleness::of(&error)));
            }
            Err(error) => return Err(of_upstream(error, name_unknown(name))),
        }
        let tags = Arc::new(tags.into_iter().collect::<Vec<_>>());
        self.cache.lists.keep_tags(name, Arc::clone(&tags));
        Ok((tags, None))
    }

    /// Forgets a list, under the lock of the lookups that make it, because one that is being made may lack the change.
    pub(in crate::registry) async fn forget_list(&self, name: &RepositoryName) {
        let forget = async { self.cache.lists.forget_tags(name) };
        self.flights.exclusive(FlightKey::Tags(name.clone()), forget).await;
    }
}
