//! Pushing tags.

use std::sync::Arc;

use futures_util::StreamExt;

use super::Tags;
use crate::oci::{Digest, Error, ErrorCode, Reference, RepositoryName, Tag};
use crate::registry::cache::{Origin, TagState};
use crate::registry::flights::FlightKey;
use crate::registry::provenance::{write_link, write_new_link};
use crate::registry::runtime::buffered;
use crate::store::{Key, StoreError};

/// How many tags are looked for at once.
const PARALLEL: usize = 32;
/// How often an immutable tag is looked for and written that others write at the same time.
const ATTEMPTS: usize = 3;

impl Tags {
    /// Makes a tag name a digest. The link has no metadata, which says that it was pushed. Returns what a `look` finds
    /// that begins when the link is written. If it fails, the bucket may name either digest, and is asked for it.
    ///
    /// # Errors
    /// `DENIED`: the tag is immutable, and names another digest. `UNAVAILABLE`.
    pub(in crate::registry) async fn push(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: Digest,
        look: impl Future<Output = Result<bool, StoreError>>,
    ) -> Result<bool, Error> {
        let reference = Reference::Tag(tag.clone());
        let keeps_conditions = self.store.keeps_conditions().await;
        let lookup = &self.lookup;
        let write = async {
            if !keeps_conditions {
                self.markers.mark(name, tag, &digest).await?;
            }
            // The link before the history entry: a history lists the tag, too, so a listed tag can always be pulled.
            self.write_tag(name, tag, &digest).await?;
            let hold_and_look = async {
                if !keeps_conditions {
                    Box::pin(self.markers.hold(name, tag, &digest)).await?;
                }
                look.await
            };
            let history = write_link(&self.store, Key::TagHistory(name, tag, &digest), &digest);
            let ((), found) = tokio::try_join!(history, hold_and_look)?;
            Ok::<_, Error>(found)
        };
        let push = async {
            let pushed = write.await;
            match &pushed {
                Ok(_) => {
                    let state = TagState::new(digest, Origin::Pushed, lookup.provenance.tag_ttl);
                    lookup.remember_stored(name, tag, state);
                }
                Err(_) => self.cache.tags.expire(name, tag),
            }
            self.cache.absent.forget(name, &reference);
            self.forget_list(name).await;
            pushed
        };
        // Under the tag's lock, so that no lookup remembers what the tag named before.
        self.flights.exclusive(FlightKey::Manifest(name.clone(), reference.clone()), push).await
    }

    /// Whether a push may make a tag name a digest: not if it is immutable, and names another one. Of other tags, the
    /// bucket is not asked.
    ///
    /// # Errors
    /// `DENIED`: it may not. `UNAVAILABLE`.
    pub(in crate::registry) async fn allow_push(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), Error> {
        if self.upstreams.fix(name, tag) { self.stored_for(name, tag, digest).await.map(drop) } else { Ok(()) }
    }

    /// Whether an immutable tag is there; then it names this digest.
    async fn stored_for(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<bool, Error> {
        match self.store.leader().get(Key::Tag(name, tag)).await? {
            None => Ok(false),
            Some(link) if link.digest() == Some(*digest) => Ok(true),
            Some(_) => {
                let message =
                    format!("the tag {tag} is immutable in {name}, and names another manifest: push another tag");
                Err(Error::new(ErrorCode::Denied, message))
            }
        }
    }

    /// Writes the link of a pushed tag; of an immutable one only if there is none, or one with the same digest.
    async fn write_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), Error> {
        let key = Key::Tag(name, tag);
        if !self.upstreams.fix(name, tag) {
            return Ok(write_link(&self.store, key, digest).await?);
        }
        for _ in 0..ATTEMPTS {
            if self.stored_for(name, tag, digest).await? {
                return Ok(write_link(&self.store, key, digest).await?);
            }
            if write_new_link(&self.store, key, digest).await? {
                return Ok(());
            }
            // Another push came first, or an attempt of this one whose answer was lost.
        }
        let message = format!("other clients push and delete the tag {tag} at the same time, push it again");
        Err(Error::new(ErrorCode::Unavailable, message))
    }

    /// Looks for the links of tags whose push has ended, in the background. Another replica may have deleted link and
    /// history while the push's entry of the history was on its way; that would list a tag that cannot be pulled, so
    /// the entry goes, too. A push that comes in between loses its entry at most, which no pull needs.
    pub(in crate::registry) async fn tidy_histories(self: &Arc<Self>, name: &RepositoryName, pushed: Vec<Tag>) {
        let (tags, name) = (Arc::clone(self), name.clone());
        let look = async move {
            let tidy = |tag| tags.tidy_history(&name, tag);
            buffered(PARALLEL, &pushed, tidy).collect::<()>().await;
        };
        self.background.run_or_wait(look).await;
    }

    async fn tidy_history(&self, name: &RepositoryName, tag: &Tag) {
        let tidied = match self.store.leader().exists(Key::Tag(name, tag)).await {
            Ok(true) => return,
            Ok(false) => self.remove_history(name, tag).await,
            Err(error) => Err(error),
        };
        if let Err(error) = tidied {
            tracing::warn!(repository = %name, %tag, %error, "a tag that is deleted may still be listed");
        }
    }
}
