//! Whether the bucket honours the conditions of a PUT, `If-None-Match` and `If-Match`, and of a DELETE.
//!
//! Some stores ignore them and answer 200 (Garage 2, `MinIO` of 2019), so only a write whose condition does not hold
//! shows it. Others refuse a condition that holds, because they compare other `ETag`s than they name. The first call
//! that needs the answer tests it, once in a process.

use bytes::Bytes;
use uuid::Uuid;

use super::handle::Store;
use super::honour::{Conditions, Honour};
use super::write::{Condition, Swapped};
use crate::store::error::{Refusal, StoreError, failure, refusal};
use crate::store::key::Key;

/// An `ETag` that no object has.
pub(super) const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

impl Store {
    /// Whether a PUT or a DELETE whose [`Condition`] does not hold is refused. Also `false` if that cannot be tested:
    /// the credentials may only read, or the bucket does not answer now.
    pub async fn keeps_conditions(&self) -> bool {
        self.conditions().await == Conditions::ALL
    }

    /// [`keeps_conditions`](Self::keeps_conditions), of a PUT alone.
    pub async fn keeps_conditions_of_writes(&self) -> bool {
        self.conditions().await.lack_of_writes().is_none()
    }

    /// Why the bucket does not [keep conditions of writes](Self::keeps_conditions_of_writes), as a sentence; `None` also
    /// where it did not answer when that was to be tested.
    pub async fn lack_of_conditions_of_writes(&self) -> Option<String> {
        self.conditions().await;
        self.inner.conditions.get()?.lack_of_writes()
    }

    /// [`keeps_conditions_of_writes`](Self::keeps_conditions_of_writes), without a request; `None` where it was not
    /// tested yet.
    #[must_use]
    pub fn known_conditions_of_writes(&self) -> Option<bool> {
        if self.inner.embedded.is_some() {
            return Some(true);
        }
        let known = self.inner.conditions.get()?;
        Some(known.lack_of_writes().is_none())
    }

    /// None where they cannot be tested.
    async fn conditions(&self) -> Conditions {
        if self.inner.embedded.is_some() {
            return Conditions::ALL;
        }
        // Boxed: it is large, and would be part of the future of every push.
        let found = self.inner.conditions.get_or_try_init(|| Box::pin(self.test_conditions()));
        found.await.copied().unwrap_or_default()
    }

    /// After an error, the next call tests again.
    async fn test_conditions(&self) -> Result<Conditions, StoreError> {
        match self.try_conditions(&Uuid::new_v4()).await {
            Ok(Conditions::ALL) => Ok(Conditions::ALL),
            Ok(found) => {
                tracing::warn!(
                    cause = found.lack_of_writes(),
                    keeps_those_of_deletes = found.delete_unchanged,
                    "the bucket does not keep conditions of writes or deletes: pounce looks again around each tag that it \
                     writes, which costs every push two requests more; and distribution must not push to a bucket of \
                     this kind while pounce pulls through it or deletes, or its tags can be lost"
                );
                Ok(found)
            }
            Err(error @ StoreError::Denied { .. }) => {
                tracing::info!(%error, "cannot test whether the bucket honours conditions of writes");
                Ok(Conditions::default())
            }
            Err(error) => {
                tracing::debug!(%error, "cannot test yet whether the bucket honours conditions of writes");
                Err(error)
            }
        }
    }

    /// Tests the conditions with an object of its own, which is deleted in the end.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn try_conditions(&self, id: &Uuid) -> Result<Conditions, StoreError> {
        let key = Key::Check(id);
        let tried = async {
            let swap = |condition| self.swap(key, Bytes::from_static(b"pounce"), condition);
            let Swapped::Written(etag) = swap(Condition::Always).await? else {
                return Ok(Conditions::default());
            };
            let honour = |swapped| match swapped {
                Swapped::Written(_) => Honour::Ignored,
                Swapped::Unmet => Honour::Kept,
                Swapped::Unsupported => Honour::Refused,
            };
            // A proxy may weaken the ETags that it shows, so that none ever matches.
            let if_unchanged = match swap(Condition::IfUnchanged(&etag)).await? {
                Swapped::Written(_) => honour(swap(Condition::IfUnchanged(NO_ETAG)).await?),
                Swapped::Unmet => Honour::Mistaken,
                Swapped::Unsupported => Honour::Refused,
            };
            let if_absent = honour(swap(Condition::IfAbsent).await?);
            Ok(Conditions { if_absent, if_unchanged, delete_unchanged: self.is_delete_refused(key).await? })
        };
        let found = tried.await;
        if let Err(error) = self.delete(key).await {
            tracing::debug!(%error, "cannot delete a test object below _check/");
        }
        found
    }

    async fn is_delete_refused(&self, key: Key<'_>) -> Result<bool, StoreError> {
        let deleted = self.send_delete(self.path(&key), Some(NO_ETAG.to_owned()));
        match deleted.await {
            Ok(_) => Ok(false),
            Err(error) => match refusal(&error) {
                Some(refusal) => Ok(refusal == Refusal::Unmet),
                None => Err(failure("DeleteObject", &error)),
            },
        }
    }
}
