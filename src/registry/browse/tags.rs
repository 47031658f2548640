//! The tags of a repository, and what each names.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use moka::sync::Cache as Moka;

use super::manifest::Summary;
use super::{Browse, LastPull};
use crate::oci::{Digest, Error, RepositoryName, Tag};
use crate::registry::inventory::Source;
use crate::registry::runtime::buffered;
use crate::store::Key;

/// The most requests for one list: twenty thousand tags.
const LISTS: usize = 20;
/// How many tags are read at once.
const PARALLEL: usize = 16;

/// Tags. A page has those that follow each other in the bucket, in ASCII order.
#[derive(Clone, Debug)]
pub struct TagList {
    /// The tags.
    pub entries: Vec<TagEntry>,
    /// Where the next page begins: behind this tag. `None` at the end.
    pub next: Option<String>,
}

/// A tag.
#[derive(Clone, Debug)]
pub struct TagEntry {
    /// Its name.
    pub tag: Tag,
    /// What its link says, or why it cannot be read.
    pub link: Result<TagLink, String>,
}

/// What a tag's link says.
#[derive(Clone, Debug)]
pub struct TagLink {
    /// The digest of its manifest.
    pub digest: Digest,
    /// Where it came from.
    pub source: Source,
    /// When it was written.
    pub written: Option<SystemTime>,
    /// Its manifest, or why it cannot be read.
    pub summary: Result<Summary, String>,
    /// When it was last pulled.
    pub pulled: LastPull,
}

/// How many tags repositories have, each for half a minute: a list of repositories asks for many.
#[derive(Clone, Debug)]
pub(in crate::registry) struct TagCounts(Moka<RepositoryName, Option<usize>>);

impl Default for TagCounts {
    fn default() -> Self {
        Self(Moka::builder().max_capacity(10_000).time_to_live(Duration::from_secs(30)).build())
    }
}

impl Browse {
    /// The tags of a repository after `last` whose names contain `wanted`, at most `limit`: a request for each page of
    /// names, and six at most for each tag that is found.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn tags(
        &self,
        name: &RepositoryName,
        wanted: &str,
        last: Option<&str>,
        limit: usize,
    ) -> Result<TagList, Error> {
        let (mut tags, next) = self.find_tags(name, wanted, last, limit).await?;
        // The bucket has `1.2` behind `1.2.3`, because a slash is behind a dot.
        tags.sort_unstable();
        let entries = buffered(PARALLEL, tags, |tag| async move {
            let link = self.tag_link(name, &tag).await;
            TagEntry { tag, link }
        });
        Ok(TagList { entries: entries.collect().await, next })
    }

    /// How many tags a repository has, or had half a minute ago; `None`: more than one list has, which is 1,000.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn count_tags(&self, name: &RepositoryName) -> Result<Option<usize>, Error> {
        if let Some(count) = self.tag_counts.0.get(name) {
            return Ok(count);
        }
        let (paths, more) = self.store.grouped(Key::Tags(name), Some("/"), None, 1000).await?;
        let mut tags: Vec<Tag> = paths.iter().filter_map(|path| tag_of(path)).collect();
        tags.dedup();
        let count = (!more).then_some(tags.len());
        self.tag_counts.0.insert(name.clone(), count);
        Ok(count)
    }

    async fn find_tags(
        &self,
        name: &RepositoryName,
        wanted: &str,
        last: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Tag>, Option<String>), Error> {
        // Behind all keys of the tag.
        let behind = |tag: &str| format!("{tag}/~");
        let page = if wanted.is_empty() { i32::try_from(limit + 1).unwrap_or(1000).min(1000) } else { 1000 };
        let (mut found, mut after) = (Vec::<Tag>::new(), last.map(behind));
        for _ in 0..LISTS {
            let (paths, more) = self.store.grouped(Key::Tags(name), Some("/"), after.as_deref(), page).await?;
            for tag in paths.iter().filter_map(|path| tag_of(path)) {
                if tag.as_str().contains(wanted) && found.last() != Some(&tag) {
                    if found.len() == limit {
                        let next = found.last().map(|last| last.as_str().to_owned());
                        return Ok((found, next));
                    }
                    found.push(tag);
                }
            }
            let Some(end) = paths.last().filter(|_| more) else {
                return Ok((found, None));
            };
            after = Some(behind(end.split('/').next().unwrap_or(end)));
        }
        let next = after.and_then(|after| after.strip_suffix("/~").map(str::to_owned));
        Ok((found, next))
    }

    /// What a tag's link says.
    pub(super) async fn tag_link(&self, name: &RepositoryName, tag: &Tag) -> Result<TagLink, String> {
        let (digest, source, written) = self.inventory.read_tag(name, tag).await?;
        let (summary, pulled) = tokio::join!(self.summary(name, digest), self.last_pull(name, &digest));
        Ok(TagLink { digest, source, written, summary, pulled })
    }
}

fn tag_of(path: &str) -> Option<Tag> {
    path.split('/').next()?.parse().ok()
}
