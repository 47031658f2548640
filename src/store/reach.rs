//! Whether the bucket is there, and takes writes, for probes that ask every few seconds.

use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use bytes::Bytes;
use uuid::Uuid;

use super::{Condition, Key, Metadata, Store, StoreError, error};
use crate::oci::MediaType;

/// How many bytes are written to find out whether there is room again: about as much as a manifest and its links.
const PROBE: usize = 64 << 10;

impl Store {
    /// Asks whether the bucket is there, for at most `patience`: twice, since the first connection may be one that the
    /// other side has closed. If the last write found no room, a small one is tried.
    ///
    /// # Errors
    /// It is not, or does not say; `Full`: it takes no writes.
    pub async fn reach(&self, patience: Duration) -> Result<(), StoreError> {
        let operation = "HeadBucket";
        let unavailable = |cause: &str| StoreError::Unavailable { operation, cause: cause.to_owned() };
        let retries = RetryConfig::standard().with_max_attempts(2).with_initial_backoff(Duration::from_millis(50));
        let twice = aws_sdk_s3::config::Builder::new().retry_config(retries);
        let request = self.inner.client.head_bucket().bucket(&self.inner.bucket);
        let request = Box::pin(request.customize().config_override(twice).send());
        let reached = async {
            request.await.map_err(|error| {
                error::translate(operation, &error).unwrap_or_else(|| unavailable("there is no such bucket"))
            })?;
            if self.inner.answers.is_in_doubt() {
                self.try_write().await?;
            }
            Ok(())
        };
        let reached = tokio::time::timeout(patience, reached).await;
        reached.unwrap_or_else(|_| Err(unavailable("it takes too long")))
    }

    /// Whether there is room by now. That it may not write is not the bucket's fault.
    async fn try_write(&self) -> Result<(), StoreError> {
        // Always the same: a caller that does not wait for its end leaves one object at most.
        let id = Uuid::nil();
        let (key, bytes) = (Key::Check(&id), Bytes::from(vec![0; PROBE]));
        let (kind, metadata) = (MediaType::OCTET_STREAM, Metadata::new());
        match self.put(key, bytes, &kind, &metadata, Condition::Always).await {
            Ok(_) => self.delete(key).await,
            Err(error @ StoreError::Full { .. }) => Err(error),
            Err(_) => Ok(()),
        }
    }
}
