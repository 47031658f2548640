//! Manifests whose bytes were gone at the last survey.
//!
//! A survey does not read a manifest that an earlier one read, so it learns that the bytes are gone from the list of
//! blobs, after it decided of the links. It writes the digests to `pounce/gc/manifests/gone`, and the next survey reads
//! those manifests again. If the bytes are still gone, their links name nothing.

use std::collections::BTreeSet;

use super::codec::Digests;
use super::reader::{Purpose, Reader};
use crate::oci::{Digest, MediaType};
use crate::store::{Condition, Key, Metadata, StoreError};

/// Larger than 10,000 digests.
const LIMIT: u64 = 1 << 20;

/// Those of the last survey. What cannot be read counts for nothing: any manifest may be read again.
///
/// # Errors
/// The bucket does not answer.
pub(super) async fn read_gone(reader: &Reader) -> Result<BTreeSet<Digest>, StoreError> {
    let object = match reader.get(Purpose::Known, Key::GoneManifests, LIMIT).await {
        Err(StoreError::Corrupt { .. }) => None,
        other => other?,
    };
    let digests = object.and_then(|object| Digests::read(&object.bytes));
    Ok(digests.unwrap_or_default().iter().collect())
}

/// Writes those of this survey.
pub(super) async fn write_gone(reader: &Reader, gone: &BTreeSet<Digest>) {
    let bytes = Digests::new(gone.iter().copied().collect()).as_bytes().to_vec();
    let (metadata, condition) = (Metadata::new(), Condition::Always);
    let store = reader.writes().await;
    let put = store.put(Key::GoneManifests, bytes.into(), &MediaType::OCTET_STREAM, &metadata, condition);
    if let Err(error) = Box::pin(put).await {
        tracing::warn!(%error, "that the bytes of manifests are gone is not remembered");
    }
}
