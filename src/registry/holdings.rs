//! Whether a repository holds pushed content: rules on an upstream's host grant nothing there.
//!
//! A push leaves a marker, `_pushed/link`, before anything of it can be read; fills leave none. Repositories from
//! before the marker, and those that distribution pushed to, are surveyed once: a tag whose link does not say that it
//! came from an upstream was pushed, and where there is no tag, so was a manifest whose link does not say so. In doubt,
//! a repository holds pushed content. So does, for the rules, one with content of an upstream that is configured no
//! longer.
//!
//! That it does is remembered. That it does not is asked anew by each request that does not come from memory, because
//! another replica may have taken a push; requests that do come from memory believe it for [`BELIEVED`].

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Registry;
use super::cache::{Cache, Matter};
use super::failure::of_store;
use super::manifest_writes::is_upstreams;
use super::news::UPSTREAM;
use super::parallel::{first, lazily};
use crate::oci::{Digest, Error, MediaType, RepositoryName, Tag};
use crate::store::{Condition, Key, Metadata, Object, StoreError};

/// How long answers from memory go on as if nothing was pushed at another replica.
const BELIEVED: Duration = Duration::from_secs(10);
/// How many tags, or manifests, a survey looks at: a repository with more of them counts as pushed to.
const MOST: usize = 1000;
/// How many of them at once.
const PARALLEL: usize = 16;
/// How long a survey that found nothing pushed counts, however often the marker is asked for meanwhile: distribution
/// leaves no marker.
const SURVEYED: Duration = Duration::from_mins(10);

/// What is known of a repository.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holding {
    /// It holds pushed content, and the bucket has the marker.
    Marked,
    /// Links say that it holds pushed content, or that of an upstream that is configured no longer.
    Pushed,
    /// It held none.
    Unpushed {
        /// When the links in the bucket were looked at.
        surveyed: Instant,
        /// When the marker was asked for last.
        asked: Instant,
    },
}

/// The first link of a survey that tells.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// It was pushed.
    Pushed,
    /// It came from an upstream that is configured no longer.
    OfAnother,
}

impl Cache {
    /// Whether a repository holds pushed content, where that is remembered and was asked just now.
    fn holds_pushed(&self, name: &RepositoryName) -> Option<bool> {
        match self.holdings.get(name)? {
            Holding::Marked | Holding::Pushed => Some(true),
            Holding::Unpushed { asked, .. } => (asked.elapsed() < BELIEVED).then_some(false),
        }
    }

    fn is_known_to_hold_pushed(&self, name: &RepositoryName) -> bool {
        matches!(self.holdings.get(name), Some(Holding::Marked | Holding::Pushed))
    }

    fn is_marked(&self, name: &RepositoryName) -> bool {
        matches!(self.holdings.get(name), Some(Holding::Marked))
    }

    /// Remembers that a repository holds no pushed content, unless a push says otherwise meanwhile: whether one does.
    fn keep_unpushed(&self, name: &RepositoryName, unpushed: Holding) -> bool {
        let kept = self.holdings.entry_by_ref(name).and_upsert_with(|known| {
            let known = known.map(moka::Entry::into_value);
            known.filter(|it| !matches!(it, Holding::Unpushed { .. })).unwrap_or(unpushed)
        });
        !matches!(kept.into_value(), Holding::Unpushed { .. })
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
            cache.holdings.insert(name.clone(), Holding::Marked);
            return Ok(true);
        }
        let ask = async {
            let asked = Instant::now();
            let surveyed = match cache.holdings.get(name) {
                Some(Holding::Unpushed { surveyed, .. }) if surveyed.elapsed() < SURVEYED => surveyed,
                _ => match self.survey(name).await.map_err(of_store)? {
                    None => asked,
                    Some(found) => {
                        self.keep_found(name, found).await;
                        return Ok(true);
                    }
                },
            };
            Ok(cache.keep_unpushed(name, Holding::Unpushed { surveyed, asked }))
        };
        let matter = Matter::Holding(name.clone());
        cache.in_turn(matter, Box::pin(ask)).await
    }

    /// Says that a repository holds pushed content, before a push writes what can be read. Once for each repository of
    /// an upstream's; others hold nothing else.
    pub(super) async fn mark_holding(&self, name: &RepositoryName) -> Result<(), StoreError> {
        let cache = &self.inner.cache;
        if self.upstream(name).is_none() || cache.is_marked(name) {
            return Ok(());
        }
        let (bytes, metadata) = (Bytes::from_static(b"pushed"), Metadata::new());
        let key = Key::Pushed(name);
        let put = self.inner.store.put(key, bytes, &MediaType::OCTET_STREAM, &metadata, Condition::Always);
        put.await?;
        cache.holdings.insert(name.clone(), Holding::Marked);
        Ok(())
    }

    /// Remembers what a survey found. A marker spares others the survey; without one, in a bucket that takes no writes,
    /// it is found again.
    async fn keep_found(&self, name: &RepositoryName, found: Found) {
        self.inner.cache.keep_pushed(name);
        if matches!(found, Found::Pushed)
            && let Err(error) = self.mark_holding(name).await
        {
            tracing::warn!(repository = %name, %error, "the marker of pushed content was not written");
        }
    }

    /// Looks for anything that the repository's upstream is not known to have, in a repository without a marker.
    async fn survey(&self, name: &RepositoryName) -> Result<Option<Found>, StoreError> {
        let store = &self.inner.store;
        let tags = store.children(Key::Tags(name), MOST + 1).await?;
        if tags.len() > MOST {
            return Ok(Some(Found::Pushed));
        }
        // What is no tag is none that distribution or pounce wrote.
        let tags: Vec<Tag> = tags.iter().filter_map(|text| text.parse().ok()).collect();
        if tags.is_empty() {
            return self.survey_untagged(name).await;
        }
        let pushed = |tag: Tag| async move {
            let link = store.get(Key::Tag(name, &tag)).await?;
            let found = |link: Object| {
                if self.is_pushed(name, &tag, &link) {
                    return Some(Found::Pushed);
                }
                self.of_another(name, &link)
            };
            Ok(link.and_then(found))
        };
        // One is enough.
        Ok(first(1, lazily(PARALLEL, tags, pushed)).await?.pop())
    }

    async fn survey_untagged(&self, name: &RepositoryName) -> Result<Option<Found>, StoreError> {
        let store = &self.inner.store;
        let most = i32::try_from(MOST).unwrap_or(i32::MAX);
        let (listed, more) = store.objects(Key::Revisions(name), None, most).await?;
        if more {
            return Ok(Some(Found::Pushed));
        }
        // algorithm/hex/link
        let digests = listed.iter().filter_map(|object| {
            let path = object.path.strip_suffix("/link")?;
            path.replacen('/', ":", 1).parse::<Digest>().ok()
        });
        let digests: Vec<Digest> = digests.collect();
        let pushed = |digest: Digest| async move {
            let link = store.get(Key::Revision(name, &digest)).await?;
            let found = |link: Object| {
                if is_upstreams(&link) {
                    return self.of_another(name, &link);
                }
                Some(Found::Pushed)
            };
            Ok(link.and_then(found))
        };
        Ok(first(1, lazily(PARALLEL, digests, pushed)).await?.pop())
    }

    /// Whether the link of what was fetched is of a further upstream that is one no longer: such a name begins with its
    /// host, and would pass for one of the default upstream's. Where only the default upstream's address changed, names
    /// do not begin with one.
    fn of_another(&self, name: &RepositoryName, link: &Object) -> Option<Found> {
        let upstream = self.upstream(name)?;
        let label = link.metadata.get(UPSTREAM);
        let is_another = label.is_none_or(|label| label != upstream.label());
        let names = self.inner.upstreams.host_names();
        (is_another && names.looks_further(name.as_str())).then_some(Found::OfAnother)
    }
}
