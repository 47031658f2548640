//! Whether a repository holds pushed content: rules on an upstream's host grant nothing there.
//!
//! A push writes a marker, `_pushed/link`, before anything of it can be read; fills write none. Repositories from
//! before the marker, and those that distribution pushed to, are surveyed once: a tag whose link does not say that it
//! came from an upstream was pushed, and where there is no tag, so was a manifest whose link does not say so. In doubt,
//! a repository holds pushed content. So does, for the rules, one with content of an upstream that is no longer
//! configured.
//!
//! That it does is remembered. That it does not is asked anew by each request that does not come from memory, because
//! another replica may have taken a push; requests that do come from memory believe it for ten seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cache::{Cache, Holding, Origin};
use super::flights::{FlightKey, Flights};
use super::provenance::{Provenance, revision_origin};
use super::runtime::{buffered, first};
use crate::oci::{Digest, Error, MediaType, RepositoryName, Tag};
use crate::store::{Condition, Key, Metadata, Object, Store, StoreError};
use crate::upstream::Upstreams;

/// How many tags, or manifests, a survey reads: a repository with more of them counts as pushed to.
const MOST: usize = 1000;
/// How many of them at once.
const PARALLEL: usize = 16;
/// How long a survey that found nothing pushed counts, however often the marker is asked for meanwhile, because
/// distribution writes no marker.
const SURVEY_LIFE: Duration = Duration::from_mins(10);

/// The first link of a survey that decides.
#[derive(Clone, Copy, Debug)]
enum Finding {
    /// It was pushed.
    Pushed,
    /// It came from an upstream that is no longer configured.
    OfRemovedUpstream,
}

/// Knows which repositories hold pushed content.
#[derive(Debug)]
pub struct Holdings {
    pub(super) store: Store,
    pub(super) upstreams: Arc<Upstreams>,
    pub(super) cache: Arc<Cache>,
    pub(super) flights: Arc<Flights>,
    pub(super) provenance: Arc<Provenance>,
}

impl Holdings {
    /// Whether a repository holds pushed content, where that is remembered.
    #[must_use]
    pub fn in_memory(&self, name: &RepositoryName) -> Option<bool> {
        self.cache.holdings.holds_pushed(name)
    }

    /// Whether a repository holds pushed content, as the bucket says now.
    ///
    /// # Errors
    /// `UNAVAILABLE`: the bucket does not answer.
    pub async fn holds_pushed(&self, name: &RepositoryName) -> Result<bool, Error> {
        let holdings = &self.cache.holdings;
        if holdings.is_pushed(name) {
            return Ok(true);
        }
        if self.store.leader().exists(Key::Pushed(name)).await? {
            holdings.keep_marked(name);
            return Ok(true);
        }
        let survey = async {
            let asked = Instant::now();
            let surveyed = match holdings.get(name) {
                Some(Holding::Unpushed { surveyed, .. }) if surveyed.elapsed() < SURVEY_LIFE => surveyed,
                _ => match self.survey(name).await? {
                    None => asked,
                    Some(found) => {
                        self.keep_found(name, found).await;
                        return Ok(true);
                    }
                },
            };
            Ok(holdings.keep_unpushed(name, surveyed, asked))
        };
        self.flights.coalesce(FlightKey::Holding(name.clone()), Box::pin(survey)).await
    }

    /// Marks a repository, before a push writes anything that can be read. Once for each repository of an upstream.
    /// Other repositories hold only pushed content, and need no marker.
    pub(super) async fn mark(&self, name: &RepositoryName) -> Result<(), StoreError> {
        let holdings = &self.cache.holdings;
        if !self.upstreams.has(name) || holdings.is_marked(name) {
            return Ok(());
        }
        let (bytes, metadata) = (Bytes::from_static(b"pushed"), Metadata::new());
        let (key, media_type) = (Key::Pushed(name), MediaType::OCTET_STREAM);
        self.store.put(key, bytes, &media_type, &metadata, Condition::Always).await?;
        holdings.keep_marked(name);
        Ok(())
    }

    /// Remembers what a survey found. A marker spares other replicas the survey. Where the bucket takes no writes, the
    /// next survey finds it again.
    async fn keep_found(&self, name: &RepositoryName, found: Finding) {
        self.cache.holdings.keep_pushed(name);
        if matches!(found, Finding::Pushed)
            && let Err(error) = self.mark(name).await
        {
            tracing::warn!(repository = %name, %error, "the marker of pushed content was not written");
        }
    }

    /// Looks for content that the repository's upstream is not known to have, in a repository without a marker.
    async fn survey(&self, name: &RepositoryName) -> Result<Option<Finding>, StoreError> {
        let tags = self.store.children(Key::Tags(name), MOST + 1).await?;
        if tags.len() > MOST {
            return Ok(Some(Finding::Pushed));
        }
        // Neither distribution nor pounce writes a name that is not a tag.
        let tags: Vec<Tag> = tags.iter().filter_map(|text| text.parse().ok()).collect();
        if tags.is_empty() {
            return self.survey_untagged(name).await;
        }
        let look = |tag: Tag| async move {
            let link = self.store.get(Key::Tag(name, &tag)).await?;
            Ok(link.and_then(|link| self.found(name, &link, self.provenance.is_pushed(name, &tag, &link))))
        };
        Ok(first(1, buffered(PARALLEL, tags, look)).await?.pop())
    }

    async fn survey_untagged(&self, name: &RepositoryName) -> Result<Option<Finding>, StoreError> {
        let most = i32::try_from(MOST).unwrap_or(i32::MAX);
        let (listed, more) = self.store.objects(Key::Revisions(name), None, most).await?;
        if more {
            return Ok(Some(Finding::Pushed));
        }
        // algorithm/hex/link
        let digests = listed.iter().filter_map(|object| {
            let path = object.path.strip_suffix("/link")?;
            path.replacen('/', ":", 1).parse::<Digest>().ok()
        });
        let digests: Vec<Digest> = digests.collect();
        let look = |digest: Digest| async move {
            let link = self.store.get(Key::Revision(name, &digest)).await?;
            Ok(link.and_then(|link| self.found(name, &link, revision_origin(&link) == Origin::Pushed)))
        };
        Ok(first(1, buffered(PARALLEL, digests, look)).await?.pop())
    }

    fn found(&self, name: &RepositoryName, link: &Object, is_pushed: bool) -> Option<Finding> {
        if is_pushed {
            return Some(Finding::Pushed);
        }
        self.provenance.is_of_removed_upstream(name, link).then_some(Finding::OfRemovedUpstream)
    }
}
