//! Pushing tags.

use std::sync::Arc;

use super::Tags;
use crate::oci::{Digest, Error, Reference, RepositoryName, Tag};
use crate::registry::cache::{Origin, TagState};
use crate::registry::flights::FlightKey;
use crate::registry::provenance::write_link;
use crate::store::{Key, StoreError};

impl Tags {
    /// Makes a tag name a digest. The link has no metadata, which says that it was pushed. Returns what a `look` finds
    /// that begins when the link is written.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub(in crate::registry) async fn push(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: Digest,
        look: impl Future<Output = Result<bool, StoreError>>,
    ) -> Result<bool, Error> {
        let reference = Reference::Tag(tag.clone());
        let keeps_conditions = self.store.keeps_conditions().await;
        let write = async {
            if !keeps_conditions {
                self.markers.mark(name, tag, &digest).await?;
            }
            // The link before the history entry: a history lists the tag, too, so a listed tag can always be pulled.
            write_link(&self.store, Key::Tag(name, tag), &digest).await?;
            let hold_and_look = async {
                if !keeps_conditions {
                    Box::pin(self.markers.hold(name, tag, &digest)).await?;
                }
                look.await
            };
            let history = write_link(&self.store, Key::TagHistory(name, tag, &digest), &digest);
            let ((), found) = tokio::try_join!(history, hold_and_look)?;
            let state = TagState::new(digest, Origin::Pushed, self.lookup.provenance.tag_ttl);
            self.lookup.remember_stored(name, tag, state);
            self.cache.absent.forget(name, &reference);
            self.forget_list(name).await;
            Ok(found)
        };
        // Under the tag's lock, so that no lookup remembers what the tag named before.
        self.flights.exclusive(FlightKey::Manifest(name.clone(), reference.clone()), write).await
    }

    /// Looks for the link of a tag that was pushed, in the background. Another replica may have deleted link and
    /// history while the push's entry of the history was on its way; that would list a tag that cannot be pulled, so
    /// the entry goes, too. A push that comes in between loses its entry at most, which no pull needs.
    pub(in crate::registry) async fn tidy_history(self: &Arc<Self>, name: &RepositoryName, tag: &Tag) {
        let (tags, name, tag) = (Arc::clone(self), name.clone(), tag.clone());
        let look = async move {
            let tidied = match tags.store.leader().exists(Key::Tag(&name, &tag)).await {
                Ok(true) => return,
                Ok(false) => tags.remove_history(&name, &tag).await,
                Err(error) => Err(error),
            };
            if let Err(error) = tidied {
                tracing::warn!(repository = %name, %tag, %error, "a tag that is deleted may still be listed");
            }
        };
        self.background.run_or_wait(look).await;
    }
}
