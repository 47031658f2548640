//! Tags over a bucket that writes although a condition does not hold, so that nothing tells a write-back of the
//! upstream's word (`news`) that a push came in between.
//!
//! There, every push leaves a marker beside the tag that says what was pushed. Four rules, for any number of replicas:
//!
//! - A push writes the marker, then the tag's link. In the end it looks at both, and writes again what is missing.
//! - A write-back reads the marker and the link, in one round trip, and writes only if there is no marker and the link
//!   is still what was compared with the upstream. Then it reads the marker again; if there is one by now, it writes
//!   the link anew as the marker says, until the marker is the one that it wrote for.
//! - A delete takes the marker, then the link, which one of a manifest reads once more before. Then it reads the
//!   marker again, as a write-back does.
//! - A link is only ever made to say what the marker says, or to go with it.
//!
//! So a push cannot lose to a write-back. If its marker was written before the write-back read it first, the write-back
//! writes nothing. If after, but before the second look, the write-back restores the push. If after that, then the
//! push's link is written after the write-back's. Two write-backs, or two pushes, do not change that: whichever writes
//! the link last has seen the marker afterwards, or is a push. (`tests/models/writeback.rs` looks at all orders.)
//!
//! What is left: a write-back whose process dies within the round trip between its write and its second look leaves the
//! upstream's word over a push, if that had looked already. The marker stays, so the next comparison with the upstream
//! restores the push. And what distribution pushes leaves no marker: there, only the short time between a write-back's
//! look and its write protects it.
//!
//! A marker that is older than any push takes, beside a link that is gone, is of a tag that distribution deleted, or of
//! a push that died and was not acknowledged: it counts for nothing. What else is written on a condition needs no
//! marker. A manifest is written if it is absent: under its digest, there can be no other bytes. A tag is deleted if it
//! is unchanged: the delete restores a push that it took, as above.

use std::time::Duration;

use super::Registry;
use super::cache::Origin;
use super::news::Link;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{Key, Object, StoreError};

/// Longer than a push takes from its marker to its link: two requests, each of at most 15 seconds.
const IN_FLIGHT: Duration = Duration::from_mins(1);

/// How often a link is written anew for a marker that changes meanwhile: once for each push, or delete, that comes in
/// between.
const ATTEMPTS: usize = 20;

/// That a tag was pushed.
struct Marker {
    digest: Digest,
    age: Duration,
}

impl Registry {
    /// Says that a tag is being pushed, before its link is written.
    pub(super) async fn mark_pushed(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        self.write_link(Key::TagPush(name, tag), digest).await
    }

    /// The end of a push: what it wrote is there, or what another push did, or a delete took the link.
    pub(super) async fn hold_pushed(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        for _ in 0..ATTEMPTS {
            let (marker, link) = self.look_at_tag(name, tag).await?;
            let is_overwritten = link.is_some_and(|link| !self.is_pushed(name, tag, &link));
            let pushed = marker.as_ref().map_or(*digest, |marker| marker.digest);
            if marker.is_none() {
                self.mark_pushed(name, tag, digest).await?;
            } else if !is_overwritten {
                return Ok(());
            }
            if is_overwritten {
                self.write_link(Key::Tag(name, tag), &pushed).await?;
            }
        }
        Err(changes_all_the_time(name, tag))
    }

    /// Whether a write-back may write a tag: nobody pushed it, and it still is what was compared with the upstream. A
    /// push that lost its link to a write-back gets it back here.
    pub(super) async fn is_unpushed(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        compared: &Link,
    ) -> Result<bool, StoreError> {
        let (marker, link) = self.look_at_tag(name, tag).await?;
        let is_over = |marker: &Marker| link.is_none() && marker.age > IN_FLIGHT;
        if let Some(marker) = marker {
            if is_over(&marker) {
                self.unmark_pushed(name, tag).await?;
            } else {
                if link.is_none_or(|link| !self.is_pushed(name, tag, &link)) {
                    self.restore_pushed(name, tag).await?;
                }
                return Ok(false);
            }
        }
        Ok(match (compared, link) {
            (Link::Absent, None) => true,
            (Link::Is(etag), Some(link)) => link.etag.as_ref() == Some(etag) && !self.is_pushed(name, tag, &link),
            _ => false,
        })
    }

    /// After a tag's link was written or deleted: if a push came in between, the link says again what was pushed. That
    /// is so until no marker comes, or goes, any more. Returns whether the tag is a push's.
    pub(super) async fn restore_pushed(&self, name: &RepositoryName, tag: &Tag) -> Result<bool, StoreError> {
        let mut written = None;
        for _ in 0..ATTEMPTS {
            let (marker, _) = self.look_at_tag(name, tag).await?;
            let pushed = marker.map(|marker| marker.digest);
            if pushed == written {
                return Ok(written.is_some());
            }
            match &pushed {
                Some(digest) => self.write_link(Key::Tag(name, tag), digest).await?,
                None => self.inner.store.delete(Key::Tag(name, tag)).await?,
            }
            written = pushed;
        }
        Err(changes_all_the_time(name, tag))
    }

    /// Whether the link of a tag that meant this digest may be deleted, now that its marker is: nobody pushes it anew,
    /// of another digest. A push that is under way is brought to its end, and one that is over gets its marker back.
    pub(super) async fn may_delete(
        &self,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        let marker = Box::pin(self.marker(name, tag)).await?;
        if marker.is_some_and(|marker| marker.digest != *digest && marker.age <= IN_FLIGHT) {
            self.restore_pushed(name, tag).await?;
            return Ok(false);
        }
        self.unmark_pushed(name, tag).await?;
        let Some(link) = Box::pin(self.inner.store.get_now(Key::Tag(name, tag))).await? else {
            return Ok(true);
        };
        if link.digest() == Some(*digest) {
            return Ok(true);
        }
        if let Some(pushed) = link.digest().filter(|_| self.is_pushed(name, tag, &link)) {
            self.mark_pushed(name, tag, &pushed).await?;
        }
        Ok(false)
    }

    /// Before a tag's link is deleted.
    pub(super) async fn unmark_pushed(&self, name: &RepositoryName, tag: &Tag) -> Result<(), StoreError> {
        self.inner.store.delete(Key::TagPush(name, tag)).await
    }

    async fn look_at_tag(
        &self,
        name: &RepositoryName,
        tag: &Tag,
    ) -> Result<(Option<Marker>, Option<Object>), StoreError> {
        // Boxed: they are large, and would be part of the future of every push and delete, several times.
        let link = Box::pin(self.inner.store.get_now(Key::Tag(name, tag)));
        tokio::try_join!(Box::pin(self.marker(name, tag)), link)
    }

    async fn marker(&self, name: &RepositoryName, tag: &Tag) -> Result<Option<Marker>, StoreError> {
        let (store, key) = (&self.inner.store, Key::TagPush(name, tag));
        let Some(found) = store.get_now(key).await? else {
            return Ok(None);
        };
        let age = store.age(found.modified);
        Ok(found.digest().map(|digest| Marker { digest, age }))
    }

    /// Whether a tag's link is of a push.
    pub(super) fn is_pushed(&self, name: &RepositoryName, tag: &Tag, link: &Object) -> bool {
        let state = self.read_link(name, tag, link);
        state.is_ok_and(|state| state.origin == Origin::Pushed)
    }
}

fn changes_all_the_time(name: &RepositoryName, tag: &Tag) -> StoreError {
    StoreError::Unavailable {
        operation: "PutObject",
        cause: format!("{name}:{tag} is pushed and deleted all the time"),
    }
}
