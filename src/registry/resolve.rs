//! What a tag means: how fresh the answer is, and whom to ask for a fresher one.
//!
//! A tag's `current/link` in the bucket holds the digest, and as user metadata where it came from and when that was
//! last compared, so that one GET brings both and any replica can go on from there. A link without metadata was pushed,
//! by pounce or by distribution, and is not overwritten: a link is only written if it is still the one that was read,
//! and was not pushed meanwhile. The exception is a bucket that distribution used as a pull-through cache, where nobody
//! could push: what it left there came from upstream.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cache::{Matter, Origin, TagState};
use super::failure::{of_store, of_upstream};
use super::manifests::manifest_unknown;
use super::news::{Link, News, UPSTREAM, VERIFIED};
use super::revalidate::Revalidation;
use super::{Registry, Served, Staleness};
use crate::oci::{Digest, Error, MediaType, Outcome, Reference, RepositoryName, Tag};
use crate::store::{Key, Object, StoreError};
use crate::upstream::{Upstream, UpstreamError};

/// What a tag turned out to mean.
#[derive(Clone, Debug)]
pub(super) enum Resolved {
    /// This digest, how that is known, and why it may be out of date.
    Digest(Digest, Outcome, Option<Staleness>),
    /// This manifest, which came with the answer.
    Manifest(Served),
}

/// What a lookup comes to.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one, and none is kept")]
enum Found {
    /// This, and what is to be written of it.
    Settled(Resolved, Option<News>),
    /// What a comparison tells.
    Compared(Revalidation),
}

impl From<(Resolved, Option<News>)> for Found {
    fn from((resolved, news): (Resolved, Option<News>)) -> Self {
        Self::Settled(resolved, news)
    }
}

impl Found {
    const fn hit(digest: Digest) -> Self {
        Self::Settled(Resolved::Digest(digest, Outcome::Hit, None), None)
    }
}

impl Registry {
    /// What a tag means. `gone` is what it was said to mean, and what turned out not to be there.
    pub(super) async fn resolve(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
        gone: Option<Digest>,
    ) -> Result<Resolved, Error> {
        let found = if let Some(found) = self.remembered(name, tag, gone) {
            found
        } else {
            let matter = Matter::Manifest(name.clone(), Reference::Tag(tag.clone()));
            let find = Box::pin(self.find_tag(name, tag, accept, gone));
            self.inner.cache.in_turn(matter, find).await?
        };
        // Not before the turn is over: a comparison waits for it, and so may those who have places.
        match found {
            Found::Settled(resolved, None) => Ok(resolved),
            Found::Settled(resolved, Some(news)) => {
                self.write_behind(name, tag, news).await;
                Ok(resolved)
            }
            Found::Compared(running) => self.compared(name, tag, running).await,
        }
    }

    /// What the cache says, if nobody has to be asked.
    pub(super) fn fresh(&self, name: &RepositoryName, tag: &Tag) -> Option<TagState> {
        self.inner.cache.tag(name, tag).filter(TagState::is_fresh)
    }

    /// The same, or what is just being asked.
    fn remembered(&self, name: &RepositoryName, tag: &Tag, gone: Option<Digest>) -> Option<Found> {
        let state = self.inner.cache.tag(name, tag);
        if let Some(state) = &state
            && state.is_fresh()
            && Some(state.digest) != gone
        {
            return Some(Found::Settled(state.resolved(), None));
        }
        if state.is_some_and(|state| state.origin == Origin::Pushed) {
            return None;
        }
        let running = self.inner.revalidations.awaited(name, tag)?;
        (Some(running.digest()) != gone).then_some(Found::Compared(running))
    }

    async fn find_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
        gone: Option<Digest>,
    ) -> Result<Found, Error> {
        let cache = &self.inner.cache;
        let reference = Reference::Tag(tag.clone());
        let unknown = || manifest_unknown(name, &reference);
        if let Some(found) = self.remembered(name, tag, gone) {
            return Ok(found);
        }
        // The bucket first: somebody may have pushed the tag to another replica.
        let (known, link) = self.known_tag(name, tag).await?;
        let Some(upstream) = self.upstream(name) else {
            let state = known.ok_or_else(unknown)?;
            cache.keep_tag(name, tag, state.clone());
            return Ok(Found::hit(state.digest));
        };
        // What came from the upstream and is not there is fetched as if nothing were known of it.
        let known = known.filter(|state| state.origin == Origin::Pushed || Some(state.digest) != gone);
        if let Some(state) = &known
            && (state.origin == Origin::Pushed || state.is_fresh())
        {
            cache.keep_tag(name, tag, state.clone());
            return Ok(Found::hit(state.digest));
        }
        // It was pushed here, and deleted at another replica.
        cache.forget_pushed_tag(name, tag);
        // A stored one, too: the upstream said a moment ago that it is gone.
        if cache.is_gone(name, tag, known.as_ref().map(|state| state.digest)) {
            return Err(unknown());
        }
        if let Some(state) = known {
            let stored = (state.clone(), link);
            let running = self.revalidate(upstream, (name, tag), stored, accept);
            return Ok(match running.await {
                Some(running) => Found::Compared(running),
                None => Found::Settled(state.stale(Staleness::Slow), None),
            });
        }
        match self.ask_upstream(upstream, name, tag, (None, link), accept).await {
            Ok(news) => Ok(self.tag_is(name, tag, news).into()),
            Err(error) => {
                if matches!(error, UpstreamError::NotFound) {
                    cache.keep_absent(name, &reference);
                }
                Err(of_upstream(error, unknown()))
            }
        }
    }

    /// What the bucket says of a tag, although something may be known already: another replica may have compared it
    /// with the upstream a moment ago, and a push may have changed it. Memory stands in for a bucket that does not
    /// answer, and for a link that is still being written.
    pub(super) async fn known_tag(&self, name: &RepositoryName, tag: &Tag) -> Result<(Option<TagState>, Link), Error> {
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

    pub(super) fn read_link(&self, name: &RepositoryName, tag: &Tag, link: &Object) -> Result<TagState, Error> {
        let Some(digest) = link.digest() else {
            let (key, cause) = (Key::Tag(name, tag).to_string(), "it is not a digest".to_owned());
            return Err(of_store(StoreError::Corrupt { key, cause }));
        };
        let (now, ttl) = (Instant::now(), self.inner.tag_ttl);
        let state = |origin, left| TagState { digest, origin, fresh_until: now + left, stale: None };
        let Some(upstream) = link.metadata.get(UPSTREAM) else {
            let mirrored =
                matches!((link.modified, self.inner.proxied_until), (Some(written), Some(until)) if written <= until);
            let (origin, left) = if mirrored { (Origin::Upstream, Duration::ZERO) } else { (Origin::Pushed, ttl) };
            return Ok(state(origin, left));
        };
        let seconds = link.metadata.get(VERIFIED).and_then(|text| text.parse().ok()).unwrap_or(0);
        // A clock ahead of ours makes an age of zero, not of centuries.
        let verified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
        let age = SystemTime::now().duration_since(verified).unwrap_or(Duration::ZERO);
        let left = match self.upstream(name) {
            Some(configured) if configured.label() == upstream => ttl.saturating_sub(age),
            // It came from another upstream than today's.
            Some(_) => Duration::ZERO,
            None => ttl,
        };
        Ok(state(Origin::Upstream, left))
    }

    /// What the upstream says of a tag: one HEAD where something is known, the manifest itself only when it is another
    /// one.
    pub(super) async fn ask_upstream(
        &self,
        upstream: &Arc<Upstream>,
        name: &RepositoryName,
        tag: &Tag,
        (known, link): (Option<Digest>, Link),
        accept: &[MediaType],
    ) -> Result<News, UpstreamError> {
        let reference = Reference::Tag(tag.clone());
        if let Some(digest) = known {
            let head = upstream.head_manifest(name, &reference, accept).await?;
            if head.digest == Some(digest) {
                let manifest = None;
                return Ok(News { digest, manifest, link });
            }
        }
        let manifest = upstream.get_manifest(name, &reference, accept).await?.verify(None)?;
        self.remember(name, &manifest);
        Ok(News { digest: manifest.digest(), manifest: Some(manifest), link })
    }

    /// Remembers what the upstream says of a tag, at once; what comes back is for the bucket, unless the tag was pushed
    /// meanwhile.
    pub(super) fn tag_is(&self, name: &RepositoryName, tag: &Tag, news: News) -> (Resolved, Option<News>) {
        let state = TagState {
            digest: news.digest,
            origin: Origin::Upstream,
            fresh_until: Instant::now() + self.inner.tag_ttl,
            stale: None,
        };
        let resolved = match &news.manifest {
            Some(manifest) => Resolved::Manifest(Served::new(manifest.clone(), Outcome::Fill)),
            None => Resolved::Digest(news.digest, Outcome::Revalidated, None),
        };
        let is_kept = self.inner.cache.keep_upstream_tag(name, tag, state);
        (resolved, Some(news).filter(|_| is_kept))
    }
}

impl TagState {
    /// What it says to those who ask while it is fresh.
    pub(super) fn resolved(&self) -> Resolved {
        match self.stale {
            Some(why) => self.stale(why),
            None => Resolved::Digest(self.digest, Outcome::Hit, None),
        }
    }
}
