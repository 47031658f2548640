//! What was decided about a group of condemned keys: the first of a writer and the collector decides, for ever.

use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::store::{Condition, GcGroup, Key, Polled, Store, StoreError, Swapped};

const KEEP: &[u8] = b"keep";
const DELETE: &[u8] = b"delete";

/// A decision that is in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Decision {
    /// A writer needs one of the keys: they stay.
    Keep,
    /// The keys are deleted. So long ago this was decided, by the bucket's clock.
    Delete(Duration),
}

/// Decides that the keys of a group stay, unless it was decided before.
pub(super) async fn keep(store: &Store, batch: &Uuid, group: GcGroup) -> Result<Decision, StoreError> {
    let key = Key::GcDecision(batch, group);
    let swapped = store.swap(key, Bytes::from_static(KEEP), Condition::IfAbsent).await?;
    if matches!(swapped, Swapped::Written(_)) {
        return Ok(Decision::Keep);
    }
    let unavailable = |cause: &str| StoreError::Unavailable { operation: "GetObject", cause: cause.to_owned() };
    match store.poll(key, None).await? {
        Polled::Read(version, bytes) if &bytes[..] == KEEP => {
            drop(version);
            Ok(Decision::Keep)
        }
        // Anything else is no decision to keep.
        Polled::Read(version, _) | Polled::TooLarge(version) => {
            let age =
                version.date.zip(version.modified).and_then(|(date, modified)| date.duration_since(modified).ok());
            // Both dates are cut to seconds.
            Ok(Decision::Delete(age.unwrap_or_default().saturating_sub(Duration::from_secs(1))))
        }
        Polled::Absent | Polled::Unchanged { .. } => Err(unavailable("a decision was there, and is gone")),
    }
}

/// Decides that the keys of a group are deleted; `false`: it was decided before, or perhaps by this call's first attempt,
/// whose answer was lost. `condition` is [`Condition::IfAbsent`], unless nothing else writes.
pub(in crate::registry) async fn delete(
    store: &Store,
    batch: &Uuid,
    group: GcGroup,
    condition: Condition<'_>,
) -> Result<bool, StoreError> {
    let swapped = store.swap(Key::GcDecision(batch, group), Bytes::from_static(DELETE), condition).await?;
    Ok(matches!(swapped, Swapped::Written(_)))
}
