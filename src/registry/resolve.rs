//! What a tag means: how fresh the answer is, and whom to ask for a fresher one.
//!
//! A tag's `current/link` in the bucket holds the digest, and as user metadata where it came from and
//! when that was last compared, so that one GET brings both and any replica can go on from there. A
//! link without metadata was pushed, by pounce or by distribution, and is not overwritten: a link is only written
//! if it is still the one that was read, and was not pushed meanwhile. The exception is a bucket that distribution
//! used as a pull-through cache, where nobody could push: what it left there came from upstream.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cache::{Matter, Origin, TagState};
use super::failure::{of_store, of_upstream};
use super::manifests::manifest_unknown;
use super::news::{Link, News, UPSTREAM, VERIFIED};
use super::{Registry, Served};
use crate::oci::{Digest, Error, Manifest, MediaType, Reference, RepositoryName, Tag};
use crate::store::{Key, Object, StoreError};
use crate::telemetry::Outcome;
use crate::upstream::{Upstream, UpstreamError};

/// After an outage was met, how long the stored tag is served before the upstream is asked again.
/// Waiting for the timeouts of a dead upstream on every pull would be an outage of our own.
const OUTAGE_PAUSE: Duration = Duration::from_secs(10);

/// What a tag turned out to mean.
pub(super) enum Resolved {
    /// This digest, and how that is known.
    Digest(Digest, Outcome),
    /// This manifest, which came with the answer.
    Manifest(Served),
}

/// The same, and what is to be written of it.
type Found = (Resolved, Option<News>);

impl Registry {
    pub(super) async fn resolve(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
    ) -> Result<Resolved, Error> {
        if let Some((digest, outcome)) = self.fresh(name, tag) {
            return Ok(Resolved::Digest(digest, outcome));
        }
        let matter = Matter::Manifest(name.clone(), Reference::Tag(tag.clone()));
        let find = Box::pin(self.find_tag(name, tag, accept));
        let (resolved, news) = self.inner.cache.in_turn(matter, find).await?;
        if let Some(news) = news {
            // Not before the turn is over: those who have places may be waiting for it.
            self.write_behind(name, tag, news).await;
        }
        Ok(resolved)
    }

    /// What the cache says, if nobody has to be asked.
    pub(super) fn fresh(&self, name: &RepositoryName, tag: &Tag) -> Option<(Digest, Outcome)> {
        let state = self
            .inner
            .cache
            .tag(name, tag)
            .filter(|state| state.fresh_until > Instant::now())?;
        let outcome = if state.stale {
            Outcome::Stale
        } else {
            Outcome::Hit
        };
        Some((state.digest, outcome))
    }

    async fn find_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
    ) -> Result<Found, Error> {
        let cache = &self.inner.cache;
        let known_to_be = |digest, outcome| Ok((Resolved::Digest(digest, outcome), None));
        let reference = Reference::Tag(tag.clone());
        let unknown = || manifest_unknown(name, &reference);
        if let Some((digest, outcome)) = self.fresh(name, tag) {
            return known_to_be(digest, outcome);
        }
        // The bucket first: somebody may have pushed the tag to another replica.
        let (known, link) = self.known_tag(name, tag).await?;
        let Some(upstream) = self.upstream(name) else {
            let state = known.ok_or_else(unknown)?;
            cache.keep_tag(name, tag, state.clone());
            return known_to_be(state.digest, Outcome::Hit);
        };
        if let Some(state) = &known
            && (state.origin == Origin::Pushed || state.fresh_until > Instant::now())
        {
            cache.keep_tag(name, tag, state.clone());
            return known_to_be(state.digest, Outcome::Hit);
        }
        // A stored one, too: the upstream said a moment ago that it is gone.
        if cache.is_absent(name, &reference) {
            return Err(unknown());
        }
        let asked = self
            .ask_upstream(upstream, name, tag, known.as_ref(), link, accept)
            .await;
        match (asked, known) {
            (Ok((resolved, news)), _) => Ok((resolved, Some(news))),
            (Err(error), Some(state)) if error.is_outage() => {
                tracing::warn!(repository = %name, %tag, %error, "serving the stored tag");
                let fresh_until = Instant::now() + OUTAGE_PAUSE;
                cache.keep_tag(
                    name,
                    tag,
                    TagState {
                        fresh_until,
                        stale: true,
                        ..state.clone()
                    },
                );
                known_to_be(state.digest, Outcome::Stale)
            }
            (Err(error), _) => {
                if matches!(error, UpstreamError::NotFound) {
                    cache.keep_absent(name, &reference);
                }
                Err(of_upstream(error, unknown()))
            }
        }
    }

    /// What the bucket says of a tag, although something may be known already: another replica may
    /// have compared it with the upstream a moment ago, and a push may have changed it. Memory stands
    /// in for a bucket that does not answer, and for a link that is still being written.
    async fn known_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Option<TagState>, Link), Error> {
        let remembered = self.inner.cache.tag(name, tag);
        match (self.inner.store.get(Key::Tag(name, tag)).await, remembered) {
            (Ok(Some(object)), _) => {
                let link = object.etag.clone().map_or(Link::Unknown, Link::Is);
                Ok((Some(self.read_link(name, tag, &object)?), link))
            }
            (Ok(None), remembered) => {
                let written_soon = remembered.filter(|state| state.origin == Origin::Upstream);
                Ok((written_soon, Link::Absent))
            }
            (Err(error), Some(state)) => {
                tracing::warn!(repository = %name, %tag, %error, "the bucket cannot be asked for a tag");
                Ok((Some(state), Link::Unknown))
            }
            (Err(error), None) => Err(of_store(error)),
        }
    }

    pub(super) fn read_link(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        link: &Object,
    ) -> Result<TagState, Error> {
        let Some(digest) = link.digest() else {
            let (key, cause) = (
                Key::Tag(name, tag).to_string(),
                "it is not a digest".to_owned(),
            );
            return Err(of_store(StoreError::Corrupt { key, cause }));
        };
        let (now, ttl) = (Instant::now(), self.inner.tag_ttl);
        let state = |origin, left| TagState {
            digest,
            origin,
            fresh_until: now + left,
            stale: false,
        };
        let Some(upstream) = link.metadata.get(UPSTREAM) else {
            let mirrored = matches!((link.modified, self.inner.proxied_until), (Some(written), Some(until)) if written <= until);
            let (origin, left) = if mirrored {
                (Origin::Upstream, Duration::ZERO)
            } else {
                (Origin::Pushed, ttl)
            };
            return Ok(state(origin, left));
        };
        let seconds = link
            .metadata
            .get(VERIFIED)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        // A clock ahead of ours makes an age of zero, not of centuries.
        let verified = UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))
            .unwrap_or(UNIX_EPOCH);
        let age = SystemTime::now()
            .duration_since(verified)
            .unwrap_or(Duration::ZERO);
        let left = match self.upstream(name) {
            Some(configured) if configured.label() == upstream => ttl.saturating_sub(age),
            // It came from another upstream than today's.
            Some(_) => Duration::ZERO,
            None => ttl,
        };
        Ok(state(Origin::Upstream, left))
    }

    /// One HEAD where something is known; the manifest itself only when it is another one.
    async fn ask_upstream(
        &self,
        upstream: &Upstream,
        name: &RepositoryName,
        tag: &Tag,
        known: Option<&TagState>,
        link: Link,
        accept: &[MediaType],
    ) -> Result<(Resolved, News), UpstreamError> {
        let reference = Reference::Tag(tag.clone());
        if let Some(state) = known {
            let head = upstream.head_manifest(name, &reference, accept).await?;
            if head.digest == Some(state.digest) {
                let resolved = Resolved::Digest(state.digest, Outcome::Revalidated);
                return Ok((resolved, self.tag_is(name, tag, state.digest, None, link)));
            }
        }
        let manifest = upstream
            .get_manifest(name, &reference, accept)
            .await?
            .verify(None)?;
        self.remember(name, &manifest);
        let (digest, fetched) = (manifest.digest(), Some(manifest.clone()));
        let news = self.tag_is(name, tag, digest, fetched, link);
        let served = Served {
            manifest,
            outcome: Outcome::Fill,
        };
        Ok((Resolved::Manifest(served), news))
    }

    /// Remembers what the upstream says of a tag: at once in memory, and as news for the bucket.
    fn tag_is(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: Digest,
        manifest: Option<Manifest>,
        link: Link,
    ) -> News {
        let fresh_until = Instant::now() + self.inner.tag_ttl;
        let state = TagState {
            digest,
            origin: Origin::Upstream,
            fresh_until,
            stale: false,
        };
        self.inner.cache.keep_tag(name, tag, state);
        News {
            digest,
            manifest,
            link,
        }
    }
}
