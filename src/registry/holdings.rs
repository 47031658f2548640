//! Whether a repository holds pushed content: rules on an upstream's host grant nothing there.
//!
//! A push leaves a marker, `_pushed/link`, before anything of it can be read; fills leave none. Repositories from before
//! the marker, and those that distribution pushed to, are surveyed once: a tag whose link does not say that it came
//! from an upstream was pushed, and where there is no tag, so was a manifest whose link does not say so. In doubt, a
//! repository holds pushed content.
//!
//! That it does is remembered. That it does not is asked anew by each request that does not come from memory, because
//! another replica may have taken a push; requests that do come from memory believe it for [`BELIEVED`].

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Registry;
use super::cache::{Cache, Matter};
use super::failure::of_store;
use super::manifest_writes::is_upstreams;
use super::parallel::a_few;
use crate::oci::{Digest, Error, MediaType, RepositoryName, Tag};
use crate::store::{Condition, Key, Metadata, StoreError};

/// How long answers from memory go on as if nothing was pushed at another replica.
const BELIEVED: Duration = Duration::from_secs(10);
/// How many tags, or manifests, a survey looks at: a repository with more of them counts as pushed to.
const MOST: usize = 1000;
/// How many of them at once.
const PARALLEL: usize = 16;

/// What is known of a repository.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holding {
    /// It holds pushed content.
    Pushed,
    /// It held none when the bucket was asked last.
    Unpushed(Instant),
}

impl Cache {
    /// Whether a repository holds pushed content, where that is remembered and was asked just now.
    fn holds_pushed(&self, name: &RepositoryName) -> Option<bool> {
        match self.holdings.get(name)? {
            Holding::Pushed => Some(true),
            Holding::Unpushed(asked) => (asked.elapsed() < BELIEVED).then_some(false),
        }
    }

    fn is_known_to_hold_pushed(&self, name: &RepositoryName) -> bool {
        matches!(self.holdings.get(name), Some(Holding::Pushed))
    }

    /// Remembers that a repository holds pushed content.
    pub(super) fn keep_pushed(&self, name: &RepositoryName) {
        if !self.is_known_to_hold_pushed(name) {
            self.holdings.insert(name.clone(), Holding::Pushed);
        }
    }
}

impl Registry {
    /// Whether a repository holds pushed content, where that is remembered.
    #[must_use]
    pub fn remembered_holding(&self, name: &RepositoryName) -> Option<bool> {
        self.inner.cache.holds_pushed(name)
    }

    /// Whether a repository holds pushed content, as the bucket says now.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn holds_pushed(&self, name: &RepositoryName) -> Result<bool, Error> {
        let cache = &self.inner.cache;
        if cache.is_known_to_hold_pushed(name) {
            return Ok(true);
        }
        let marker = self.inner.store.is_there_now(Key::Pushed(name));
        if marker.await.map_err(of_store)? {
            cache.keep_pushed(name);
            return Ok(true);
        }
        let ask = async {
            let asked = Instant::now();
            let pushed = match cache.holdings.get(name) {
                Some(Holding::Pushed) => return Ok(true),
                Some(Holding::Unpushed(_)) => false,
                None => self.survey(name).await.map_err(of_store)?,
            };
            if pushed {
                self.mark_holding(name).await.map_err(of_store)?;
            } else if !cache.is_known_to_hold_pushed(name) {
                let unpushed = Holding::Unpushed(asked);
                cache.holdings.insert(name.clone(), unpushed);
            }
            Ok(pushed)
        };
        let matter = Matter::Holding(name.clone());
        cache.in_turn(matter, Box::pin(ask)).await
    }

    /// Says that a repository holds pushed content, before a push writes what can be read. Once for each repository of
    /// an upstream's; others hold nothing else.
    pub(super) async fn mark_holding(&self, name: &RepositoryName) -> Result<(), StoreError> {
        let cache = &self.inner.cache;
        if self.upstream(name).is_none() || cache.is_known_to_hold_pushed(name) {
            return Ok(());
        }
        let (bytes, metadata) = (Bytes::from_static(b"pushed"), Metadata::new());
        let key = Key::Pushed(name);
        let put = self.inner.store.put(
            key,
            bytes,
            &MediaType::OCTET_STREAM,
            &metadata,
            Condition::Always,
        );
        put.await?;
        cache.holdings.insert(name.clone(), Holding::Pushed);
        Ok(())
    }

    /// Whether a repository without a marker holds anything that no upstream is known to have.
    async fn survey(&self, name: &RepositoryName) -> Result<bool, StoreError> {
        let store = &self.inner.store;
        let tags = store.children(Key::Tags(name), MOST + 1).await?;
        if tags.len() > MOST {
            return Ok(true);
        }
        // What is no tag is none that distribution or pounce wrote.
        let tags: Vec<Tag> = tags.iter().filter_map(|text| text.parse().ok()).collect();
        if tags.is_empty() {
            return self.survey_untagged(name).await;
        }
        let pushed = tags.iter().map(|tag| async move {
            let link = store.get(Key::Tag(name, tag)).await?;
            Ok(link.is_some_and(|link| self.is_pushed(name, tag, &link)))
        });
        Ok(a_few(PARALLEL, pushed.collect()).await?.contains(&true))
    }

    async fn survey_untagged(&self, name: &RepositoryName) -> Result<bool, StoreError> {
        let store = &self.inner.store;
        let most = i32::try_from(MOST).unwrap_or(i32::MAX);
        let (listed, more) = store.objects(Key::Revisions(name), None, most).await?;
        if more {
            return Ok(true);
        }
        // algorithm/hex/link
        let digests = listed.iter().filter_map(|object| {
            let path = object.path.strip_suffix("/link")?;
            path.replacen('/', ":", 1).parse::<Digest>().ok()
        });
        let pushed = digests.map(|digest| async move {
            let link = store.get(Key::Revision(name, &digest)).await?;
            Ok(link.is_some_and(|link| !is_upstreams(&link)))
        });
        Ok(a_few(PARALLEL, pushed.collect()).await?.contains(&true))
    }
}
