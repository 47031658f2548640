//! Whether the bucket keeps the conditions of a PUT, `If-None-Match` and `If-Match`, and of a DELETE.
//!
//! Some stores do not know them and answer 200 (Garage 2, `MinIO` of 2019), so only an object that must not be written,
//! and then is not, tells that they do. It is found out once in a process, by the first call that needs to know.

use bytes::Bytes;
use uuid::Uuid;

use super::bucket::Store;
use super::error::{Refusal, StoreError, failure, refusal};
use super::key::Key;
use super::object::Metadata;
use super::write::Condition;
use crate::oci::MediaType;

/// An `ETag` that no object has.
const NO_ETAG: &str = "\"00000000000000000000000000000000\"";

/// Which conditions a bucket keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// `If-None-Match: *`
    pub if_absent: bool,
    /// `If-Match`
    pub if_unchanged: bool,
    /// `If-Match` of a DELETE. Ceph RGW 16 keeps those of a PUT only.
    pub delete_unchanged: bool,
}

impl Store {
    /// Whether a PUT with a [`Condition`], and a DELETE with one, is refused where the condition does not hold. `false`
    /// as well where that cannot be found out: the credentials may only read, or the bucket does not answer now.
    pub async fn keeps_conditions(&self) -> bool {
        if self.inner.embedded.is_some() {
            return true;
        }
        let conditions = &self.inner.conditions;
        // Boxed: it is large, and would be part of the future of every push.
        let found = conditions.get_or_try_init(|| Box::pin(self.find_out()));
        matches!(found.await, Ok(true))
    }

    /// An error is tried again by the next call.
    async fn find_out(&self) -> Result<bool, StoreError> {
        match self.try_conditions(&Uuid::new_v4()).await {
            Ok(Conditions { if_absent: true, if_unchanged: true, delete_unchanged: true }) => Ok(true),
            Ok(found) => {
                let Conditions { if_absent, if_unchanged, delete_unchanged } = found;
                tracing::warn!(
                    if_absent,
                    if_unchanged,
                    delete_unchanged,
                    "the bucket ignores conditions of writes or deletes: pounce looks again around each tag that it \
                     writes, which costs every push two requests more; and distribution must not push to a bucket of \
                     this kind while pounce pulls through it or deletes, or its tags can be lost"
                );
                Ok(false)
            }
            Err(error @ StoreError::Denied { .. }) => {
                tracing::info!(%error, "whether the bucket keeps conditions of writes is not known");
                Ok(false)
            }
            Err(error) => {
                tracing::debug!(%error, "whether the bucket keeps conditions of writes is not known yet");
                Err(error)
            }
        }
    }

    /// Finds out by writing an object of `pounce check`'s, which is deleted in the end.
    ///
    /// # Errors
    /// The bucket did not take it.
    pub async fn try_conditions(&self, id: &Uuid) -> Result<Conditions, StoreError> {
        let key = Key::Check(id);
        let put = |condition| async move {
            let (bytes, kind) = (Bytes::from_static(b"pounce"), MediaType::OCTET_STREAM);
            let metadata = Metadata::new();
            self.put(key, bytes, &kind, &metadata, condition).await
        };
        let tried = async {
            put(Condition::Always).await?;
            Ok(Conditions {
                if_absent: !put(Condition::IfAbsent).await?,
                if_unchanged: !put(Condition::IfUnchanged(NO_ETAG)).await?,
                delete_unchanged: self.is_delete_refused(key).await?,
            })
        };
        let found = tried.await;
        if let Err(error) = self.delete(key).await {
            tracing::debug!(%error, "an object below _check/ is left over in the bucket");
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
