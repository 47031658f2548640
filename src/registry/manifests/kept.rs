//! What a push of a manifest relies on is kept from being deleted as garbage, before the push is acknowledged.

use std::collections::BTreeSet;

use super::Manifests;
use super::requirements::{Found, lacks};
use crate::oci::{Digest, Error, ErrorCode, Manifest, RepositoryName, Tag};
use crate::registry::condemned::{Moment, NotKept};
use crate::registry::stored_manifest;
use crate::store::Key;

/// How many indexes an index may name, directly and by others that it names, each of which is read while keys are
/// condemned. Usual ones name none.
const NESTED: usize = 100;

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
        let nested = Box::pin(self.nested(name, needed)).await?;
        let digest = manifest.digest();
        let subject = manifest.referrer().map(|(subject, _)| subject);
        let mut keys = vec![Key::Blob(&digest), Key::Revision(name, &digest)];
        keys.extend(subject.as_ref().map(|subject| Key::Referrer(name, subject, &digest)));
        keys.extend(tags.iter().flat_map(|tag| [Key::Tag(name, tag), Key::TagHistory(name, tag, &digest)]));
        let own = keys.len();
        // Of each further key the digest, in the same order.
        let mut named = Vec::new();
        let mut need = |digest, key| {
            keys.push(key);
            named.push(digest);
        };
        for found in needed.found.iter().chain(&nested) {
            let digest = &found.digest;
            need(*digest, Key::Blob(digest));
            if found.is_manifest {
                need(*digest, Key::Revision(name, digest));
            }
            if found.is_blob {
                need(*digest, Key::Layer(name, digest));
            }
        }
        let gone = match self.condemned.keep(needed.began, &keys).await {
            Ok(()) => return Ok(true),
            Err(NotKept::Gone(gone)) => gone,
            Err(error) => {
                self.forget(name, &digest);
                return Err(error.into());
            }
        };
        self.forget(name, &digest);
        let lost = gone.into_iter().filter_map(|position| named.get(position.checked_sub(own)?).copied());
        let lost: BTreeSet<Digest> = lost.collect();
        if lost.is_empty() {
            self.revisions.write_bytes(manifest).await?;
            return Ok(false);
        }
        for digest in &lost {
            self.links.forget_deleted(&[name], digest);
            self.cache.manifests.forget(name, digest);
        }
        Err(lacks(name, lost.into_iter().collect()))
    }

    /// What the indexes that an index names name in turn. A collector deletes an index and what it names at the same
    /// time, so the pushed one relies on all of it. (Of an image manifest, the bytes that it names stay as long as it.)
    async fn nested(&self, name: &RepositoryName, needed: &Needed) -> Result<Vec<Found>, Error> {
        let mut indexes: Vec<Digest> =
            needed.found.iter().filter(|found| found.is_index && found.is_manifest).map(|found| found.digest).collect();
        let mut seen: BTreeSet<Digest> = indexes.iter().copied().collect();
        let mut nested = Vec::new();
        while let Some(index) = indexes.pop() {
            let Some((index, _)) = stored_manifest::read(self.store.leader(), name, index).await? else {
                continue;
            };
            for entry in index.links().manifests {
                let (digest, is_index) = (*entry.digest(), entry.media_type().is_index());
                if !seen.insert(digest) {
                    continue;
                }
                // A sparse index names what is not there.
                let leader = self.store.leader();
                let is_there =
                    tokio::try_join!(leader.exists(Key::Revision(name, &digest)), leader.exists(Key::Blob(&digest)))?;
                if is_there != (true, true) {
                    continue;
                }
                nested.push(Found { digest, is_manifest: true, is_blob: false, is_index });
                if is_index {
                    indexes.push(digest);
                }
                if seen.len() > NESTED {
                    let message = "the index names indexes that name too much: push an index of the images themselves";
                    return Err(Error::new(ErrorCode::ManifestInvalid, message));
                }
            }
        }
        Ok(nested)
    }
}
