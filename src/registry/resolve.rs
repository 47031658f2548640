//! What a tag means: how fresh the answer is, and whom to ask for a fresher one.
//!
//! A tag's `current/link` in the bucket holds the digest, and as user metadata where it came from and
//! when that was last compared, so that one GET brings both and any replica can go on from there. A
//! link without metadata was pushed, by pounce or by distribution.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::cache::{Origin, TagState};
use super::failure::{of_store, of_upstream};
use super::manifests::manifest_unknown;
use super::{Registry, Served};
use crate::oci::{Digest, Error, Manifest, MediaType, Reference, RepositoryName, Tag};
use crate::store::{Key, Metadata, Object};
use crate::telemetry::Outcome;
use crate::upstream::{Upstream, UpstreamError};

/// The metadata of a tag's link.
const UPSTREAM: &str = "pounce-upstream";
const VERIFIED: &str = "pounce-verified";

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

impl Registry {
    pub(super) async fn resolve(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        accept: &[MediaType],
    ) -> Result<Resolved, Error> {
        let cache = &self.inner.cache;
        if let Some(digest) = self.fresh(name, tag) {
            return Ok(Resolved::Digest(digest, Outcome::Hit));
        }
        let reference = Reference::Tag(tag.clone());
        let unknown = || manifest_unknown(name, &reference);
        let _turn = cache.turn(name, &reference).await;
        if let Some(digest) = self.fresh(name, tag) {
            return Ok(Resolved::Digest(digest, Outcome::Hit));
        }
        if cache.is_absent(name, &reference) {
            return Err(unknown());
        }
        // The bucket is asked again although something is known: another replica may have compared
        // the tag with the upstream a moment ago, and a push may have changed it.
        let known = match (self.stored_tag(name, tag).await, cache.tag(name, tag)) {
            (Ok(Some(state)), _) | (Err(_), Some(state)) => Some(state),
            (Ok(None), Some(state)) if state.origin == Origin::Upstream => Some(state),
            (Ok(None), _) => None,
            (Err(error), None) => return Err(error),
        };
        let usable = known.as_ref().is_some_and(|state| {
            state.origin == Origin::Pushed
                || self.inner.upstream.is_none()
                || state.fresh_until > Instant::now()
        });
        if let (true, Some(state)) = (usable, &known) {
            let digest = state.digest;
            cache.keep_tag(name, tag, state.clone());
            return Ok(Resolved::Digest(digest, Outcome::Hit));
        }
        let Some(upstream) = &self.inner.upstream else {
            return Err(unknown());
        };
        let asked = self
            .ask_upstream(upstream, name, tag, known.as_ref(), accept)
            .await;
        match (asked, known) {
            (Ok(resolved), _) => Ok(resolved),
            (Err(error), Some(state)) if error.is_outage() => {
                tracing::warn!(repository = %name, %tag, %error, "serving the stored tag");
                let fresh_until = Instant::now() + OUTAGE_PAUSE;
                cache.keep_tag(
                    name,
                    tag,
                    TagState {
                        fresh_until,
                        ..state.clone()
                    },
                );
                Ok(Resolved::Digest(state.digest, Outcome::Stale))
            }
            (Err(error), _) => {
                if matches!(error, UpstreamError::NotFound) {
                    cache.keep_absent(name, &reference);
                }
                Err(of_upstream(error, unknown()))
            }
        }
    }

    fn fresh(&self, name: &RepositoryName, tag: &Tag) -> Option<Digest> {
        let state = self.inner.cache.tag(name, tag)?;
        (state.fresh_until > Instant::now()).then_some(state.digest)
    }

    /// One HEAD where something is known; the manifest itself only when it is another one.
    async fn ask_upstream(
        &self,
        upstream: &Upstream,
        name: &RepositoryName,
        tag: &Tag,
        known: Option<&TagState>,
        accept: &[MediaType],
    ) -> Result<Resolved, UpstreamError> {
        let reference = Reference::Tag(tag.clone());
        if let Some(state) = known {
            let head = upstream.head_manifest(name, &reference, accept).await?;
            if head.digest == Some(state.digest) {
                self.tag_is(name, tag, state.digest, None).await;
                return Ok(Resolved::Digest(state.digest, Outcome::Revalidated));
            }
        }
        let manifest = upstream
            .get_manifest(name, &reference, accept)
            .await?
            .verify(None)?;
        self.remember(name, &manifest);
        self.tag_is(name, tag, manifest.digest(), Some(&manifest))
            .await;
        Ok(Resolved::Manifest(Served {
            manifest,
            outcome: Outcome::Fill,
        }))
    }

    /// Remembers what the upstream says of a tag: at once in memory, and in the bucket behind the
    /// client's back, the manifest before the tag.
    async fn tag_is(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: Digest,
        manifest: Option<&Manifest>,
    ) {
        let fresh_until = Instant::now() + self.inner.tag_ttl;
        self.inner.cache.keep_tag(
            name,
            tag,
            TagState {
                digest,
                origin: Origin::Upstream,
                fresh_until,
            },
        );
        let metadata = self.metadata();
        let (registry, name, tag, manifest) =
            (self.clone(), name.clone(), tag.clone(), manifest.cloned());
        let work = async move {
            let written = async {
                if let Some(manifest) = &manifest {
                    registry.write_manifest(&name, manifest).await?;
                    let history = Key::TagHistory(&name, &tag, &digest);
                    registry
                        .write_link(history, &digest, Metadata::new())
                        .await?;
                }
                registry
                    .write_link(Key::Tag(&name, &tag), &digest, metadata)
                    .await
            };
            if let Err(error) = written.await {
                tracing::warn!(repository = %name, %tag, %digest, %error, "a tag was served but not stored");
            }
        };
        self.inner.background.run(work).await;
    }

    fn metadata(&self) -> Metadata {
        let label = self
            .inner
            .upstream
            .as_ref()
            .map(|upstream| upstream.label().to_owned());
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Metadata::from([
            (UPSTREAM.to_owned(), label.unwrap_or_default()),
            (VERIFIED.to_owned(), now.as_secs().to_string()),
        ])
    }

    async fn stored_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<Option<TagState>, Error> {
        let Some(link) = self
            .inner
            .store
            .get(Key::Tag(name, tag))
            .await
            .map_err(of_store)?
        else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&link.bytes);
        let Ok(digest) = text.trim().parse::<Digest>() else {
            tracing::error!(repository = %name, %tag, "the tag's link in the bucket holds no digest");
            return Ok(None);
        };
        Ok(Some(self.read_history(digest, &link)))
    }

    fn read_history(&self, digest: Digest, link: &Object) -> TagState {
        let now = Instant::now();
        let Some(upstream) = link.metadata.get(UPSTREAM) else {
            return TagState {
                digest,
                origin: Origin::Pushed,
                fresh_until: now + self.inner.tag_ttl,
            };
        };
        let seconds = link
            .metadata
            .get(VERIFIED)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        // A clock ahead of ours makes an age of zero, not of centuries.
        let age = SystemTime::now()
            .duration_since(UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap_or(Duration::ZERO);
        let left = match &self.inner.upstream {
            Some(configured) if configured.label() == upstream => {
                self.inner.tag_ttl.saturating_sub(age)
            }
            // It came from another upstream than today's.
            Some(_) => Duration::ZERO,
            None => self.inner.tag_ttl,
        };
        TagState {
            digest,
            origin: Origin::Upstream,
            fresh_until: now + left,
        }
    }
}
