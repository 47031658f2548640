//! Pushing tags.

use std::sync::Arc;

use futures_util::StreamExt;

use super::Tags;
use crate::oci::{Digest, Error, Reference, RepositoryName, Tag};
use crate::registry::cache::{Origin, TagState};
use crate::registry::flights::FlightKey;
use crate::registry::provenance::write_link;
use crate::registry::runtime::buffered;
use crate::store::{Key, StoreError};

/// How many tags are looked for at once.
const PARALLEL: usize = 32;

impl Tags {
    /// Makes a tag name a digest. The link has no metadata, which says that it was pushed. Returns what a `look` finds
    /// that begins when the link is written. If it fails, the bucket may name either digest, and is asked for it.
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
        let lookup = &self.lookup;
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
            Ok(found)
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
