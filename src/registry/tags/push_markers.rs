//! Tags over a bucket that writes although a condition does not hold, so that nothing tells a write-back of the
//! upstream's answer that a push came in between.
//!
//! There, every push writes a marker beside the tag, which holds the pushed digest. Four rules, for any number of
//! replicas:
//!
//! - A push writes the marker, then the tag's link. In the end it reads both, and writes again what is missing.
//! - A write-back reads the marker and the link, in one round trip, and writes only if there is no marker and the link
//!   is still the one that was compared with the upstream. Then it reads the marker again; if there is one by now, it
//!   writes the link anew as the marker says, until the marker is the one that it wrote for.
//! - A delete removes the marker, then the link; one of a manifest reads the link once more in between. Then it reads
//!   the marker again, as a write-back does.
//! - A link is only ever written to say what the marker says, or deleted to go with it.
//!
//! So a push cannot lose to a write-back. If its marker was written before the write-back's first read, the write-back
//! writes nothing. If after that, but before the second read, the write-back restores the push. If after that, the
//! push's link is written after the write-back's. Two write-backs, or two pushes, do not change that: whichever writes
//! the link last has read the marker afterwards, or is a push. (`tests/models/writeback.rs` tries all orders.)
//!
//! What is left: a write-back whose process dies within the round trip between its write and its second read leaves the
//! upstream's answer over a push that had done its own reads already. The marker stays, so the next comparison with the
//! upstream restores the push. And distribution's pushes write no marker: there, only the short time between a
//! write-back's read and its write protects them.
//!
//! A marker that is older than any push takes, beside a link that is gone, is of a tag that distribution deleted, or of
//! a push that died and was not acknowledged: it counts for nothing. Other conditional writes need no marker. A
//! manifest is written if it is absent, and under its digest there can be no other bytes. A tag is deleted if it is
//! unchanged, and the delete restores a push that it removed, as above.

use std::sync::Arc;
use std::time::Duration;

use super::lookup::LinkVersion;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::registry::provenance::{Provenance, write_link};
use crate::store::{Key, Object, Store, StoreError};

/// Longer than a push takes from its marker to its link: two requests, each of at most 15 seconds.
const IN_FLIGHT: Duration = Duration::from_mins(1);

/// How often a link is written anew for a marker that changes meanwhile: once for each push, or delete, that comes in
/// between.
const ATTEMPTS: usize = 20;

/// A push of a tag.
struct Marker {
    digest: Digest,
    age: Duration,
}

/// Writes and reads the markers of pushed tags.
#[derive(Debug)]
pub(super) struct PushMarkers {
    pub(super) store: Store,
    pub(super) provenance: Arc<Provenance>,
}

impl PushMarkers {
    /// Says that a tag is being pushed, before its link is written.
    pub(super) async fn mark(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        write_link(&self.store, Key::TagPush(name, tag), digest).await
    }

    /// The end of a push: its link and marker are there, or those of another push, or a delete removed the link.
    pub(super) async fn hold(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let (marker, link) = self.marker_and_link(name, tag).await?;
            let is_overwritten = link.is_some_and(|link| !self.provenance.is_pushed(name, tag, &link));
            let pushed = marker.as_ref().map_or(*digest, |marker| marker.digest);
            if marker.is_none() {
                self.mark(name, tag, digest).await?;
            } else if !is_overwritten {
                return Ok(());
            }
            if is_overwritten {
                write_link(&self.store, Key::Tag(name, tag), &pushed).await?;
            }
        }
        Err(changes_all_the_time(name, tag))
    }

    /// Whether a write-back may write a tag: no push came, and the link is still the one that was compared with the
    /// upstream. A push that lost its link to a write-back gets it back here.
    pub(super) async fn allow_writeback(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        compared: &LinkVersion,
    ) -> Result<bool, StoreError> {
        let (marker, link) = self.marker_and_link(name, tag).await?;
        let is_over = |marker: &Marker| link.is_none() && marker.age > IN_FLIGHT;
        if let Some(marker) = marker {
            if is_over(&marker) {
                self.unmark(name, tag).await?;
            } else {
                if link.is_none_or(|link| !self.provenance.is_pushed(name, tag, &link)) {
                    self.restore(name, tag).await?;
                }
                return Ok(false);
            }
        }
        Ok(match (compared, link) {
            (LinkVersion::Absent, None) => true,
            (LinkVersion::Is(etag), Some(link)) => {
                link.etag.as_ref() == Some(etag) && !self.provenance.is_pushed(name, tag, &link)
            }
            _ => false,
        })
    }

    /// After a tag's link was written or deleted: if a push came in between, writes its digest into the link again,
    /// until the marker stays the same. Returns whether the tag is a push's.
    pub(super) async fn restore(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let mut written = None;
        for _ in 0..ATTEMPTS {
            let (marker, _) = self.marker_and_link(name, tag).await?;
            let pushed = marker.map(|marker| marker.digest);
            if pushed == written {
                return Ok(written.is_some());
            }
            match &pushed {
                Some(digest) => write_link(&self.store, Key::Tag(name, tag), digest).await?,
                None => self.store.delete(Key::Tag(name, tag)).await?,
            }
            written = pushed;
        }
        Err(changes_all_the_time(name, tag))
    }

    /// Removes the marker of a tag that named this digest, and says whether its link may be deleted: not if another
    /// digest is pushed to it. A push that is under way is completed, and one that is over gets its marker back.
    pub(super) async fn allow_delete(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let marker = Box::pin(self.marker(name, tag)).await?;
        if marker.is_some_and(|marker| marker.digest != *digest && marker.age <= IN_FLIGHT) {
            self.restore(name, tag).await?;
            return Ok(false);
        }
        self.unmark(name, tag).await?;
        let Some(link) = Box::pin(self.store.leader().get(Key::Tag(name, tag))).await? else {
            return Ok(true);
        };
        if link.digest() == Some(*digest) {
            return Ok(true);
        }
        if let Some(pushed) = link.digest().filter(|_| self.provenance.is_pushed(name, tag, &link)) {
            self.mark(name, tag, &pushed).await?;
        }
        Ok(false)
    }

    /// Before a tag's link is deleted.
    pub(super) async fn unmark(&self, name: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        self.store.delete(Key::TagPush(name, tag)).await
    }

    async fn marker_and_link(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Option<Marker>, Option<Object>), StoreError> {
        // Boxed: they are large, and would be part of the future of every push and delete, several times.
        let link = Box::pin(self.store.leader().get(Key::Tag(name, tag)));
        tokio::try_join!(Box::pin(self.marker(name, tag)), link)
    }

    async fn marker(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Marker>, StoreError> {
        let (store, key) = (&self.store, Key::TagPush(name, tag));
        let Some(found) = store.leader().get(key).await? else {
            return Ok(None);
        };
        let age = store.age(found.modified);
        Ok(found.digest().map(|digest| Marker { digest, age }))
    }
}

fn changes_all_the_time(name: &RepositoryName, tag: &Tag) -> StoreError {
    StoreError::Unavailable {
        operation: "PutObject",
        cause: format!("{name}:{tag} is pushed and deleted all the time"),
    }
}
