//! What a tag names, and whether the bucket or the upstream has to be asked for that.

use super::Tags;
use super::lookup::{LinkVersion, TagUpdate};
use super::resolved::Resolved;
use super::revalidation::Revalidation;
use crate::oci::{Digest, Error, MediaType, Reference, RepositoryName, Tag};
use crate::registry::cache::{Origin, TagState};
use crate::registry::failure::of_upstream;
use crate::registry::flights::FlightKey;
use crate::registry::presence::{manifest_not_pushed, manifest_unknown};
use crate::registry::staleness::Staleness;
use crate::upstream::{Upstream, UpstreamError};

/// The outcome of a lookup.
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one, and none is kept")]
enum TagLookup {
    /// This, and what is to be written of it.
    Resolved(Resolved, Option<TagUpdate>),
    /// What a comparison will say.
    Comparing(Revalidation),
}

impl Tags {
    /// What a tag names. `gone` is the digest that it was said to name, and that turned out not to be there.
    ///
    /// # Errors
    /// - `MANIFEST_UNKNOWN`: neither the bucket nor the upstream has the tag.
    /// - `DENIED`, `TOOMANYREQUESTS`, `UNAVAILABLE`: it is not stored, and the upstream cannot be asked.
    pub(in crate::registry) async fn resolve(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
        gone: Option<Digest>,
    ) -> Result<Resolved, Error> {
        let found = if let Some(found) = self.in_memory(name, tag, gone) {
            found
        } else {
            let key = FlightKey::Manifest(name.clone(), Reference::Tag(tag.clone()));
            self.flights.coalesce(key, Box::pin(self.find(name, tag, accept, gone))).await?
        };
        // The tag's lock is free by now: a comparison takes it, and so may the tasks that hold the background's
        // permits.
        match found {
            TagLookup::Resolved(resolved, None) => Ok(resolved),
            TagLookup::Resolved(resolved, Some(update)) => {
                self.writeback.write(name, tag, update).await;
                Ok(resolved)
            }
            TagLookup::Comparing(running) => self.revalidations.wait(name, tag, running).await,
        }
    }

    /// What memory says of a tag, if neither the bucket nor the upstream has to be asked.
    pub(in crate::registry) fn fresh(&self, name: &RepositoryName, tag: &Tag) -> Option<TagState> {
        self.cache.tags.get(name, tag).filter(TagState::is_fresh)
    }

    /// [`fresh`](Self::fresh), or the comparison that is under way.
    fn in_memory(&self, name: &RepositoryName, tag: &Tag, gone: Option<Digest>) -> Option<TagLookup> {
        let state = self.cache.tags.get(name, tag);
        if let Some(state) = &state
            && state.is_fresh()
            && Some(state.digest) != gone
        {
            return Some(TagLookup::Resolved(Resolved::fresh(state), None));
        }
        if state.is_some_and(|state| state.is_pushed()) {
            return None;
        }
        let running = self.revalidations.awaited(name, tag)?;
        (Some(running.digest()) != gone).then_some(TagLookup::Comparing(running))
    }

    async fn find(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
        gone: Option<Digest>,
    ) -> Result<TagLookup, Error> {
        let cache = &self.cache;
        let hit = |digest| Ok(TagLookup::Resolved(Resolved::hit(digest), None));
        let reference = Reference::Tag(tag.clone());
        let unknown = || manifest_unknown(name, &reference);
        if let Some(found) = self.in_memory(name, tag, gone) {
            return Ok(found);
        }
        // The bucket first: the tag may have been pushed to another replica.
        let (stored, link) = self.lookup.in_bucket(name, tag).await?;
        let Some(upstream) = self.upstreams.of(name) else {
            let state = stored.ok_or_else(|| manifest_not_pushed(name, &reference))?;
            let digest = state.digest;
            self.lookup.remember_stored(name, tag, state);
            return hit(digest);
        };
        // A tag that came from the upstream, and whose manifest is gone, is fetched as if it were not stored.
        let stored = stored.filter(|state| state.is_pushed() || Some(state.digest) != gone);
        if let Some(state) = &stored
            && (state.is_pushed() || state.is_fresh())
        {
            self.lookup.remember_stored(name, tag, state.clone());
            return hit(state.digest);
        }
        if let Some(state) = &stored
            && !upstream.follows(name, tag)
        {
            let (digest, life) = (state.digest, self.lookup.provenance.tag_ttl);
            self.lookup.remember_stored(name, tag, TagState::new(digest, Origin::Upstream, life));
            return hit(digest);
        }
        // If the tag was pushed here, another replica deleted it since.
        cache.tags.forget_pushed(name, tag);
        // A stored tag counts as gone, too, if the upstream said so a moment ago.
        if cache.absent.contains_tag(name, tag, stored.as_ref().map(|state| state.digest)) {
            return Err(unknown());
        }
        if let Some(state) = stored {
            let begun = self.revalidations.begin(&upstream, (name, tag), state.clone(), link, accept).await;
            return Ok(match begun {
                Some(running) => TagLookup::Comparing(running),
                None => TagLookup::Resolved(Resolved::stale(&state, Staleness::Slow), None),
            });
        }
        self.fetch(&upstream, (name, tag), link, accept).await.map_err(|error| {
            if matches!(error, UpstreamError::NotFound) {
                cache.absent.keep(name, &reference);
            }
            of_upstream(error, unknown())
        })
    }

    /// A tag that is not stored.
    async fn fetch(
        &self,
        upstream: &Upstream,
        (name, tag): (&RepositoryName, &Tag),
        link: LinkVersion,
        accept: &[MediaType],
    ) -> Result<TagLookup, UpstreamError> {
        let update = self.lookup.at_upstream(upstream, (name, tag), None, link, accept).await?;
        let (resolved, update) = self.lookup.remember(name, tag, update);
        Ok(TagLookup::Resolved(resolved, update))
    }
}
