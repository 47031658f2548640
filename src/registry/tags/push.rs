//! Pushing tags.

use super::Tags;
use crate::oci::{Digest, Error, Reference, RepositoryName, Tag};
use crate::registry::cache::{Origin, TagState};
use crate::registry::flights::FlightKey;
use crate::registry::provenance::write_link;
use crate::store::Key;

impl Tags {
    /// Makes a tag name a digest. The link has no metadata, which says that it was pushed.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub(in crate::registry) async fn push(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: Digest,
    ) -> Result<(), Error> {
        let reference = Reference::Tag(tag.clone());
        let keeps_conditions = self.store.keeps_conditions().await;
        let write = async {
            if !keeps_conditions {
                self.markers.mark(name, tag, &digest).await?;
            }
            // The link before the history entry: tags are listed by history, so a listed tag can always be pulled.
            for key in [Key::Tag(name, tag), Key::TagHistory(name, tag, &digest)] {
                write_link(&self.store, key, &digest).await?;
            }
            if !keeps_conditions {
                Box::pin(self.markers.hold(name, tag, &digest)).await?;
            }
            let state = TagState::new(digest, Origin::Pushed, self.lookup.provenance.tag_ttl);
            self.lookup.remember_stored(name, tag, state);
            self.cache.absent.forget(name, &reference);
            self.forget_list(name).await;
            Ok(())
        };
        // Under the tag's lock, so that no lookup remembers what the tag named before.
        self.flights.exclusive(FlightKey::Manifest(name.clone(), reference.clone()), write).await
    }
}
