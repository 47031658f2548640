//! Former names, for callers that still use them.

use std::time::Duration;

use super::bucket::Store;
use super::error::StoreError;
use super::key::Key;
use super::object::Object;
use super::stream::ObjectStream;
use crate::oci::Slice;

/// Now `PresignedUrl`.
pub type Presigned = super::PresignedUrl;

impl Store {
    /// Now `leader().get`.
    ///
    /// # Errors
    /// As there.
    pub async fn get_now(&self, key: Key<'_>) -> Result<Option<Object>, StoreError> {
        self.leader().get(key).await
    }

    /// Now `leader().exists`.
    ///
    /// # Errors
    /// As there.
    pub async fn is_there_now(&self, key: Key<'_>) -> Result<bool, StoreError> {
        self.leader().exists(key).await
    }

    /// Now `leader().stream`.
    ///
    /// # Errors
    /// As there.
    pub async fn stream_now(&self, key: Key<'_>, slice: Option<Slice>) -> Result<Option<ObjectStream>, StoreError> {
        self.leader().stream(key, slice).await
    }

    /// Now `check_health`.
    ///
    /// # Errors
    /// As there.
    pub async fn reach(&self, timeout: Duration) -> Result<(), StoreError> {
        self.check_health(timeout).await
    }
}
