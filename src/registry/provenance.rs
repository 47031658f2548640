//! Links in the bucket: objects that hold a digest, and say in their metadata whether the content came from an
//! upstream.
//!
//! A tag's link holds the digest, and as user metadata the upstream that the tag came from and when it was last
//! compared with that, so that one GET brings all of it and any replica can go on from there. A link without this
//! metadata was pushed, by pounce or by distribution. The exception is a bucket that distribution used as a
//! pull-through cache, which took no pushes: the tags that it left there came from the upstream.
//!
//! The revision link of a fetched manifest has the same metadata, and says besides that a fill wrote it. Such a
//! manifest makes none of the blobs that it names the repository's. A revision link without that was pushed, or is from
//! before pounce wrote any.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::cache::{Origin, TagState};
use crate::oci::{Digest, MediaType, RepositoryName, Tag};
use crate::store::{Condition, Key, Metadata, Object, Store, StoreError};
use crate::upstream::Upstreams;

/// The upstream that the content came from.
const UPSTREAM: &str = "pounce-upstream";
/// When a tag was last compared with its upstream, in seconds since 1970.
const VERIFIED: &str = "pounce-verified";
/// That a fill wrote a revision link.
const ORIGIN: &str = "origin";
const ORIGIN_UPSTREAM: &str = "upstream";

/// Writes a link that has no metadata.
pub(super) async fn write_link(store: &Store, key: Key<'_>, digest: &Digest) -> Result<(), StoreError> {
    write(store, key, digest, &Metadata::new(), Condition::Always).await.map(drop)
}

/// Writes a link that has no metadata, unless there is one; `false` if there is.
pub(super) async fn write_new_link(store: &Store, key: Key<'_>, digest: &Digest) -> Result<bool, StoreError> {
    write(store, key, digest, &Metadata::new(), Condition::IfAbsent).await
}

/// Writes a link; `false` if the condition does not hold.
async fn write(
    store: &Store,
    key: Key<'_>,
    digest: &Digest,
    metadata: &Metadata,
    condition: Condition<'_>,
) -> Result<bool, StoreError> {
    store.put(key, Bytes::from(digest.to_string()), &MediaType::OCTET_STREAM, metadata, condition).await
}

/// Where a manifest with this revision link came from.
pub(super) fn revision_origin(link: &Object) -> Origin {
    match link.metadata.get(ORIGIN) {
        Some(origin) if origin == ORIGIN_UPSTREAM => Origin::Upstream,
        _ => Origin::Pushed,
    }
}

/// The upstream that a link says its content came from.
pub(super) fn upstream_label(link: &Object) -> Option<&str> {
    link.metadata.get(UPSTREAM).map(String::as_str)
}

/// Where a tag with this link came from. `proxied_until` is when distribution last used the bucket as a pull-through
/// cache.
pub(super) fn tag_origin(link: &Object, proxied_until: Option<SystemTime>) -> Origin {
    if link.metadata.contains_key(UPSTREAM) || is_mirrored(link.modified, proxied_until) {
        Origin::Upstream
    } else {
        Origin::Pushed
    }
}

/// Whether distribution wrote a link at a time while it used the bucket as a pull-through cache, which took no pushes.
fn is_mirrored(modified: Option<SystemTime>, proxied_until: Option<SystemTime>) -> bool {
    matches!((modified, proxied_until), (Some(written), Some(until)) if written <= until)
}

/// Reads and writes the metadata of links.
#[derive(Debug)]
pub(super) struct Provenance {
    pub(super) upstreams: Arc<Upstreams>,
    /// `proxy.tagttl`
    pub(super) tag_ttl: Duration,
    /// When distribution last used the bucket as a pull-through cache.
    pub(super) proxied_until: Option<SystemTime>,
}

impl Provenance {
    /// Writes the link of a tag that came from the upstream; `false` if the condition does not hold.
    pub(super) async fn write_tag(
        &self,
        store: &Store,
        (name, tag): (&RepositoryName, &Tag),
        digest: &Digest,
        condition: Condition<'_>,
    ) -> Result<bool, StoreError> {
        write(store, Key::Tag(name, tag), digest, &self.metadata(name), condition).await
    }

    /// Writes the link of a manifest that came from the upstream, unless the manifest has one.
    pub(super) async fn write_revision(
        &self,
        store: &Store,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let mut metadata = self.metadata(name);
        metadata.insert(ORIGIN.to_owned(), ORIGIN_UPSTREAM.to_owned());
        write(store, Key::Revision(name, digest), digest, &metadata, Condition::IfAbsent).await.map(drop)
    }

    fn metadata(&self, name: &RepositoryName) -> Metadata {
        let upstream = self.upstreams.of(name).map(|upstream| upstream.label().to_owned());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Metadata::from([
            (UPSTREAM.to_owned(), upstream.unwrap_or_default()),
            (VERIFIED.to_owned(), now.as_secs().to_string()),
        ])
    }

    /// What a tag's link says.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: it does not hold a digest.
    pub(super) fn read_tag(&self, name: &RepositoryName, tag: &Tag, link: &Object) -> Result<TagState, StoreError> {
        let Some(digest) = link.digest() else {
            let (key, cause) = (Key::Tag(name, tag).to_string(), "it is not a digest".to_owned());
            return Err(StoreError::Corrupt { key, cause });
        };
        let ttl = self.tag_ttl;
        let Some(upstream) = link.metadata.get(UPSTREAM) else {
            let origin = tag_origin(link, self.proxied_until);
            let life = if origin == Origin::Upstream { Duration::ZERO } else { ttl };
            return Ok(TagState::new(digest, origin, life));
        };
        let seconds = link.metadata.get(VERIFIED).and_then(|text| text.parse().ok()).unwrap_or(0);
        // A clock ahead of ours makes an age of zero, not of centuries.
        let verified = UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH);
        let age = SystemTime::now().duration_since(verified).unwrap_or(Duration::ZERO);
        let life = match self.upstreams.of(name) {
            Some(configured) if configured.label() == upstream => ttl.saturating_sub(age),
            // It came from another upstream than today's.
            Some(_) => Duration::ZERO,
            None => ttl,
        };
        Ok(TagState::new(digest, Origin::Upstream, life))
    }

    /// Whether a push wrote a tag's link.
    pub(super) fn is_pushed(&self, name: &RepositoryName, tag: &Tag, link: &Object) -> bool {
        self.read_tag(name, tag, link).is_ok_and(|state| state.is_pushed())
    }

    /// Whether the link of fetched content is of a further upstream that is no longer configured: such a name begins
    /// with its host, and would pass for a name of the default upstream. Where only the default upstream's address
    /// changed, names do not begin with one.
    pub(super) fn is_of_removed_upstream(&self, name: &RepositoryName, link: &Object) -> bool {
        let Some(upstream) = self.upstreams.of(name) else {
            return false;
        };
        let is_another = link.metadata.get(UPSTREAM).is_none_or(|label| label != upstream.label());
        is_another && self.upstreams.routes().host_names().looks_further(name.as_str())
    }
}
