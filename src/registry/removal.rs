//! Deleting what goes with a manifest that is deleted: the links of its tags, and its entry among the referrers of its
//! subject.
//!
//! A client may push the manifest again while another replica still deletes these objects, or while one that was paused
//! goes on with a delete that its client gave up long ago. What the push writes has the content that the delete has
//! read, and so the same `ETag`: no condition tells them apart. So the delete, which has deleted the manifest's link
//! before, replaces each object first, on condition, by a mark: one that means the same, and whose content no other
//! object has. Then it looks for the manifest's link. If it is there, the manifest was pushed meanwhile, and the object
//! is written as it was; otherwise the delete deletes the mark, on condition that it is still there. A push writes its
//! tag without a condition, over any mark, and then looks for the manifest's link, too.
//!
//! A replica can be paused between any two of these steps, and for any time: then its conditions do not hold any more.
//! One that dies leaves a mark, which means what the object meant: if the manifest is there, nothing is lost, and the
//! next push or delete of the tag replaces it. (`tests/models/deletes.rs` tries all orders, and what each step is for.)
//! distribution takes the mark of a tag for a tag of a manifest that is not there.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::cache::Origin;
use super::provenance::revision_origin;
use crate::oci::{Digest, RepositoryName, Tag};
use crate::store::{DELETING, Key, Metadata, Object, Store, StoreError, Swapped};

/// The member that makes the mark of an entry differ from others. Readers skip it.
const MARK: &str = "org.pounce.deleting";

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    Gone,
    /// The manifest was pushed meanwhile, so the object stays.
    Kept,
    /// Another writer changed it since it was read.
    Changed,
}

/// An object that goes with a manifest.
#[derive(Debug)]
pub(super) struct Removal<'a> {
    key: Key<'a>,
    /// The manifest's link.
    revision: Key<'a>,
    /// The object as it was read.
    etag: Option<&'a str>,
    metadata: Metadata,
    content: Bytes,
    mark: (Bytes, Metadata),
}

impl<'a> Removal<'a> {
    /// The link of a tag that names the manifest.
    pub(super) fn of_tag(name: &'a RepositoryName, tag: &'a Tag, digest: &'a Digest, link: &'a Object) -> Self {
        let mut metadata = link.metadata.clone();
        metadata.remove(DELETING);
        let mut marked = metadata.clone();
        marked.insert(DELETING.to_owned(), digest.to_string());
        let none = format!("sha256:{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        Self {
            key: Key::Tag(name, tag),
            revision: Key::Revision(name, digest),
            etag: link.etag.as_deref(),
            metadata,
            content: digest.to_string().into(),
            mark: (none.into(), marked),
        }
    }

    /// The manifest's entry among the referrers of its subject. One that is no JSON has no readers.
    pub(super) fn of_referrer(
        name: &'a RepositoryName,
        subject: &'a Digest,
        digest: &'a Digest,
        entry: &'a Object,
    ) -> Self {
        let mut members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&entry.bytes).unwrap_or_default();
        // A quoted UUID is JSON.
        let nonce = RawValue::from_string(format!("\"{}\"", Uuid::new_v4())).unwrap_or_default();
        members.insert(MARK.to_owned(), nonce);
        Self {
            key: Key::Referrer(name, subject, digest),
            revision: Key::Revision(name, digest),
            etag: entry.etag.as_deref(),
            metadata: entry.metadata.clone(),
            content: entry.bytes.clone(),
            // Texts and JSON always serialize.
            mark: (serde_json::to_vec(&members).unwrap_or_default().into(), entry.metadata.clone()),
        }
    }

    /// Deletes the object, unless the manifest is there again. The manifest's link was deleted before, and the bucket
    /// [keeps conditions](Store::keeps_conditions).
    ///
    /// # Errors
    /// The bucket did not do it. The object may be there, or its mark.
    pub(super) async fn run(self, store: &Store) -> Result<Removed, StoreError> {
        let (key, (marked, metadata)) = (self.key, self.mark);
        let refused = |cause: &str| StoreError::Unavailable { operation: "PutObject", cause: cause.to_owned() };
        let etag = self.etag.ok_or_else(|| refused("the bucket did not name the ETag"))?;
        let mark = match store.replace(key, marked, &metadata, etag).await? {
            Swapped::Written(mark) => mark,
            Swapped::Unmet => return Ok(Removed::Changed),
            Swapped::Unsupported => return Err(refused("the bucket refused a condition that it kept before")),
        };
        let Some(revision) = Box::pin(store.leader().get(self.revision)).await? else {
            let is_gone = store.delete_unchanged(key, Some(&mark)).await?;
            return Ok(if is_gone { Removed::Gone } else { Removed::Changed });
        };
        // A push may have come after the object was read that was an upstream's.
        let metadata = if revision_origin(&revision) == Origin::Pushed { Metadata::new() } else { self.metadata };
        match store.replace(key, self.content, &metadata, &mark).await? {
            Swapped::Written(_) => Ok(Removed::Kept),
            Swapped::Unmet => Ok(Removed::Changed),
            Swapped::Unsupported => Err(refused("the bucket refused a condition that it kept before")),
        }
    }
}
