//! What a push of a manifest relies on is kept from being deleted as garbage, before the push is acknowledged.
//!
//! It is what the push wrote, and what it found: that has to be there. While keys are condemned, more is kept where it is
//! there: everything else that the manifest names, its subject too, because the client may have found it there and the
//! validation does not ask for it; and what the indexes that it names name in turn, because a collector may delete an
//! index and what it names at the same time. (What an image manifest names stays as long as that.) And what refers to a
//! manifest that was condemned ([`attached`](super::attached)).

use std::collections::BTreeSet;
use std::time::Duration;

use super::Manifests;
use super::requirements::{Found, lacks};
use crate::oci::{Digest, Error, ErrorCode, Manifest, RepositoryName, Tag, named_digests};
use crate::registry::condemned::NotKept;
use crate::registry::runtime::Moment;
use crate::registry::stored_manifest;
use crate::store::Key;

/// How many indexes an index may name, directly and by others that it names, each of which is read while keys are
/// condemned. Usual ones name none.
const INDEXES: usize = 100;
/// How many digests they may name together. Each takes 66 bytes.
const NAMES: usize = 100_000;

/// What a push relies on.
#[derive(Debug)]
pub(super) struct Needed {
    /// What the bucket has of the content that the manifest names.
    pub(super) found: Vec<Found>,
    /// When the push began.
    pub(super) began: Moment,
}

impl Manifests {
    /// Keeps a manifest that is written, its tags, and what it names; `false`: the manifest or a tag was deleted. Then the
    /// bytes are written anew, and the links have to be.
    pub(super) async fn keep_pushed(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        tags: &[Tag],
        needed: &Needed,
    ) -> Result<bool, Error> {
        let kept = self.try_to_keep(name, manifest, tags, needed).await;
        if !matches!(kept, Ok(true)) {
            self.forget(name, &manifest.digest());
        }
        kept
    }

    async fn try_to_keep(
        &self,
        name: &RepositoryName,
        manifest: &Manifest,
        tags: &[Tag],
        needed: &Needed,
    ) -> Result<bool, Error> {
        let digest = manifest.digest();
        let subject = manifest.referrer().map(|(subject, _)| subject);
        let mut keys = vec![Key::Blob(&digest), Key::Revision(name, &digest)];
        keys.extend(subject.as_ref().map(|subject| Key::Referrer(name, subject, &digest)));
        keys.extend(tags.iter().flat_map(|tag| [Key::Tag(name, tag), Key::TagHistory(name, tag, &digest)]));
        let own = keys.len();
        // Of each further key the digest, in the same order.
        let mut named = Vec::new();
        for found in &needed.found {
            let digest = &found.digest;
            let manifest = found.is_manifest.then_some(Key::Revision(name, digest));
            let layer = found.is_blob.then_some(Key::Layer(name, digest));
            for key in [Some(Key::Blob(digest)), manifest, layer].into_iter().flatten() {
                keys.push(key);
                named.push(*digest);
            }
        }
        let required = keys.len();
        let others = if self.condemned.has_keys().await? {
            Box::pin(self.others(name, manifest, needed)).await?
        } else {
            Vec::new()
        };
        let of_other = |digest| [Key::Revision(name, digest), Key::Layer(name, digest), Key::Blob(digest)];
        keys.extend(others.iter().flat_map(of_other));
        let gone = match self.condemned.keep_first(needed.began, &keys, required).await {
            Ok(condemned) => {
                let rescued = condemned.into_iter().filter_map(|position| match keys.get(position)? {
                    Key::Revision(_, digest) => Some(**digest),
                    _ => None,
                });
                let rescued: Vec<Digest> = rescued.collect();
                if !rescued.is_empty() {
                    Box::pin(self.keep_attached(name, needed.began, rescued)).await?;
                }
                return Ok(true);
            }
            Err(NotKept::Gone(gone)) => gone,
            Err(error) => return Err(error.into()),
        };
        let lost = gone.into_iter().filter_map(|position| named.get(position.checked_sub(own)?).copied());
        let lost: BTreeSet<Digest> = lost.collect();
        if lost.is_empty() {
            self.forget(name, &digest);
            self.revisions.write_bytes(manifest).await?;
            return Ok(false);
        }
        for digest in &lost {
            self.links.forget_deleted(&[name], digest);
            self.cache.manifests.forget(name, digest);
        }
        Err(lacks(name, lost.into_iter().collect()))
    }

    /// What else a manifest names, and what the indexes name that it names, whether or not it is there. An entry that its
    /// descriptor calls an image manifest counts as one.
    async fn others(&self, name: &RepositoryName, manifest: &Manifest, needed: &Needed) -> Result<Vec<Digest>, Error> {
        // A manifest that was read before is JSON.
        let mut seen: BTreeSet<Digest> = named_digests(manifest.bytes()).unwrap_or_default().into_iter().collect();
        let own = seen.len();
        let is_index = |found: &&Found| found.is_manifest && !found.is_image;
        let mut indexes: Vec<Digest> = needed.found.iter().filter(is_index).map(|found| found.digest).collect();
        let mut read = BTreeSet::new();
        while let Some(index) = indexes.pop() {
            if !read.insert(index) {
                continue;
            }
            if read.len() > INDEXES || seen.len() > own + NAMES {
                let message = "while garbage is collected, an index of so many indexes cannot be pushed";
                let later = Some(Duration::from_mins(10));
                return Err(Error::new(ErrorCode::Unavailable, message).with_retry_after(later));
            }
            let Some((index, _)) = stored_manifest::read(self.store.leader(), name, index).await? else {
                continue;
            };
            let entries = index.links().manifests.into_iter();
            indexes.extend(entries.filter(|entry| !entry.media_type().is_image()).map(|entry| *entry.digest()));
            seen.extend(named_digests(index.bytes()).unwrap_or_default());
        }
        Ok(seen.into_iter().collect())
    }
}
