//! Listing tags (end-8a, end-8b).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Registry;
use super::failure::{of_store, of_upstream};
use crate::oci::{Error, ErrorCode, RepositoryName, Tag};
use crate::store::Key;
use crate::upstream::UpstreamError;

/// The most stored tags that one list takes in; the upstream's list has a bound of its own.
const MAX_STORED: usize = 100_000;

/// A page of a repository's tags, in ASCII order.
#[derive(Clone, Debug)]
pub struct TagPage {
    /// The tags.
    pub tags: Vec<Tag>,
    /// There are more behind the last one.
    pub more: bool,
}

impl Registry {
    /// The tags of a repository, the stored ones and the upstream's, after `last`, at most `limit`.
    ///
    /// With the upstream away, the stored ones are the list.
    ///
    /// # Errors
    /// - `NAME_UNKNOWN`: nothing is stored, and the upstream does not have the repository either.
    /// - `DENIED`, `TOOMANYREQUESTS`, `UNAVAILABLE`: nothing is stored, and the upstream cannot tell.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        last: Option<&str>,
        limit: usize,
    ) -> Result<TagPage, Error> {
        let stored = self
            .inner
            .store
            .children(Key::Tags(name), MAX_STORED)
            .await
            .map_err(of_store)?;
        let stored: BTreeSet<Tag> = stored.iter().filter_map(|text| text.parse().ok()).collect();
        let unknown = || {
            Error::new(
                ErrorCode::NameUnknown,
                format!("there is no repository {name}"),
            )
        };
        let upstream = match self.upstream_tags(name).await {
            Ok(tags) => tags,
            Err(error) if !stored.is_empty() => {
                if !matches!(error, UpstreamError::NotFound) {
                    tracing::warn!(repository = %name, %error, "listing the stored tags only");
                }
                Arc::default()
            }
            Err(error) => return Err(of_upstream(error, unknown())),
        };
        let mut tags = stored;
        tags.extend(upstream.iter().cloned());
        let mut tags = tags
            .into_iter()
            .filter(|tag| last.is_none_or(|last| tag.as_str() > last));
        let page = tags.by_ref().take(limit).collect();
        Ok(TagPage {
            tags: page,
            more: tags.next().is_some(),
        })
    }

    /// The upstream's tags, remembered for the next page. Without an upstream there is no repository
    /// but the stored ones.
    async fn upstream_tags(&self, name: &RepositoryName) -> Result<Arc<Vec<Tag>>, UpstreamError> {
        let Some(upstream) = &self.inner.upstream else {
            return Err(UpstreamError::NotFound);
        };
        if let Some(tags) = self.inner.cache.tag_list(name) {
            return Ok(tags);
        }
        let tags = Arc::new(upstream.tags(name).await?.into_iter().collect::<Vec<_>>());
        self.inner.cache.keep_tag_list(name, Arc::clone(&tags));
        Ok(tags)
    }
}
